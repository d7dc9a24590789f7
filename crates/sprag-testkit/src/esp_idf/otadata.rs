//! The entries of otadata.
//!
//! Source: ESP-IDF, `esp_flash_partitions.h`, `bootloader_common_loader.c`.

/// `esp_ota_img_states_t`.
pub const NEW: u32 = 0;
/// `esp_ota_img_states_t`.
pub const PENDING_VERIFY: u32 = 1;
/// `esp_ota_img_states_t`.
pub const VALID: u32 = 2;
/// `esp_ota_img_states_t`.
pub const INVALID: u32 = 3;
/// `esp_ota_img_states_t`.
pub const ABORTED: u32 = 4;
/// `esp_ota_img_states_t`.
pub const UNDEFINED: u32 = u32::MAX;

/// An entry of otadata, `esp_ota_select_entry_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// `ota_seq`.
    pub seq: u32,
    /// `seq_label`, which nothing looks at. ESP-IDF keeps it when it rewrites an entry.
    pub label: [u8; 20],
    /// `ota_state`.
    pub state: u32,
    /// `crc`.
    pub crc: u32,
}

impl Entry {
    /// Returns an entry without a label whose CRC fits.
    pub fn new(seq: u32, state: u32) -> Self {
        Self { seq, label: [0xFF; 20], state, crc: crc(seq) }
    }

    /// Returns the entry that these bytes of a flash hold.
    pub fn read(bytes: &[u8; 32]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut label = [0; 20];
        label.copy_from_slice(&bytes[4..24]);
        Self { seq: word(0), label, state: word(24), crc: word(28) }
    }

    /// Returns the entry as it lies in flash.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&self.seq.to_le_bytes());
        bytes[4..24].copy_from_slice(&self.label);
        bytes[24..28].copy_from_slice(&self.state.to_le_bytes());
        bytes[28..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// Returns whether the CRC fits the number, which is all that it covers.
    pub fn crc_fits(&self) -> bool {
        self.crc == crc(self.seq)
    }

    /// Returns whether it holds no number: blank, or with a CRC that does not fit.
    pub(super) fn is_initial(&self) -> bool {
        self.seq == u32::MAX || !self.crc_fits()
    }

    /// `bootloader_common_ota_select_invalid`.
    pub(super) fn is_invalid(&self) -> bool {
        self.seq == u32::MAX || self.state == INVALID || self.state == ABORTED
    }

    /// `bootloader_common_ota_select_valid`.
    pub(super) fn is_valid(&self) -> bool {
        !self.is_invalid() && self.crc_fits()
    }

    /// Returns the slot that the number stands for, of `count`.
    pub(super) fn slot(&self, count: u32) -> u32 {
        self.seq.wrapping_sub(1) % count
    }
}

/// Returns `esp_rom_crc32_le(UINT32_MAX, …)` of a sequence number, computed bit by bit.
pub fn crc(seq: u32) -> u32 {
    !seq.to_le_bytes().iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// `bootloader_common_select_otadata` for the highest number: of the entries that count, that with the higher number, and
/// the first of equals.
pub(super) fn select(entries: &[Entry; 2], counts: [bool; 2]) -> Option<usize> {
    match counts {
        [true, true] if entries[1].seq > entries[0].seq => Some(1),
        [true, _] => Some(0),
        [false, true] => Some(1),
        [false, false] => None,
    }
}

/// `bootloader_common_get_active_otadata`.
pub(super) fn active(entries: &[Entry; 2]) -> Option<usize> {
    select(entries, entries.map(|entry| entry.is_valid()))
}
