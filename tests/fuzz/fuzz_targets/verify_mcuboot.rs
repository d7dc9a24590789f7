//! MCUboot images: any bytes as a slot, as TLVs behind a good header, and as protected TLVs that are signed.

#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use sprag_testkit::flash::{FlashGeometry, SimFlash};
use sprag_testkit::image::{McuBootImage, Signer, Version, append_tlvs};
use sprag_verify::{Ed25519Key, Error, Image, Key, P256Key, Policy, Promised, Signature, mcuboot};

const SLOT: u32 = 8192;

fn verify(bytes: &[u8], promised: Promised<'_>) -> Result<Image, Error> {
    let flash = SimFlash::in_memory(SLOT, FlashGeometry { write_size: 1, erase_size: 256, erased: 0xFF });
    flash.load(0, bytes).unwrap();
    let eddsa = Ed25519Key::new(signing().verifying_key().to_bytes());
    let ecdsa = P256Key::new([4; 65]);
    let keys: [&dyn Key; 2] = [&ecdsa, &eddsa];
    let policy = Policy::signed_by_any(&keys).beside(&[]).counter_at_most(u32::MAX - 1);
    block_on(mcuboot::verify(&mut flash.region(0..SLOT), promised, &policy, &mut [0; 1024]))
}

fn signing() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[1; 32])
}

fn plain() -> Vec<u8> {
    let version = Version { major: 1, minor: 2, revision: 3, build: 4 };
    McuBootImage { version, header_size: 32, payload: &[7; 64] }.unsigned()
}

fuzz_target!(|data: &[u8]| {
    let data = &data[..data.len().min(4096)];
    let signer = Signer::from(&signing());

    // As they come. Where they say how long they are, they are promised so, and so read to their end.
    let size = match verify(data, Promised::size(0)) {
        Err(Error::Length { image, .. }) => image,
        refused => {
            assert!(refused.is_err());
            data.len() as u32
        }
    };
    let signature = Signature::ed25519([1; 64]);
    assert!(verify(data, Promised::size(size).digest([0; 32]).signature(signature)).is_err());

    // Behind a good header.
    let mut image = plain();
    image.extend(data);
    assert!(verify(&image, Promised::size(image.len() as u32)).is_err());

    // As the contents of a good area: nobody signed this.
    let mut image = plain();
    image.extend([0x07, 0x69]);
    image.extend((data.len() as u16 + 4).to_le_bytes());
    image.extend(data);
    assert!(verify(&image, Promised::size(image.len() as u32)).is_err());

    // As protected TLVs that somebody signed: taken or refused, but never read past their end.
    let mut image = plain();
    let size = data.len() as u16 + 4;
    image[10..12].copy_from_slice(&size.to_le_bytes());
    image.extend([0x08, 0x69]);
    image.extend(size.to_le_bytes());
    image.extend(data);
    let digest = Sha256::digest(&image).to_vec();
    let name = Sha256::digest(signer.public_der()).to_vec();
    let signature = signer.sign_digest(&digest);
    append_tlvs(&mut image, 0x6907, &[(0x10, digest), (0x01, name), (0x24, signature)]);
    if let Ok(taken) = verify(&image, Promised::size(image.len() as u32)) {
        assert_eq!(taken.size as usize, image.len());
        assert!(taken.counter.is_some(), "the policy asks for one");
    }
});
