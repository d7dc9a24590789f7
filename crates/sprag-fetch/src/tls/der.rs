//! The little DER (X.690) that is read here rather than by `webpki`.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const SEQUENCE: u8 = 0x30;

/// Returns the content of the element of this tag that `der` begins with, and what follows it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7F => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&length, rest)| (usize::from(length), rest))?,
        0x82 => rest.split_first_chunk().map(|(&length, rest)| (usize::from(u16::from_be_bytes(length)), rest))?,
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// Returns r and s of an `ECDSA-Sig-Value` (RFC 3279, section 2.2.3), `N` bytes each, most significant first.
///
/// Only the one encoding of a signature that DER has is taken. The `der` crate does the same in four times the code, because
/// it is made for more. Whether r and s are in the range of the curve is for the caller to check.
pub(super) fn ecdsa_signature<const N: usize>(der: &[u8]) -> Option<([u8; N], [u8; N])> {
    let (numbers, rest) = short_element(der, SEQUENCE)?;
    let (r, numbers) = short_element(numbers, INTEGER)?;
    let (s, end) = short_element(numbers, INTEGER)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    Some((unsigned(r)?, unsigned(s)?))
}

/// Returns the content of an element of at most 127 bytes, whose length has one encoding, and what follows it.
fn short_element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk()?;
    (found == tag && length < 0x80).then(|| rest.split_at_checked(length.into()))?
}

/// Returns the value of an INTEGER that is not negative, in the shortest encoding (X.690, section 8.3).
fn unsigned<const N: usize>(content: &[u8]) -> Option<[u8; N]> {
    let digits = match content {
        [0, rest @ ..] if rest.first().is_none_or(|first| *first >= 0x80) => rest,
        [1..=0x7F, ..] => content,
        _ => return None,
    };
    let mut value = [0; N];
    value.get_mut(N.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some(value)
}
