//! ESP-IDF images, and everything that could be wrong with one.

mod common;

use common::{RUNNING, SLOT, Slow, ed25519, p256, public, public_p256, slot};
use embassy_futures::block_on;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use sprag_testkit::cancel;
use sprag_testkit::image::{EspIdfImage, Signer, sign_secure_boot};
use sprag_verify::esp_idf::{self, chip};
use sprag_verify::{Error, Image, Key, P256Key, Policy, Promised, Signature, Version};

const IMAGE: EspIdfImage<'_> = EspIdfImage {
    chip: chip::ESP32C3,
    revisions: [3, 199],
    version: "v1.5.0+7",
    secure_version: 3,
    project: "board-a",
    data: &[1; 64],
    program: &[2; 200],
};
const VERSION: Version = Version { build: 7, ..Version::new(1, 5, 0) };

fn verify_as(bytes: &[u8], promised: Promised<'_>, policy: &Policy<'_>) -> Result<Image, Error> {
    block_on(esp_idf::verify(&mut slot(bytes), promised, policy, &mut [0; 200]))
}

fn verify_with(bytes: &[u8], policy: &Policy<'_>) -> Result<Image, Error> {
    verify_as(bytes, Promised::size(bytes.len() as u32), policy)
}

fn verify(bytes: &[u8]) -> Result<Image, Error> {
    verify_with(bytes, &Policy::signed_by(&public_p256(1)).newer_than(RUNNING))
}

fn signed() -> Vec<u8> {
    sign_secure_boot(IMAGE.build(), &[&p256(1)])
}

/// The image with something changed in it, and its digest right again: what a careless or hostile build could make.
fn rebuilt(change: impl FnOnce(&mut Vec<u8>)) -> Result<Image, Error> {
    let mut bytes = IMAGE.build();
    bytes.truncate(bytes.len() - 32);
    change(&mut bytes);
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    verify(&sign_secure_boot(bytes, &[&p256(1)]))
}

#[test]
fn a_signed_image_is_what_it_says() {
    let bytes = signed();
    assert_eq!(verify(&bytes), Ok(Image { version: VERSION, size: bytes.len() as u32, counter: Some(3) }));
    assert_eq!(block_on(esp_idf::version(&mut slot(&bytes), &mut [0; 128])), Ok(VERSION));
}

/// A flipped bit at every byte: refused, or in what no signature covers and nobody reads, behind the blocks' checksums and
/// in the unused rest of their sector.
#[test]
fn every_flipped_bit_is_refused_or_means_nothing() {
    let bytes = signed();
    let sector = bytes.len() - 4096;
    for at in 0..bytes.len() {
        let outside = (1200..1216).contains(&(at.wrapping_sub(sector))) || at >= sector + 1216;
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert_eq!(verify(&flipped).is_ok(), outside, "byte {at}");
        // The digest in the job covers those as well.
        let promised = Promised::size(bytes.len() as u32).digest(Sha256::digest(&bytes).into());
        if outside {
            let key = public_p256(1);
            assert_eq!(verify_as(&flipped, promised, &Policy::signed_by(&key)), Err(Error::FileDigest));
        }
    }
}

#[test]
fn every_bit_of_an_image_that_the_job_signs() {
    let bytes = IMAGE.build();
    let key = public(1);
    let policy = Policy::signed_by(&key);
    let signature = Signature::ed25519(Signer::from(&ed25519(1)).sign(&bytes).try_into().unwrap());
    let promised = Promised::size(bytes.len() as u32).signature(signature);
    verify_as(&bytes, promised, &policy).unwrap();
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        verify_as(&flipped, promised, &policy).expect_err(&format!("bit {at}"));
    }
    assert_eq!(verify_with(&bytes, &policy), Err(Error::Unsigned));
}

#[test]
fn each_block_of_a_trusted_key_must_fit_and_one_must_be_there() {
    let (first, second) = (public_p256(1), public_p256(2));
    let keys: [&dyn Key; 2] = [&first, &second];
    let policy = Policy::signed_by_any(&keys);
    let by = |seeds: &[u8]| {
        let keys: Vec<_> = seeds.iter().map(|seed| p256(*seed)).collect();
        sign_secure_boot(IMAGE.build(), &keys.iter().collect::<Vec<_>>())
    };
    for seeds in [&[1][..], &[2], &[1, 2], &[3, 1], &[3, 4, 2]] {
        verify_with(&by(seeds), &policy).unwrap_or_else(|error| panic!("{seeds:?}: {error}"));
    }
    assert_eq!(verify_with(&by(&[3, 4, 5]), &policy), Err(Error::UnknownKey));
    assert_eq!(verify_with(&by(&[]), &policy), Err(Error::Unsigned));
    assert_eq!(verify_with(&by(&[1]), &Policy::signed_by(&public(1))), Err(Error::UnknownKey));
    let revoked = [first.hash()];
    let policy = policy.revoking(&revoked);
    assert_eq!(verify_with(&by(&[1]), &policy), Err(Error::RevokedKey));
    assert_eq!(verify_with(&by(&[3, 1, 4]), &policy), Err(Error::RevokedKey));
    verify_with(&by(&[1, 2]), &policy).unwrap();

    // A block that is sound, of a trusted key, and signs something else.
    let mut bytes = by(&[1, 2]);
    let sector = bytes.len() - 4096;
    let patch = |bytes: &mut Vec<u8>, at: usize, value: u8| {
        bytes[sector + at] = value;
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes[sector..sector + 1196]);
        bytes[sector + 1196..sector + 1200].copy_from_slice(&crc.to_le_bytes());
    };
    let keys = Policy::signed_by_any(&keys);
    patch(&mut bytes, 110, 0);
    assert_eq!(verify_with(&bytes, &keys), Err(Error::Signature));
    for (at, value) in [(1, 2), (2, 1), (36, 1), (36, 3)] {
        let mut bytes = by(&[1]);
        patch(&mut bytes, at, value);
        assert_eq!(verify_with(&bytes, &keys), Err(Error::Unsigned), "another kind of block");
    }
    let mut bytes = by(&[1]);
    patch(&mut bytes, 4, 0);
    assert_eq!(verify_with(&bytes, &keys), Err(Error::Digest));
}

#[test]
fn structures_that_lie_are_refused() {
    assert!(rebuilt(|_| {}).is_ok());
    assert_eq!(rebuilt(|bytes| bytes[0] = 0xEA), Err(Error::NotAnImage));
    assert_eq!(rebuilt(|bytes| bytes[1] = 0), Err(Error::Malformed { at: 1 }));
    assert_eq!(rebuilt(|bytes| bytes[1] = 17), Err(Error::Malformed { at: 1 }));
    assert_eq!(rebuilt(|bytes| bytes[23] = 0), Err(Error::NoDigest));
    assert_eq!(rebuilt(|bytes| bytes[23] = 2), Err(Error::Malformed { at: 23 }));
    assert!(rebuilt(|bytes| bytes[1] = 1).is_err(), "the checksum lies elsewhere");
    // Segments: not whole words, shorter than the description, past the slot, past what there is.
    let length = |value: u32| rebuilt(|bytes| bytes[28..32].copy_from_slice(&value.to_le_bytes()));
    for bad in [0, 252, 319, 321, SLOT, 1 << 24, u32::MAX, u32::MAX - 3, u32::MAX - 35] {
        assert_eq!(length(bad), Err(Error::Malformed { at: 24 }), "{bad}");
    }
    let second = 24 + 8 + 320;
    let length = |value: u32| rebuilt(|bytes| bytes[second + 4..second + 8].copy_from_slice(&value.to_le_bytes()));
    for bad in [SLOT, u32::MAX - 3] {
        assert_eq!(length(bad), Err(Error::Malformed { at: second as u32 }));
    }
    let last_word = SLOT - (second as u32 + 8);
    assert_eq!(length(last_word), Err(Error::Malformed { at: SLOT }), "no room for the checksum");
    assert_eq!(length(last_word - 12), Err(Error::Malformed { at: SLOT - 12 }), "nor for the digest");
    assert_eq!(rebuilt(|bytes| bytes[32] ^= 1), Err(Error::Malformed { at: 32 }));
    let checksum = IMAGE.build().len() - 33;
    assert_eq!(rebuilt(|bytes| bytes[checksum] ^= 1), Err(Error::Checksum));
    assert!(rebuilt(|bytes| bytes[checksum - 1] ^= 1).is_ok(), "filling is covered, not prescribed");
    for short in 0..24 {
        let flash = sprag_testkit::flash::SimFlash::in_memory(
            short.max(1),
            sprag_testkit::flash::FlashGeometry { write_size: 1, erase_size: 1, erased: 0xE9 },
        );
        let key = public_p256(1);
        let tiny = &mut flash.region(0..short.max(1));
        let error = block_on(esp_idf::verify(tiny, short, &Policy::signed_by(&key), &mut [0; 200]));
        assert_eq!(error, Err(Error::NotAnImage));
    }
}

#[test]
fn every_length_but_the_right_ones_is_refused() {
    let (plain, bytes) = (IMAGE.build(), signed());
    let key = public_p256(1);
    let policy = Policy::signed_by(&key);
    for size in (0..bytes.len() as u32 + 100).chain([SLOT, SLOT + 1, u32::MAX]) {
        let found = verify_as(&bytes, size.into(), &policy);
        match size as usize {
            size if size == bytes.len() => assert!(found.is_ok()),
            size if size == plain.len() => assert_eq!(found, Err(Error::Unsigned)),
            _ => assert_eq!(found, Err(Error::Length { image: plain.len() as u32, promised: size })),
        }
    }
}

#[test]
fn every_claim_is_held_against_the_policy() {
    let bytes = signed();
    let key = public_p256(1);
    let policy = Policy::signed_by(&key);
    let judge = |policy: Policy<'_>| verify_with(&bytes, &policy).err();
    assert_eq!(judge(policy.newer_than(VERSION)), Some(Error::SameVersion { version: VERSION }));
    let running = Version::new(1, 6, 0);
    assert_eq!(judge(policy.newer_than(running)), Some(Error::NotNewer { image: VERSION, running }));
    assert_eq!(judge(policy.counter_at_least(3).counter_at_most(3)), None);
    assert_eq!(judge(policy.counter_at_least(4)), Some(Error::CounterTooLow { image: 3, least: 4 }));
    assert_eq!(judge(policy.counter_at_most(2)), Some(Error::CounterTooHigh { image: 3, most: 2 }));
    assert_eq!(judge(policy.for_board("board-a")), None);
    assert_eq!(judge(policy.for_board("board-b")), Some(Error::Board));
    assert_eq!(judge(policy.for_board("board-")), Some(Error::Board));
    assert_eq!(judge(policy.for_class([0; 16])), Some(Error::NoClass));
    assert_eq!(judge(policy.for_chip(chip::ESP32C3)), None);
    let (image, expected) = (chip::ESP32C3, chip::ESP32C6);
    assert_eq!(judge(policy.for_chip(expected)), Some(Error::Chip { image, expected }));
    assert_eq!(judge(policy.chip_revision(3)), None);
    assert_eq!(judge(policy.chip_revision(199)), None);
    for revision in [2, 200] {
        let refused = Error::ChipRevision { least: 3, most: 199, revision };
        assert_eq!(judge(policy.chip_revision(revision)), Some(refused));
    }
    for open in [0, u16::MAX] {
        let bytes = sign_secure_boot(EspIdfImage { revisions: [0, open], ..IMAGE }.build(), &[&p256(1)]);
        verify_with(&bytes, &policy.chip_revision(999)).unwrap();
    }
    assert_eq!(judge(policy.at_address(8)), Some(Error::Address { image: None, expected: 8 }));
    assert_eq!(judge(policy.linked_within(0..8)), Some(Error::NoVector));
    let room = bytes.len() as u32 - 1;
    let refused = Error::TooLarge { image: room + 1, room };
    assert_eq!(judge(policy.reserving(SLOT - room)), Some(refused));
}

#[test]
fn versions_that_cannot_be_compared_are_none() {
    for version in [
        "",
        "a1b2c3d",
        "v1.5.0-dirty",
        "v1.5.0-3-gabcdef0-dirty",
        "1.5.0-rc1",
        "300.1.1",
        "11111111111111111111111111111111",
    ] {
        let bytes = sign_secure_boot(EspIdfImage { version, ..IMAGE }.build(), &[&p256(1)]);
        assert_eq!(verify(&bytes), Err(Error::NoVersion), "{version}");
    }
    // ESP-IDF's default is `git describe`.
    let described = Version { build: 3, ..Version::new(1, 5, 0) };
    for (version, expected) in [("2", Version::new(2, 0, 0)), ("v1.5.0-3-gabcdef0", described)] {
        let bytes = sign_secure_boot(EspIdfImage { version, ..IMAGE }.build(), &[&p256(1)]);
        assert_eq!(verify(&bytes).map(|image| image.version), Ok(expected));
    }
}

#[test]
fn the_image_is_read_once() {
    let bytes = signed();
    let key = public_p256(1);
    let promised = Promised::size(bytes.len() as u32).digest(Sha256::digest(&bytes).into());
    let mut slot = Slow::<16>(slot(&bytes), 0);
    block_on(esp_idf::verify(&mut slot, promised, &Policy::signed_by(&key), &mut [0; 512])).unwrap();
    // Besides: headers, description, and the blocks for their checksum.
    assert!(slot.1 < bytes.len() + 1216 + 800, "{} bytes read of {}", slot.1, bytes.len());
}

#[test]
fn dropped_at_every_await_it_can_be_called_again() {
    let bytes = signed();
    let policy = public_p256(1);
    let policy = Policy::signed_by(&policy);
    let (mut slot, mut buf) = (Slow::<4>(slot(&bytes), 0), [0; 512]);
    let size = bytes.len() as u32;
    let mut awaits = 0;
    while block_on(cancel::after(&mut { awaits }, esp_idf::verify(&mut slot, size, &policy, &mut buf))).is_none() {
        awaits += 1;
        block_on(esp_idf::verify(&mut slot, size, &policy, &mut buf)).unwrap();
    }
    assert!(awaits > 30, "{awaits}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever lies in the slot, behind a good header too: refused, without a panic and without an end.
    #[test]
    fn anything_else_is_refused(garbage in proptest::collection::vec(any::<u8>(), 700), keep in 0usize..700) {
        let mut bytes = signed();
        bytes.truncate(keep);
        bytes.extend(&garbage[keep..]);
        for size in [bytes.len() as u32, IMAGE.build().len() as u32, 8192] {
            let key = P256Key::new([4; 65]);
            prop_assert!(verify_as(&bytes, size.into(), &Policy::signed_by(&key)).is_err());
        }
    }
}
