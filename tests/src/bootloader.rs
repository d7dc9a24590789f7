//! The bootloaders that a device of the demo can have.

use clap::ValueEnum;
use ed25519_dalek::SigningKey;
use sprag_testkit::image::{EspIdfImage, McuBootImage, Signer, Version, sign_secure_boot};

/// A bootloader's family and method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Bootloader {
    /// MCUboot, swapping by moving
    #[default]
    McubootMove,
    /// MCUboot, swapping through a scratch region
    McubootScratch,
    /// MCUboot, swapping by offset
    McubootOffset,
    /// MCUboot, overwriting: no trials
    McubootOverwrite,
    /// MCUboot's direct-XIP with reverts
    McubootXip,
    /// MCUboot's direct-XIP without reverts: no trials
    McubootXipNoRevert,
    /// Infineon's MCUboot on PSoC 6
    McubootCypress,
    /// ESP-IDF with rollback
    EspIdf,
    /// ESP-IDF without rollback: no trials
    EspIdfNoRollback,
    /// embassy-boot
    EmbassyBoot,
}

/// The regions of two slots, whatever their names are.
const TWO_SLOTS: &str = "
primary = { offset = 0x000000, size = 0x110000 }
secondary = { offset = 0x110000, size = 0x110000 }
journal = { offset = 0x220000, size = 0x2000 }
";
const SCRATCH: &str = "scratch = { offset = 0x222000, size = 0x2000 }\n";
/// Rows of 512 bytes, so that journal and status take many of them.
const CYPRESS: &str = "
primary = { offset = 0x000000, size = 0x110000 }
secondary = { offset = 0x110000, size = 0x110000 }
status = { offset = 0x220000, size = 0x10000 }
scratch = { offset = 0x230000, size = 0x1000 }
journal = { offset = 0x231000, size = 0x4000 }
";
const ESP_IDF: &str = "
otadata = { offset = 0x00d000, size = 0x2000 }
ota_0 = { offset = 0x010000, size = 0x110000 }
ota_1 = { offset = 0x120000, size = 0x110000 }
journal = { offset = 0x230000, size = 0x2000 }
";
const EMBASSY: &str = "
active = { offset = 0x000000, size = 0x110000 }
dfu = { offset = 0x110000, size = 0x111000 }
state = { offset = 0x221000, size = 0x3000 }
journal = { offset = 0x224000, size = 0x2000 }
";

impl Bootloader {
    /// Returns the name as `--bootloader` takes it.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Returns whether an image that does not confirm itself is given up.
    pub fn has_trials(self) -> bool {
        !matches!(self, Self::McubootOverwrite | Self::McubootXipNoRevert | Self::EspIdfNoRollback)
    }

    fn is_esp_idf(self) -> bool {
        matches!(self, Self::EspIdf | Self::EspIdfNoRollback)
    }

    /// Returns what is programmed at once, in bytes.
    pub fn write_size(self) -> u64 {
        match self {
            Self::McubootCypress => 512,
            Self::EspIdf | Self::EspIdfNoRollback => 4,
            _ => 8,
        }
    }

    /// Returns the layout of a flash whose slots take the images of the scenarios.
    pub fn layout(self) -> String {
        let (regions, boot) = match self {
            Self::McubootMove => (TWO_SLOTS.to_owned(), "family = 'mcuboot'"),
            Self::McubootScratch => ([TWO_SLOTS, SCRATCH].concat(), "family = 'mcuboot'\nmethod = 'scratch'"),
            Self::McubootOffset => (TWO_SLOTS.to_owned(), "family = 'mcuboot'\nmethod = 'offset'"),
            Self::McubootOverwrite => (TWO_SLOTS.to_owned(), "family = 'mcuboot'\nmethod = 'overwrite'"),
            Self::McubootXip => (TWO_SLOTS.to_owned(), "family = 'mcuboot-xip'"),
            Self::McubootXipNoRevert => (TWO_SLOTS.to_owned(), "family = 'mcuboot-xip'\nrevert = false"),
            Self::McubootCypress => (CYPRESS.to_owned(), "family = 'mcuboot-cypress'\nmax_sectors = 2176"),
            Self::EspIdf => (ESP_IDF.to_owned(), "family = 'esp-idf'"),
            Self::EspIdfNoRollback => (ESP_IDF.to_owned(), "family = 'esp-idf'\nrollback = false"),
            Self::EmbassyBoot => (EMBASSY.to_owned(), "family = 'embassy-boot'"),
        };
        let units = match self {
            Self::McubootCypress => "erase_size = 512\nerased_value = 0x00",
            _ => "erase_size = 4096\nerased_value = 0xFF",
        };
        format!("write_size = {}\n{units}\n[regions]{regions}[boot]\n{boot}\n", self.write_size())
    }

    /// Returns what the images are signed with: Ed25519, or P-256 where secure boot v2 asks for it.
    pub fn signer(self, secret: [u8; 32]) -> anyhow::Result<Signer> {
        if self.is_esp_idf() {
            return Ok(Signer::from(&p256::ecdsa::SigningKey::from_slice(&secret)?));
        }
        Ok(Signer::from(&SigningKey::from_bytes(&secret)))
    }

    /// Returns a signed image with about this payload.
    pub fn image(self, secret: [u8; 32], version: Version, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
        if !self.is_esp_idf() {
            let image = McuBootImage { version, header_size: 0x200, payload };
            return Ok(image.sign(&SigningKey::from_bytes(&secret)));
        }
        let Version { major, minor, revision, .. } = version;
        let image = EspIdfImage {
            chip: 5,
            revisions: [0, 199],
            version: &format!("{major}.{minor}.{revision}"),
            secure_version: 0,
            project: "device",
            data: &[],
            program: payload.get(..payload.len() / 4 * 4).unwrap_or_default(),
        };
        Ok(sign_secure_boot(image.build(), &[&p256::ecdsa::SigningKey::from_slice(&secret)?]))
    }

    /// Flips a bit of an image's signature, and returns the reason that such an image is refused for.
    pub fn spoil(self, image: &mut [u8], random: &mut fastrand::Rng) -> &'static str {
        let end = if self.is_esp_idf() {
            // The signature is the end of the block's number fields: magic, digest, curve, key, signature. The checksum of
            // the block no longer fits, so that it is not taken for a signature.
            image.len() - 4096 + 4 + 32 + 1 + 64 + 64
        } else {
            // The signature is the last TLV.
            image.len()
        };
        image[end - 64 + random.usize(..64)] ^= 1 << random.u8(..8);
        if self.is_esp_idf() { "unsigned" } else { "bad-signature" }
    }
}
