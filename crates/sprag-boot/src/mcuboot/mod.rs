//! MCUboot: two slots with a trailer at the end of each.
//!
//! One [`McuBoot`], [`DirectXip`] or [`Cypress`] is for one pair of slots: a device with several images has one of them
//! for each.

mod cypress;
mod header;
mod layout;
mod status;
mod swap;
mod trailer;
mod whole_sectors;
mod xip;

pub use cypress::{Cypress, CypressLayout, PSOC6_INTERNAL};
pub use layout::{Layout, Method};
pub use swap::McuBoot;
pub use whole_sectors::{PartialSectorError, WholeSectors};
pub use xip::{DirectXip, Slot};
