//! Test vectors: what real bootloaders did with a flash or an image, and whether the models of `sprag-testkit` and the
//! checks of `sprag-verify` do the same.
//!
//! A vector is one line of JSON. The formats are described in `README.md` (MCUboot) and `README-2.md` (Infineon's MCUboot
//! and ESP-IDF) beside the data.

mod cypress;
mod esp_idf;
mod file;
mod images;
mod keys;
mod mcuboot;
mod tally;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub use file::{decode_flash, read, supplied};
pub use keys::{Key, Keys};
pub use mcuboot::{goes_through, model_agrees};
pub use tally::Tally;

/// The result of one vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The model did what the real code did.
    Reproduced,
    /// The model leaves this behaviour out on purpose. The text names the behaviour and is documented with the model.
    LeftOut(&'static str),
    /// The model did something else. The text says what was expected and what happened.
    Wrong(String),
}

/// The fields that tell the kinds of vectors apart.
#[derive(Deserialize)]
struct Probe {
    id: String,
    method: Option<IgnoredAny>,
    chips: Option<IgnoredAny>,
    build: Option<IgnoredAny>,
    image: Option<IgnoredAny>,
}

/// Returns the id of the vector in `line` and its result.
///
/// A line that cannot be read is [`Outcome::Wrong`]: its id is empty when it has none.
pub fn judge(line: &str, keys: &Keys) -> (String, Outcome) {
    let probe: Probe = match serde_json::from_str(line) {
        Ok(probe) => probe,
        Err(error) => return (String::new(), Outcome::Wrong(format!("not a vector: {error}"))),
    };
    let judged = match probe {
        Probe { method: Some(_), .. } => mcuboot::judge(line, keys),
        Probe { chips: Some(_), .. } => cypress::judge(line, keys),
        Probe { build: Some(_), .. } => esp_idf::judge(line),
        Probe { image: Some(_), .. } => images::judge(line, keys),
        _ => Ok(Outcome::Wrong("not a vector of a known kind".to_owned())),
    };
    (probe.id, judged.unwrap_or_else(|error| Outcome::Wrong(format!("cannot be read: {error:#}"))))
}
