//! The campaign against power cuts: whole updates over a grid of flash parts, bootloader families and image sizes, cut
//! before every flash operation, torn in every way at every one, and cut again at every operation of the recovery.
//!
//! One run of a device is enough to try a cut in each of its operations: the flash forks there
//! (`sprag_testkit::flash::SimFlash::before_operations`), and each fork is a device of its own that goes on from what the
//! cut left. What becomes of a flash with the same contents is the same, so contents that were tried are not tried again.

pub mod boards;
mod book;
mod calls;
mod case;
mod chips;
mod explore;
pub mod families;
mod life;
mod planted;
pub mod report;
mod step;

pub use book::{Book, Rest};
pub use calls::{Before, Call, Calls};
pub use case::{Case, History, Image, Kind, cases};
pub use explore::{Counts, Depth, Failure, Settings, explore};
pub use families::Family;
pub use life::{Device, replay};
pub use planted::Bug;
pub use step::Step;
