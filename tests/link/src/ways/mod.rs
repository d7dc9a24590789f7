//! The ways to bring an object from a server into flash.

pub mod plain;
pub mod ranged;
pub mod sprag;
pub mod streamed;

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// sprag-fetch and sprag-flash, as they are by default.
    Sprag,
    /// Ranges of 4096 bytes, one after the other, each written when it is there.
    Infineon,
    /// Ranges of 64 KiB, read and written by the kilobyte.
    EspIdf,
    /// One stream by reqwless, read and written in pieces of 4096 bytes.
    Reqwless,
}

impl Way {
    /// All of them, ours first.
    pub const ALL: [Self; 4] = [Self::Sprag, Self::Infineon, Self::EspIdf, Self::Reqwless];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sprag => "sprag",
            Self::Infineon => "Infineon's",
            Self::EspIdf => "ESP-IDF's",
            Self::Reqwless => "reqwless",
        }
    }
}
