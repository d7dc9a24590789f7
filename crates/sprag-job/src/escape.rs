//! The escapes of a JSON string (RFC 8259, section 7), undone and made.

/// Why an escape means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The text ends inside it.
    CutShort,
    /// Not an escape of JSON, or half a surrogate pair.
    Invalid,
}

/// The character that the escape at the start of `text` stands for, and how many bytes it takes there.
pub(crate) fn decode(text: &[u8]) -> Result<(char, usize), Broken> {
    let char = match text.get(1).ok_or(Broken::CutShort)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(text),
        _ => return Err(Broken::Invalid),
    };
    Ok((char, 2))
}

fn unicode(text: &[u8]) -> Result<(char, usize), Broken> {
    let first = unit(text)?;
    if let Some(char) = char::from_u32(first) {
        return Ok((char, 6));
    }
    // A surrogate, then: the high one carries the upper ten bits, the low one after it the lower ten.
    let second = unit(text.get(6..).unwrap_or_default())?;
    if (first & 0xfc00, second & 0xfc00) != (0xd800, 0xdc00) {
        return Err(Broken::Invalid);
    }
    let char = char::from_u32(((first & 0x3ff) << 10 | second & 0x3ff).wrapping_add(0x1_0000));
    Ok((char.ok_or(Broken::Invalid)?, 12))
}

/// The number in one `\u` escape.
fn unit(text: &[u8]) -> Result<u32, Broken> {
    let mut bytes = text.iter();
    let mut next = || bytes.next().copied().ok_or(Broken::CutShort);
    if next()? != b'\\' || next()? != b'u' {
        return Err(Broken::Invalid);
    }
    let mut unit = 0;
    for _ in 0..4 {
        let digit = char::from(next()?).to_digit(16).ok_or(Broken::Invalid)?;
        unit = unit << 4 | digit;
    }
    Ok(unit)
}

/// `byte` as it goes into a JSON string: itself, or its escape.
pub(crate) fn encode(byte: u8) -> impl Iterator<Item = u8> {
    let (bytes, len) = match byte {
        b'"' | b'\\' => ([b'\\', byte, 0, 0, 0, 0], 2),
        0..0x20 => ([b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 0xf)], 6),
        _ => ([byte, 0, 0, 0, 0, 0], 1),
    };
    bytes.into_iter().take(len)
}

fn hex(nibble: u8) -> u8 {
    match nibble {
        0..10 => nibble | b'0',
        _ => nibble.wrapping_sub(10).wrapping_add(b'a'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn escapes_are_undone() {
        for (text, char, len) in [
            (r#"\""#, '"', 2),
            (r"\/x", '/', 2),
            (r"\b", '\u{8}', 2),
            (r"\u0026", '&', 6),
            (r"\u00E9", 'é', 6),
            (r"\u0000", '\0', 6),
            (r"\uFFFF", '\u{ffff}', 6),
            (r"\ud83d\ude00", '\u{1f600}', 12),
            (r"\uD800\uDC00", '\u{10000}', 12),
            (r"\udbff\udfff", '\u{10ffff}', 12),
        ] {
            assert_eq!(decode(text.as_bytes()), Ok((char, len)), "{text}");
        }
    }

    #[test]
    fn broken_escapes_are_told_from_cut_ones() {
        for text in [r"\", r"\u", r"\u00", r"\ud83d", r"\ud83d\", r"\ud83d\ude0"] {
            assert_eq!(decode(text.as_bytes()), Err(Broken::CutShort), "{text}");
        }
        for text in
            [r"\x", r"\'", r"\U0026", r"\u+026", r"\u002g", r"\ud83dx", r"\ud83d\n", r"\ud83d\u0041", r"\ude00x"]
        {
            assert_eq!(decode(text.as_bytes()), Err(Broken::Invalid), "{text}");
        }
    }

    #[test]
    fn what_must_be_escaped_is() {
        for (byte, escaped) in [(b'a', "a"), (b'"', r#"\""#), (b'\\', r"\\"), (b'\n', r"\u000a"), (0x1f, r"\u001f")] {
            assert_eq!(encode(byte).collect::<Vec<_>>(), escaped.as_bytes());
        }
    }
}
