//! Signed MCUboot images to test with.

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// What goes into the header of an MCUboot image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u8,
    /// Second number.
    pub minor: u8,
    /// Third number.
    pub revision: u16,
    /// The number after the `+`.
    pub build: u32,
}

/// An image to be signed: header, payload and TLVs as `imgtool sign --key ed25519.pem` lays them out
/// (MCUboot, `docs/design.md`, "Image format"; `boot/bootutil/include/bootutil/image.h`).
#[derive(Debug, Clone, Copy)]
pub struct McuBootImage<'a> {
    /// The version in the header.
    pub version: Version,
    /// Size of the header with its padding, at least 32: where the vector table ends up.
    pub header_size: u16,
    /// The program.
    pub payload: &'a [u8],
}

impl McuBootImage<'_> {
    /// The image, with SHA-256, key hash and Ed25519 signature.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let mut image = self.unsigned();
        let digest: [u8; 32] = Sha256::digest(&image).into();
        let tlvs = [
            (0x10, digest.to_vec()),
            (0x01, key_hash(&key.verifying_key().to_bytes()).to_vec()),
            (0x24, key.sign(&digest).to_bytes().to_vec()),
        ];
        append_tlvs(&mut image, 0x6907, &tlvs);
        image
    }

    /// Header and payload: what the digest covers.
    pub fn unsigned(&self) -> Vec<u8> {
        let mut image = Vec::new();
        image.extend(0x96f3_b83d_u32.to_le_bytes());
        image.extend(0_u32.to_le_bytes());
        image.extend(self.header_size.to_le_bytes());
        image.extend(0_u16.to_le_bytes());
        image.extend((self.payload.len() as u32).to_le_bytes());
        image.extend(0_u32.to_le_bytes());
        image.extend([self.version.major, self.version.minor]);
        image.extend(self.version.revision.to_le_bytes());
        image.extend(self.version.build.to_le_bytes());
        image.extend([0; 4]);
        image.resize(self.header_size.into(), 0xFF);
        image.extend(self.payload);
        image
    }
}

/// SHA-256 of the key's DER encoding (RFC 8410, section 4), which MCUboot looks keys up by.
pub fn key_hash(public_key: &[u8; 32]) -> [u8; 32] {
    const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    Sha256::new().chain_update(SPKI).chain_update(public_key).finalize().into()
}

/// Appends a TLV area: `magic`, total size, then type, length and value of each.
pub fn append_tlvs(image: &mut Vec<u8>, magic: u16, tlvs: &[(u16, Vec<u8>)]) {
    let total = 4 + tlvs.iter().map(|(_, value)| 4 + value.len()).sum::<usize>();
    image.extend(magic.to_le_bytes());
    image.extend((total as u16).to_le_bytes());
    for (kind, value) in tlvs {
        image.extend(kind.to_le_bytes());
        image.extend((value.len() as u16).to_le_bytes());
        image.extend(value);
    }
}
