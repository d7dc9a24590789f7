//! MCUboot images, and everything that could be wrong with one.

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use proptest::prelude::*;
use sprag_testkit::flash::{Geometry, SimFlash};
use sprag_testkit::image::{self, McuBootImage, append_tlvs};
use sprag_verify::mcuboot::{self, Image};
use sprag_verify::{Error, Policy, PublicKey, Version};

const RUNNING: Version = Version::new(1, 4, 2);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> PublicKey {
    PublicKey::ed25519(key(seed).verifying_key().to_bytes())
}

fn unsigned(payload: &[u8]) -> McuBootImage<'_> {
    let version = image::Version { major: 1, minor: 5, revision: 0, build: 0 };
    McuBootImage { version, header_size: 64, payload }
}

fn verify_sized(bytes: &[u8], promised: usize, policy: &Policy<'_>) -> Result<Image, Error> {
    let flash = SimFlash::in_memory(Geometry { capacity: 8192, write_size: 1, erase_size: 256, erased: 0xFF });
    flash.load(0, bytes).unwrap();
    block_on(mcuboot::verify(&mut flash.region(0..8192), promised as u32, policy, &mut [0; 200]))
}

fn verify(bytes: &[u8]) -> Result<Image, Error> {
    verify_sized(bytes, bytes.len(), &Policy::signed_by(&public(1)).newer_than(RUNNING))
}

#[test]
fn a_signed_image_is_what_it_says() {
    let bytes = unsigned(&[7; 3000]).sign(&key(1));
    let image = verify(&bytes).unwrap();
    assert_eq!((image.version, image.size), (Version::new(1, 5, 0), bytes.len() as u32));
}

#[test]
fn one_of_several_keys_will_do() {
    let keys = [public(1), public(2)];
    let policy = Policy::signed_by_any(&keys);
    for seed in [1, 2] {
        let bytes = unsigned(&[7; 300]).sign(&key(seed));
        verify_sized(&bytes, bytes.len(), &policy).unwrap();
    }
    let bytes = unsigned(&[7; 300]).sign(&key(3));
    assert_eq!(verify_sized(&bytes, bytes.len(), &policy), Err(Error::UnknownKey));
}

#[test]
fn only_later_versions_run() {
    let bytes = unsigned(&[7; 300]).sign(&key(1));
    let judge = |running| {
        verify_sized(&bytes, bytes.len(), &Policy::signed_by(&public(1)).newer_than(running)).map(|image| image.version)
    };
    let image = Version::new(1, 5, 0);
    for running in [Version::new(0, 255, 65535), Version::new(1, 4, 65535), Version { build: u32::MAX, ..RUNNING }] {
        assert_eq!(judge(running), Ok(image));
    }
    for running in [image, Version { build: 1, ..image }, Version::new(1, 5, 1), Version::new(2, 0, 0)] {
        assert_eq!(judge(running), Err(Error::NotNewer { image, running }));
    }
}

/// Every bit of the image counts: each flipped one is refused.
#[test]
fn every_flipped_bit_is_refused() {
    let bytes = unsigned(&[7; 100]).sign(&key(1));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            verify(&flipped).expect_err(&format!("bit {bit} of byte {at}"));
        }
    }
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    let bytes = unsigned(&[7; 100]).sign(&key(1));
    let key = public(1);
    let policy = Policy::signed_by(&key);
    for promised in (0..bytes.len() + 100).filter(|n| *n != bytes.len()) {
        let error = verify_sized(&bytes, promised, &policy).unwrap_err();
        assert_eq!(error, Error::Length { image: bytes.len() as u32, promised: promised as u32 });
    }
    for cut in 0..bytes.len() {
        verify_sized(&bytes[..cut], bytes.len(), &policy).unwrap_err();
    }
}

#[test]
fn each_refusal_has_its_own_reason() {
    use sha2::{Digest, Sha256};
    let plain = unsigned(&[7; 100]).unsigned();
    let digest = Sha256::digest(&plain).to_vec();
    let hash = image::key_hash(&key(1).verifying_key().to_bytes()).to_vec();
    let with = |tlvs: &[(u16, Vec<u8>)]| {
        let mut bytes = plain.clone();
        append_tlvs(&mut bytes, 0x6907, tlvs);
        verify(&bytes).unwrap_err().reason()
    };
    let (sha, name) = ((0x10, digest), (0x01, hash));
    let signature = |byte| (0x24, vec![byte; 64]);
    assert_eq!(with(&[]), "digest-missing");
    assert_eq!(with(&[name.clone(), signature(0)]), "bad-signature");
    assert_eq!(with(&[(0x10, vec![0; 32])]), "digest-mismatch");
    assert_eq!(with(&[sha.clone(), (0x10, vec![0; 32])]), "digest-mismatch");
    assert_eq!(with(std::slice::from_ref(&sha)), "unsigned");
    assert_eq!(with(&[sha.clone(), name.clone()]), "unsigned");
    assert_eq!(with(&[sha.clone(), signature(0)]), "unknown-key");
    assert_eq!(with(&[sha.clone(), (0x01, vec![9; 32]), signature(0)]), "unknown-key");
    assert_eq!(with(&[sha.clone(), name.clone(), signature(0), signature(0)]), "bad-signature");
    assert_eq!(with(&[sha.clone(), name.clone(), (0x24, vec![0; 63])]), "image-malformed");
    assert_eq!(with(&[(0x10, vec![0; 31])]), "image-malformed");
    assert_eq!(verify(&[0xFF; 100]).unwrap_err().reason(), "not-an-image");
    assert_eq!(verify(&plain).unwrap_err().reason(), "image-malformed");

    let patched = |at: usize, value: u32| {
        let mut bytes = plain.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        append_tlvs(&mut bytes, 0x6907, &[]);
        verify(&bytes).unwrap_err()
    };
    assert_eq!(patched(16, 0x10), Error::Flags { flags: 0x10 });
    assert_eq!(patched(16, 0x4), Error::Flags { flags: 0x4 });
    assert_eq!(patched(12, u32::MAX), Error::Malformed { at: 8 });
    assert_eq!(patched(12, 8192), Error::Malformed { at: 12 });
    assert_eq!(patched(8, 31), Error::Malformed { at: 8 });
    assert_eq!(patched(8, 64 | 0x20_0000), Error::Malformed { at: 164 }, "a protected area is said to be there");
}

#[test]
fn protected_tlvs_are_covered_and_must_fit() {
    let build = |tot: u16, lengths: [u16; 2]| {
        let mut bytes = unsigned(&[7; 100]).unsigned();
        bytes[10..12].copy_from_slice(&20u16.to_le_bytes());
        bytes.extend([0x08, 0x69]);
        bytes.extend(tot.to_le_bytes());
        for length in lengths {
            bytes.extend([0x50, 0x00]);
            bytes.extend(length.to_le_bytes());
            bytes.extend([1, 2, 3, 4]);
        }
        let digest: [u8; 32] =
            sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), &bytes)).into();
        let signature = ed25519_dalek::Signer::sign(&key(1), &digest).to_bytes().to_vec();
        let hash = image::key_hash(&key(1).verifying_key().to_bytes()).to_vec();
        append_tlvs(&mut bytes, 0x6907, &[(0x10, digest.to_vec()), (0x01, hash), (0x24, signature)]);
        verify(&bytes).map(|_| ())
    };
    assert_eq!(build(20, [4, 4]), Ok(()));
    assert_eq!(build(19, [4, 4]), Err(Error::Malformed { at: 164 }));
    assert_eq!(build(20, [4, 5]), Err(Error::Malformed { at: 176 }));
    assert_eq!(build(20, [12, 4]), Ok(()), "a value may hold anything");
    assert_eq!(build(20, [9, 4]), Err(Error::Malformed { at: 181 }), "three bytes are left: too few for a TLV");
}

#[test]
fn a_buffer_that_is_too_small_is_named() {
    let flash = SimFlash::in_memory(Geometry { capacity: 8192, write_size: 1, erase_size: 256, erased: 0xFF });
    let policy = public(1);
    let error = block_on(mcuboot::verify(&mut flash.region(0..8192), 1, &Policy::signed_by(&policy), &mut [0; 127]));
    assert_eq!(error, Err(Error::Buffer { needed: 128 }));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever lies in the slot, behind a good magic and header too: refused, without a panic and without an end.
    #[test]
    fn anything_else_is_refused(
        garbage in proptest::collection::vec(any::<u8>(), 512),
        keep in 0usize..300,
    ) {
        let mut bytes = unsigned(&[7; 100]).sign(&key(1));
        bytes.truncate(keep);
        bytes.extend(&garbage[..512 - keep]);
        prop_assert!(verify(&bytes).is_err());
    }
}
