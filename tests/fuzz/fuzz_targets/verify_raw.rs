//! Raw images and the signatures beside them: any text as base64, any bytes as DER, and any bytes as an image.

#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::fuzz_target;
use sprag_testkit::flash::{FlashGeometry, SimFlash};
use sprag_testkit::image::Signer;
use sprag_verify::{Algorithm, Ed25519Key, Policy, Promised, Signature, Version, VersionAt, raw};

const SLOT: u32 = 4096;

fuzz_target!(|data: &[u8]| {
    let data = &data[..data.len().min(4000)];
    if let Ok(text) = core::str::from_utf8(data) {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let _ = Signature::from_base64(algorithm, text);
        }
        // What is read as a version is written as one that is read the same.
        if let Ok(version) = text.parse::<Version>() {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
    }
    // What p256 reads as a signature is read the same here.
    let ours = Signature::ecdsa_p256(data);
    if let Ok(theirs) = p256::ecdsa::Signature::from_der(data) {
        assert_eq!(ours, Signature::ecdsa_p256(theirs.to_der().as_bytes()));
        assert!(ours.is_ok());
    }

    let flash = SimFlash::in_memory(SLOT, FlashGeometry { write_size: 1, erase_size: 256, erased: 0xFF });
    flash.load(0, data).unwrap();
    let signer = Signer::from(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]));
    let key = Ed25519Key::new(signer.public().try_into().unwrap());
    let signature = Signature::ed25519(signer.sign(data).try_into().unwrap());
    let offset = data.first().copied().unwrap_or_default();
    let verify = |size: u32| {
        let promised = Promised::size(size).signature(signature);
        let at = VersionAt::Offset(offset.into());
        let policy = Policy::signed_by(&key);
        block_on(raw::verify(&mut flash.region(0..SLOT), promised, at, &policy, &mut [0; 256]))
    };
    // The beginnings of formats that carry their own signatures.
    if data.starts_with(&[0x3d, 0xb8, 0xf3, 0x96]) || data.starts_with(&[0xe9]) {
        return;
    }
    assert_eq!(verify(data.len() as u32).is_ok(), usize::from(offset) + 8 <= data.len());
    assert!(verify(data.len() as u32 + 1).is_err());
});
