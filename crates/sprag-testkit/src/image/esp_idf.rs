//! ESP-IDF application images, as `esptool elf2image` lays them out, and the sector that secure boot v2 signs them with.

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256};

/// An application image of two segments: its description with data behind it, and a program.
///
/// Source: ESP-IDF, `esp_app_format.h` and `esp_app_desc.h`.
#[derive(Debug, Clone, Copy)]
pub struct EspIdfImage<'a> {
    /// `esp_chip_id_t`.
    pub chip: u16,
    /// The lowest and the highest revision of the chip, 100 times the major one and the minor one.
    pub revisions: [u16; 2],
    /// `version` of the description, up to 32 bytes.
    pub version: &'a str,
    /// `secure_version`.
    pub secure_version: u32,
    /// `project_name`, up to 32 bytes.
    pub project: &'a str,
    /// The data behind the description, a multiple of four bytes.
    pub data: &'a [u8],
    /// The second segment, a multiple of four bytes.
    pub program: &'a [u8],
}

impl EspIdfImage<'_> {
    /// The description, `esp_app_desc_t`.
    pub fn description(&self) -> [u8; 256] {
        let mut description = [0; 256];
        description[..4].copy_from_slice(&0xABCD_5432_u32.to_le_bytes());
        description[4..8].copy_from_slice(&self.secure_version.to_le_bytes());
        description[16..16 + self.version.len()].copy_from_slice(self.version.as_bytes());
        description[48..48 + self.project.len()].copy_from_slice(self.project.as_bytes());
        description
    }

    /// The image, with checksum and digest.
    pub fn build(&self) -> Vec<u8> {
        let data = [&self.description()[..], self.data].concat();
        let segments = [(0x3C00_0020_u32, &data[..]), (0x4038_0000, self.program)];
        let mut image = vec![0xE9, segments.len() as u8, 2, 0x2F];
        image.extend(0x4038_0000_u32.to_le_bytes());
        image.extend([0xEE, 0, 0, 0]);
        image.extend(self.chip.to_le_bytes());
        image.push((self.revisions[0] / 100) as u8);
        self.revisions.iter().for_each(|revision| image.extend(revision.to_le_bytes()));
        image.extend([0, 0, 0, 0, 1]);
        for (address, data) in segments {
            image.extend(address.to_le_bytes());
            image.extend((data.len() as u32).to_le_bytes());
            image.extend(data);
        }
        let checksum = segments.iter().flat_map(|(_, data)| *data).fold(0xEF, |sum, byte| sum ^ byte);
        image.resize((image.len() + 1).next_multiple_of(16) - 1, 0);
        image.push(checksum);
        let digest = Sha256::digest(&image);
        image.extend(digest);
        image
    }
}

/// Signs an image as `espsecure sign-data --version 2` does: fills it up to a sector, and appends the sector of up to three
/// signature blocks.
///
/// Source: ESP-IDF, "Secure Boot v2", "Signature Block Format".
pub fn sign_secure_boot(mut image: Vec<u8>, keys: &[&SigningKey]) -> Vec<u8> {
    image.resize(image.len().next_multiple_of(4096), 0xFF);
    let digest = Sha256::digest(&image);
    let mut sector = Vec::new();
    for key in keys {
        let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).expect("a digest of 32 bytes");
        let mut block = vec![0xE7, 3, 0, 0];
        block.extend(digest);
        block.push(2);
        // Numbers least significant byte first.
        let point = key.verifying_key().to_sec1_point(false);
        for number in point.as_bytes()[1..].chunks(32).chain(signature.to_bytes().chunks(32)) {
            block.extend(number.iter().rev());
        }
        block.resize(1196, 0);
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&block);
        block.extend(crc.to_le_bytes());
        block.resize(1216, 0);
        sector.extend(block);
    }
    sector.resize(4096, 0xFF);
    image.extend(sector);
    image
}
