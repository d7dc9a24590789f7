//! What AWS takes into `statusDetails`. Nothing is cut or cleaned: what it does not take is an error here.

use core::fmt;

/// The most characters of a key.
pub const KEY_MAX: usize = 128;
/// The most characters of a value.
pub const VALUE_MAX: usize = 1024;

/// Why AWS would not take a status detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadDetail {
    /// A key or value without a character.
    Empty,
    /// Too many characters.
    TooLong {
        /// How many there are.
        length: usize,
        /// How many there may be: [`KEY_MAX`] or [`VALUE_MAX`].
        limit: usize,
    },
    /// A character that may not be in it: anything but `a-z A-Z 0-9 : _ -` in a key, a control character in a value.
    Character,
}

impl BadDetail {
    /// A stable name, at most 24 characters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "detail-empty",
            Self::TooLong { .. } => "detail-too-long",
            Self::Character => "detail-character",
        }
    }
}

impl fmt::Display for BadDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty status detail"),
            Self::TooLong { length, limit } => {
                write!(f, "status detail of {length} characters, {limit} at most")
            }
            Self::Character => f.write_str("character not allowed in a status detail"),
        }
    }
}

impl core::error::Error for BadDetail {}

fn check(text: &str, limit: usize, allowed: impl Fn(char) -> bool) -> Result<(), BadDetail> {
    let (mut length, mut sound) = (0usize, true);
    for char in text.chars() {
        length = length.saturating_add(1);
        sound &= allowed(char);
    }
    match length {
        0 => Err(BadDetail::Empty),
        length if length > limit => Err(BadDetail::TooLong { length, limit }),
        _ if !sound => Err(BadDetail::Character),
        _ => Ok(()),
    }
}

/// Checks the key of a status detail: 1 to 128 of `a-z A-Z 0-9 : _ -`.
///
/// # Errors
/// [`BadDetail`].
pub fn check_key(key: &str) -> Result<(), BadDetail> {
    check(key, KEY_MAX, |char| char.is_ascii_alphanumeric() || matches!(char, ':' | '_' | '-'))
}

/// Checks the value of a status detail, a reason for example: 1 to 1024 characters, no control characters.
///
/// # Errors
/// [`BadDetail`].
pub fn check_value(value: &str) -> Result<(), BadDetail> {
    check(value, VALUE_MAX, |char| !char.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_the_services() {
        assert_eq!(check_value(&"é".repeat(VALUE_MAX)), Ok(()));
        assert_eq!(check_value(&"é".repeat(1025)), Err(BadDetail::TooLong { length: 1025, limit: 1024 }));
        assert_eq!(check_key(&"k".repeat(KEY_MAX)), Ok(()));
        assert_eq!(check_key(&"k".repeat(129)), Err(BadDetail::TooLong { length: 129, limit: 128 }));
        assert_eq!((check_key(""), check_value("")), (Err(BadDetail::Empty), Err(BadDetail::Empty)));
        assert_eq!((check_key("a:B_0-"), check_key("a b")), (Ok(()), Err(BadDetail::Character)));
        for value in ["a\nb", "\0", "\u{7f}", "\u{85}"] {
            assert_eq!(check_value(value), Err(BadDetail::Character), "{value:?}");
        }
        for bad in [BadDetail::Empty, BadDetail::Character, BadDetail::TooLong { length: 2, limit: 1 }] {
            assert!(bad.reason().len() <= 24);
        }
    }
}
