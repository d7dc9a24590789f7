//! Signed images: those that a build would make, for tests and for the desk.

mod esp_idf;
mod mcuboot;
mod public_key;
mod signer;

pub use esp_idf::{EspIdfImage, sign_secure_boot};
pub use mcuboot::{Extras, McuBootImage, Sha, Version, append_tlvs, pad, trailer_size};
pub use public_key::PublicKey;
pub use signer::{Signer, key_hash};
