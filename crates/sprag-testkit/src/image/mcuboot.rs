//! MCUboot images, byte for byte as `imgtool sign` makes them.

use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Signer;

/// What goes into the header of an MCUboot image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
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

impl Version {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.major, self.minor];
        bytes.extend(self.revision.to_le_bytes());
        bytes.extend(self.build.to_le_bytes());
        bytes
    }
}

/// An image to be signed: header, payload and TLVs as `imgtool sign` lays them out
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

/// How an image is digested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sha {
    /// SHA-256, what `imgtool` does unless it is told.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Sha {
    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// What an image may say besides.
#[derive(Debug, Clone, Copy)]
pub struct Extras<'a> {
    /// The digest, of the image and of the key.
    pub sha: Sha,
    /// Signs the whole image instead of its digest (`--pure`). `imgtool` does it with Ed25519 and SHA-512.
    pub pure: bool,
    /// What fills the header up: the erased value with `--pad-header`, otherwise zeros.
    pub fill: u8,
    /// Where the image is copied to (`--load-addr`); 0 for nowhere.
    pub load_addr: u32,
    /// Where the image must lie (`--rom-fixed`); 0 for anywhere.
    pub rom_fixed: u32,
    /// `--security-counter`.
    pub security_counter: Option<u32>,
    /// `--dependencies`: image numbers and versions.
    pub dependencies: &'a [(u8, Version)],
    /// `--vid`.
    pub vendor: Option<[u8; 16]>,
    /// `--cid`.
    pub class: Option<[u8; 16]>,
    /// `--custom-tlv`: types and values, protected.
    pub custom: &'a [(u16, &'a [u8])],
}

impl Default for Extras<'_> {
    /// Nothing, in an image as `imgtool sign --pad-header` makes it.
    fn default() -> Self {
        Self {
            sha: Sha::Sha256,
            pure: false,
            fill: 0xFF,
            load_addr: 0,
            rom_fixed: 0,
            security_counter: None,
            dependencies: &[],
            vendor: None,
            class: None,
            custom: &[],
        }
    }
}

impl Extras<'_> {
    fn protected(&self) -> Vec<(u16, Vec<u8>)> {
        let mut tlvs = Vec::new();
        tlvs.extend(self.security_counter.map(|counter| (0x50, counter.to_le_bytes().to_vec())));
        tlvs.extend(
            self.dependencies.iter().map(|(image, needs)| (0x40, [vec![*image, 0, 0, 0], needs.bytes()].concat())),
        );
        tlvs.extend(self.vendor.map(|uuid| (0x74, uuid.to_vec())));
        tlvs.extend(self.class.map(|uuid| (0x75, uuid.to_vec())));
        tlvs.extend(self.custom.iter().map(|(kind, value)| (*kind, value.to_vec())));
        tlvs
    }
}

impl McuBootImage<'_> {
    /// The image, with SHA-256, key hash and Ed25519 signature.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        self.sign_with(&key.into(), &Extras::default())
    }

    /// The image, with digest, key hash and signature, and all that it says besides.
    pub fn sign_with(&self, signer: &Signer, extras: &Extras<'_>) -> Vec<u8> {
        let mut image = self.covered(extras);
        let (sha, kind) = match (extras.pure, extras.sha) {
            (true, _) | (_, Sha::Sha512) => (Sha::Sha512, 0x12),
            (_, Sha::Sha384) => (Sha::Sha384, 0x11),
            (_, Sha::Sha256) => (Sha::Sha256, 0x10),
        };
        let digest = sha.digest(&image);
        let signature = match signer {
            Signer::Ed25519(_) if extras.pure => signer.sign(&image),
            _ => signer.sign_digest(&digest),
        };
        let mut tlvs = vec![(kind, digest)];
        tlvs.extend(extras.pure.then(|| (0x25, vec![1])));
        tlvs.push((0x01, sha.digest(&signer.public_der())));
        tlvs.push((if matches!(signer, Signer::Ed25519(_)) { 0x24 } else { 0x22 }, signature));
        append_tlvs(&mut image, 0x6907, &tlvs);
        image
    }

    /// Header and payload: what the digest covers.
    pub fn unsigned(&self) -> Vec<u8> {
        self.covered(&Extras::default())
    }

    /// Header, payload and protected TLVs: what the digest covers.
    fn covered(&self, extras: &Extras<'_>) -> Vec<u8> {
        let protected = extras.protected();
        let mut tlvs = Vec::new();
        if !protected.is_empty() {
            append_tlvs(&mut tlvs, 0x6908, &protected);
        }
        let flags = match (extras.load_addr, extras.rom_fixed) {
            (0, 0) => 0_u32,
            (0, _) => 0x100,
            _ => 0x20,
        };
        let mut image = Vec::new();
        image.extend(0x96f3_b83d_u32.to_le_bytes());
        image.extend((extras.load_addr | extras.rom_fixed).to_le_bytes());
        image.extend(self.header_size.to_le_bytes());
        image.extend((tlvs.len() as u16).to_le_bytes());
        image.extend((self.payload.len() as u32).to_le_bytes());
        image.extend(flags.to_le_bytes());
        image.extend(self.version.bytes());
        image.extend([0; 4]);
        image.resize(self.header_size.into(), extras.fill);
        image.extend(self.payload);
        image.extend(tlvs);
        image
    }
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

/// What `imgtool` keeps free at the end of a slot for a swap, with 128 sectors.
pub fn trailer_size(align: usize) -> usize {
    let cell = align.max(8);
    128 * 3 * align + 4 * cell + 16_usize.next_multiple_of(cell)
}

/// Fills an image up to the size of its slot, with a trailer that asks for a test (`--pad`) or says that the image is
/// confirmed (`--confirm`).
///
/// # Panics
/// When the slot has no room for image and trailer.
pub fn pad(image: &mut Vec<u8>, slot_size: usize, align: usize, erased: u8, confirmed: bool) {
    assert!(image.len() + trailer_size(align) <= slot_size, "image and trailer don't fit");
    let cell = align.max(8);
    image.resize(slot_size - 16, erased);
    if confirmed {
        image[slot_size - 16_usize.next_multiple_of(cell) - cell] = 1;
    }
    if cell == 8 {
        image.extend([0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80]);
    } else {
        image.extend((cell as u16).to_le_bytes());
        image.extend([0x2d, 0xe1, 0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a]);
    }
}
