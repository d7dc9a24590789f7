//! The check of an image.

use sha2::{Digest, Sha256};

/// `esp_image_verify` without secure boot: header, segments, checksum and the digest behind it.
///
/// Source: ESP-IDF, `esp_app_format.h` and `esp_image_format.c`.
pub fn check_image(bytes: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let segments = match bytes.get(..24) {
        Some(header) if header[0] == 0xE9 && header[1] <= 16 && header[23] == 1 => header[1],
        _ => return false,
    };
    let (mut at, mut checksum) = (24, 0xEF);
    for _ in 0..segments {
        let Some(data) = word(at + 4).and_then(|length| bytes.get(at + 8..at + 8 + length as usize)) else {
            return false;
        };
        checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
        at += 8 + data.len();
    }
    let end = (at + 1).next_multiple_of(16);
    let digest = bytes.get(end..end + 32);
    bytes.get(end - 1) == Some(&checksum) && digest == Some(Sha256::digest(&bytes[..end]).as_slice())
}
