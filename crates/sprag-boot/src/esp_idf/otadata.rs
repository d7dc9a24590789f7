//! The two entries of otadata, and which of them counts.
//!
//! Format: ESP-IDF, `esp_flash_partitions.h` (`esp_ota_select_entry_t`); chosen as `bootloader_common.c` and
//! `bootloader_utility.c` do it.

use sprag_core::crc::CRC_32_FROM_0;

use super::table::{App, Table};

pub(crate) const SIZE: usize = 32;

/// `ota_state`: `esp_ota_img_states_t`.
pub(crate) const NEW: u32 = 0;
pub(crate) const PENDING_VERIFY: u32 = 1;
pub(crate) const VALID: u32 = 2;
const INVALID: u32 = 3;
const ABORTED: u32 = 4;
pub(crate) const UNDEFINED: u32 = u32::MAX;

/// Where `ota_state` stands in an entry.
pub(crate) const STATE_AT: u32 = 24;

/// An entry as it lies in flash: `seq u32 | label [20] | state u32 | crc u32`, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) seq: u32,
    pub(crate) state: u32,
    /// The CRC fits. It covers `seq` only.
    pub(crate) sound: bool,
}

impl Entry {
    pub(crate) fn decode(bytes: &[u8; SIZE]) -> Self {
        let [q0, q1, q2, q3, .., s0, s1, s2, s3, c0, c1, c2, c3] = *bytes;
        let sound = CRC_32_FROM_0.checksum(&[q0, q1, q2, q3]) == u32::from_le_bytes([c0, c1, c2, c3]);
        Self { seq: u32::from_le_bytes([q0, q1, q2, q3]), state: u32::from_le_bytes([s0, s1, s2, s3]), sound }
    }

    /// An entry without a label, as ESP-IDF writes it.
    pub(crate) fn encode(seq: u32, state: u32) -> [u8; SIZE] {
        let ([q0, q1, q2, q3], [s0, s1, s2, s3]) = (seq.to_le_bytes(), state.to_le_bytes());
        let [c0, c1, c2, c3] = CRC_32_FROM_0.checksum(&[q0, q1, q2, q3]).to_le_bytes();
        let mut bytes = [0xFF; SIZE];
        let [b0, b1, b2, b3, .., t0, t1, t2, t3, d0, d1, d2, d3] = &mut bytes;
        (*b0, *b1, *b2, *b3) = (q0, q1, q2, q3);
        (*t0, *t1, *t2, *t3) = (s0, s1, s2, s3);
        (*d0, *d1, *d2, *d3) = (c0, c1, c2, c3);
        bytes
    }

    /// Whether the bootloader would go by it.
    pub(crate) fn counts(&self) -> bool {
        self.sound && self.seq != u32::MAX && self.state != INVALID && self.state != ABORTED
    }

    /// The app it stands for. As the bootloader computes it, wrap and all.
    pub(crate) fn app(&self, table: &Table) -> Option<App> {
        let slot = self.seq.wrapping_sub(1).checked_rem(table.ota_count().into())?;
        u8::try_from(slot).ok().map(App::Ota)
    }
}

/// The entry that the bootloader goes by: that with the higher number of those that count, the first of equals.
pub(crate) fn active(entries: &[Entry; 2]) -> Option<(u32, Entry)> {
    let [first, second] = *entries;
    match (first.counts(), second.counts()) {
        (true, true) if second.seq > first.seq => Some((1, second)),
        (true, _) => Some((0, first)),
        (false, true) => Some((1, second)),
        (false, false) => None,
    }
}

/// The entries as a bootloader with rollback leaves them at its start: what was not confirmed is aborted.
pub(crate) fn after_reset(mut entries: [Entry; 2]) -> [Entry; 2] {
    for entry in entries.iter_mut().filter(|entry| entry.state == PENDING_VERIFY) {
        entry.state = ABORTED;
    }
    entries
}

/// The lowest number above that of another entry which stands for `ota_index` of so many; `None` when there is none left.
pub(crate) fn next_seq(index: u8, count: u8, above: Option<u32>) -> Option<u32> {
    let (first, count) = (u32::from(index).checked_add(1)?, u32::from(count));
    let Some(above) = above.filter(|above| *above >= first) else { return Some(first) };
    let rounds = above.checked_sub(first)?.checked_div(count)?.checked_add(1)?;
    // The highest number stands for an empty entry.
    first.checked_add(rounds.checked_mul(count)?).filter(|seq| *seq != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python: `binascii.crc32(struct.pack("<I", seq), 0xFFFFFFFF)`.
    #[test]
    fn entries_are_esp_idfs_byte_for_byte() {
        for (seq, crc) in [(1, 0x4743_989A_u32), (2, 0x55F6_3774), (3, 0xED4A_5011), (4, 0x709D_68A8)] {
            let bytes = Entry::encode(seq, VALID);
            assert_eq!(bytes[28..], crc.to_le_bytes());
            assert_eq!(Entry::decode(&bytes), Entry { seq, state: VALID, sound: true });
        }
        let mut new = [0xFF; SIZE];
        new[..4].copy_from_slice(&[2, 0, 0, 0]);
        new[24..].copy_from_slice(&[0, 0, 0, 0, 0x74, 0x37, 0xf6, 0x55]);
        assert_eq!(Entry::encode(2, NEW), new);
        assert!(!Entry::decode(&[0xFF; SIZE]).counts());
    }

    #[test]
    fn numbers_stand_for_their_slot_to_their_end() {
        for count in 1..=16 {
            for index in 0..count {
                let stands = |seq: u32| (seq - 1) % u32::from(count) == u32::from(index);
                assert_eq!(next_seq(index, count, None), Some(u32::from(index) + 1));
                for above in (0..40).chain(u32::MAX - 40..=u32::MAX) {
                    let expected = (u64::from(above) + 1..u64::from(u32::MAX)).map(|seq| seq as u32);
                    let expected = expected.take(17).find(|seq| stands(*seq));
                    assert_eq!(next_seq(index, count, Some(above)), expected, "ota_{index} of {count} above {above}");
                }
            }
        }
    }
}
