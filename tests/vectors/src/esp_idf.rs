//! ESP-IDF: the choice of the app partition, and the calls of `esp_ota_ops`.

use anyhow::Result;

use crate::Outcome;

/// Judges one vector.
pub(crate) fn judge(_line: &str) -> Result<Outcome> {
    Ok(Outcome::Wrong("not judged yet".to_owned()))
}
