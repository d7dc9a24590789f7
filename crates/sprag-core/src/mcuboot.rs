//! The header of an MCUboot image.
//!
//! Format: MCUboot, `boot/bootutil/include/bootutil/image.h` (`struct image_header`). All numbers are little-endian.

/// The first four bytes of an image, as a number.
pub const IMAGE_MAGIC: u32 = 0x96f3_b83d;
/// The magic of the area of unprotected TLVs.
pub const TLV_INFO_MAGIC: u16 = 0x6907;
/// The magic of the area of protected TLVs.
pub const PROTECTED_TLV_INFO_MAGIC: u16 = 0x6908;
/// `IMAGE_F_NON_BOOTABLE`.
pub const FLAG_NON_BOOTABLE: u32 = 0x10;

/// The size of the header's fields, in bytes. The header itself may be longer.
pub const HEADER_SIZE: usize = 32;

/// A view of the 32 bytes that an image begins with. Nothing of it is checked.
///
/// | bytes | field |
/// |---|---|
/// | 0..4 | magic |
/// | 4..8 | load address |
/// | 8..10 | size of the header |
/// | 10..12 | size of the protected TLVs |
/// | 12..16 | size of the payload |
/// | 16..20 | flags |
/// | 20..28 | version: major `u8`, minor `u8`, revision `u16`, build number `u32` |
/// | 28..32 | padding |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader([[u8; 4]; HEADER_SIZE / 4]);

impl ImageHeader {
    /// Views these bytes as a header.
    pub fn new(bytes: [u8; HEADER_SIZE]) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let mut header = [[0; 4]; HEADER_SIZE / 4];
        header.iter_mut().zip(words).for_each(|(to, from)| *to = *from);
        Self(header)
    }

    /// Returns whether it begins with the magic.
    pub fn has_magic(&self) -> bool {
        let Self([magic, ..]) = self;
        u32::from_le_bytes(*magic) == IMAGE_MAGIC
    }

    /// Returns the address that the image is loaded to, or lies at. The flags say whether it means something.
    pub fn load_address(&self) -> u32 {
        let Self([_, address, ..]) = self;
        u32::from_le_bytes(*address)
    }

    /// Returns the size of the header in bytes: the offset of the payload.
    pub fn header_size(&self) -> u16 {
        let Self([_, _, [low, high, ..], ..]) = self;
        u16::from_le_bytes([*low, *high])
    }

    /// Returns the size of the area of protected TLVs in bytes, its 4-byte head included; 0 without one.
    pub fn protected_size(&self) -> u16 {
        let Self([_, _, [.., low, high], ..]) = self;
        u16::from_le_bytes([*low, *high])
    }

    /// Returns the size of the payload in bytes.
    pub fn payload_size(&self) -> u32 {
        let Self([_, _, _, size, ..]) = self;
        u32::from_le_bytes(*size)
    }

    /// Returns the flags.
    pub fn flags(&self) -> u32 {
        let Self([_, _, _, _, flags, ..]) = self;
        u32::from_le_bytes(*flags)
    }

    /// Returns major number, minor number, revision and build number.
    pub fn version(&self) -> (u8, u8, u16, u32) {
        let Self([_, _, _, _, _, [major, minor, low, high], build, _]) = self;
        (*major, *minor, u16::from_le_bytes([*low, *high]), u32::from_le_bytes(*build))
    }

    /// Returns the offset of the first byte behind the payload, in bytes from the start of the image.
    pub fn payload_end(&self) -> Option<u32> {
        self.payload_size().checked_add(self.header_size().into())
    }

    /// Returns the offset of the unprotected TLVs, in bytes from the start of the image.
    pub fn tlv_offset(&self) -> Option<u32> {
        self.payload_end()?.checked_add(self.protected_size().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_mcuboot_has_them() {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..4].copy_from_slice(&IMAGE_MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&0x0800_0000u32.to_le_bytes());
        bytes[8..10].copy_from_slice(&0x200u16.to_le_bytes());
        bytes[10..12].copy_from_slice(&0x18u16.to_le_bytes());
        bytes[12..16].copy_from_slice(&0x1234u32.to_le_bytes());
        bytes[16..20].copy_from_slice(&FLAG_NON_BOOTABLE.to_le_bytes());
        bytes[20..28].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let header = ImageHeader::new(bytes);
        assert!(header.has_magic());
        assert_eq!(header.load_address(), 0x0800_0000);
        assert_eq!((header.header_size(), header.protected_size(), header.payload_size()), (0x200, 0x18, 0x1234));
        assert_eq!(header.flags(), FLAG_NON_BOOTABLE);
        assert_eq!(header.version(), (1, 2, 0x0403, 0x0807_0605));
        assert_eq!((header.payload_end(), header.tlv_offset()), (Some(0x1434), Some(0x144C)));
        assert_eq!(ImageHeader::new([0xFF; HEADER_SIZE]).payload_end(), None);
    }
}
