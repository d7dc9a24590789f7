//! Slots, keys and images that the tests of all formats share.

#![allow(dead_code, reason = "each test binary uses a part")]

use core::future::poll_fn;
use core::task::Poll;

use ed25519_dalek::SigningKey;
use embedded_storage_async::nor_flash::{ErrorType, ReadNorFlash};
use sprag_testkit::flash::{FlashGeometry, Region, SimFlash};
use sprag_testkit::image::{McuBootImage, Signer, Version as ImageVersion};
use sprag_verify::{Ed25519Key, P256Key, Version};

pub(crate) const RUNNING: Version = Version::new(1, 4, 2);
pub(crate) const SLOT: u32 = 16384;

pub(crate) fn ed25519(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn p256(seed: u8) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()
}

/// The public half of [`ed25519`].
pub(crate) fn public(seed: u8) -> Ed25519Key {
    Ed25519Key::new(ed25519(seed).verifying_key().to_bytes())
}

/// The public half of [`p256`].
pub(crate) fn public_p256(seed: u8) -> P256Key {
    P256Key::new(Signer::from(&p256(seed)).public().try_into().unwrap())
}

pub(crate) fn mcuboot(payload: &[u8]) -> McuBootImage<'_> {
    let version = ImageVersion { major: 1, minor: 5, revision: 0, build: 0 };
    McuBootImage { version, header_size: 64, payload }
}

/// A slot that begins with these bytes.
pub(crate) fn slot(bytes: &[u8]) -> Region {
    let flash = SimFlash::in_memory(SLOT, FlashGeometry { write_size: 1, erase_size: 256, erased: 0xFF });
    flash.load(0, bytes).unwrap();
    flash.region(0..SLOT)
}

/// Flash that is read in units of `UNIT` bytes, counts its reads, and lets others run before each.
pub(crate) struct Slow<const UNIT: usize>(pub(crate) Region, pub(crate) usize);

impl<const UNIT: usize> ErrorType for Slow<UNIT> {
    type Error = <Region as ErrorType>::Error;
}

impl<const UNIT: usize> ReadNorFlash for Slow<UNIT> {
    const READ_SIZE: usize = UNIT;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        assert!(offset.is_multiple_of(UNIT as u32) && bytes.len().is_multiple_of(UNIT), "{offset} {}", bytes.len());
        let mut ready = false;
        poll_fn(|_| if core::mem::replace(&mut ready, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        self.1 += bytes.len();
        self.0.read(offset, bytes).await
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

/// Flash outside the chip that an attacker has hold of: from the given read on, other contents.
pub(crate) struct Swapped(pub(crate) Region, pub(crate) Region, pub(crate) usize);

impl ErrorType for Swapped {
    type Error = <Region as ErrorType>::Error;
}

impl ReadNorFlash for Swapped {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let before = self.2 > 0;
        self.2 = self.2.saturating_sub(1);
        if before { self.0.read(offset, bytes).await } else { self.1.read(offset, bytes).await }
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
