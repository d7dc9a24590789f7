//! Raw images: any bytes, vouched for from outside.

mod common;

use common::{RUNNING, SLOT, Slow, ed25519, p256, public, public_p256, slot};
use embassy_futures::block_on;
use sha2::{Digest, Sha256};
use sprag_testkit::cancel;
use sprag_testkit::image::{EspIdfImage, Signer};
use sprag_verify::{Algorithm, Error, Image, Key, Policy, Promised, Signature, Version, VersionAt, raw};

const VERSION: Version = Version::new(1, 5, 0);

fn image() -> Vec<u8> {
    let mut image: Vec<u8> = (0..1000).map(|at| (at * 7) as u8).collect();
    image[4..8].copy_from_slice(&0x0800_0101_u32.to_le_bytes());
    image[100..108].copy_from_slice(&VERSION.to_bytes());
    image
}

fn eddsa(image: &[u8], seed: u8) -> Signature {
    Signature::ed25519(Signer::from(&ed25519(seed)).sign(image).try_into().unwrap())
}

fn ecdsa(image: &[u8], seed: u8) -> Signature {
    Signature::ecdsa_p256(&Signer::from(&p256(seed)).sign(image)).unwrap()
}

fn verify(bytes: &[u8], promised: Promised<'_>, at: VersionAt, policy: &Policy<'_>) -> Result<Image, Error> {
    block_on(raw::verify(&mut slot(bytes), promised, at, policy, &mut [0; 200]))
}

#[test]
fn both_kinds_of_signature_over_every_byte() {
    let bytes = image();
    let (key, key_p256) = (public(1), public_p256(1));
    let keys: [&dyn Key; 2] = [&key, &key_p256];
    let policy = Policy::signed_by_any(&keys).newer_than(RUNNING).trusting_the_job();
    for signature in [eddsa(&bytes, 1), ecdsa(&bytes, 1)] {
        let promised = Promised::size(bytes.len() as u32).signature(signature).version(VERSION);
        let image = verify(&bytes, promised, VersionAt::Job, &policy).unwrap();
        assert_eq!(image, Image { version: VERSION, size: 1000, counter: None });
        assert_eq!(verify(&bytes, promised, VersionAt::Offset(100), &policy), Ok(image));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(verify(&flipped, promised, VersionAt::Job, &policy), Err(Error::Signature), "byte {at}");
        }
        for size in [0, 1, 999, 1001, SLOT] {
            let promised = Promised::size(size).signature(signature).version(VERSION);
            assert_eq!(verify(&bytes, promised, VersionAt::Job, &policy), Err(Error::Signature));
        }
        let digest = promised.digest(Sha256::digest(&bytes).into());
        assert_eq!(verify(&bytes, digest, VersionAt::Job, &policy), Ok(image));
        assert_eq!(verify(&bytes, promised.digest([0; 32]), VersionAt::Job, &policy), Err(Error::FileDigest));
    }
}

#[test]
fn each_key_is_tried_but_revoked_ones() {
    let bytes = image();
    let keys = [public(1), public(2), public(3)];
    let others = [public_p256(1), public_p256(2)];
    let all: [&dyn Key; 5] = [&others[0], &keys[0], &keys[1], &others[1], &keys[2]];
    let policy = Policy::signed_by_any(&all);
    let promised = Promised::size(bytes.len() as u32).version(VERSION);
    let judge = |policy: &Policy<'_>, signature| {
        verify(&bytes, promised.signature(signature), VersionAt::Job, policy).map(|_| ())
    };
    for seed in 1..=3 {
        assert_eq!(judge(&policy, eddsa(&bytes, seed)), Ok(()));
    }
    assert_eq!(judge(&policy, eddsa(&bytes, 4)), Err(Error::Signature));
    assert_eq!(judge(&policy, ecdsa(&bytes, 2)), Ok(()));
    assert_eq!(judge(&policy, ecdsa(&bytes, 3)), Err(Error::Signature));
    let revoked = [keys[0].hash(), others[1].hash()];
    let policy = policy.revoking(&revoked);
    assert_eq!(judge(&policy, eddsa(&bytes, 1)), Err(Error::Signature));
    assert_eq!(judge(&policy, eddsa(&bytes, 2)), Ok(()));
    assert_eq!(judge(&policy, ecdsa(&bytes, 2)), Err(Error::Signature));
    let revoked = [keys[0].hash(), keys[1].hash(), keys[2].hash()];
    let policy = policy.revoking(&revoked);
    assert_eq!(judge(&policy, eddsa(&bytes, 1)), Err(Error::RevokedKey));
    assert_eq!(judge(&Policy::signed_by(&keys[0]), ecdsa(&bytes, 1)), Err(Error::UnknownKey));
    assert_eq!(verify(&bytes, promised, VersionAt::Job, &policy), Err(Error::Unsigned));
}

#[test]
fn every_claim_is_held_against_the_policy() {
    let bytes = image();
    let key = public(1);
    let policy = Policy::signed_by(&key);
    let promised = Promised::size(bytes.len() as u32).signature(eddsa(&bytes, 1)).version(VERSION);
    let judge = |policy: Policy<'_>| verify(&bytes, promised, VersionAt::Job, &policy).err();
    let trusting = policy.trusting_the_job();
    assert_eq!(judge(trusting.newer_than(VERSION)), Some(Error::SameVersion { version: VERSION }));
    assert_eq!(judge(policy.counter_at_least(1)), Some(Error::NoCounter));
    assert_eq!(judge(policy.for_chip(1)), Some(Error::NoChip));
    assert_eq!(judge(policy.for_class([0; 16])), Some(Error::NoClass));
    assert_eq!(judge(policy.at_address(1)), Some(Error::Address { image: None, expected: 1 }));
    assert_eq!(judge(policy.linked_within(0x0800_0000..0x0800_8000)), None);
    assert_eq!(judge(policy.linked_within(0..1)), Some(Error::Slot { vector: 0x0800_0101 }));
    assert_eq!(judge(policy.reserving(SLOT - 1000)), None);
    assert_eq!(judge(policy.reserving(SLOT - 999)), Some(Error::TooLarge { image: 1000, room: 999 }));
    assert_eq!(judge(policy.for_board("a")), Some(Error::NoBoard));
    let for_a = |board| verify(&bytes, promised.board(board), VersionAt::Job, &trusting.for_board("a")).err();
    assert_eq!((for_a("a"), for_a("b")), (None, Some(Error::Board)));
}

/// No signature covers what the job says: a policy that asks for it does not take its word.
#[test]
fn the_jobs_word_counts_only_where_it_is_trusted() {
    let bytes = image();
    let key = public(1);
    let policy = Policy::signed_by(&key);
    let old = Version::new(1, 0, 0);
    // The job calls an old image a new one, of this board.
    let mut stale = bytes.clone();
    stale[100..108].copy_from_slice(&old.to_bytes());
    let claimed = Version::new(9, 9, 9);
    let promised = Promised::size(1000).signature(eddsa(&stale, 1)).version(claimed).board("a");
    let judge = |at, policy: Policy<'_>| verify(&stale, promised, at, &policy).map(|image| image.version);
    for asking in [policy.newer_than(RUNNING), policy.at_least(RUNNING), policy.at_most(Version::new(10, 0, 0))] {
        assert_eq!(judge(VersionAt::Job, asking), Err(Error::NoVersion));
        assert_eq!(judge(VersionAt::Job, asking.trusting_the_job()), Ok(claimed));
    }
    // What the image says is covered, and counts in either case.
    for policy in [policy, policy.trusting_the_job()] {
        let refused = Err(Error::NotNewer { image: old, running: RUNNING });
        assert_eq!(judge(VersionAt::Offset(100), policy.newer_than(RUNNING)), refused);
    }
    for at in [VersionAt::Job, VersionAt::Offset(100)] {
        assert_eq!(judge(at, policy.for_board("a")), Err(Error::NoBoard));
        judge(at, policy.trusting_the_job().for_board("a")).unwrap();
    }
    assert_eq!(judge(VersionAt::Job, policy), Ok(claimed), "nothing depends on it");
}

/// What is signed inside an image of another format is signed as a file too: header, payload and protected TLVs with their
/// signature from the TLVs, an app with that from the signature sector.
#[test]
fn the_signed_part_of_another_format_is_no_raw_image() {
    let signer = Signer::from(&p256(1));
    let mut program = [7; 600];
    program[100..108].copy_from_slice(&Version::new(9, 9, 9).to_bytes());
    let app = EspIdfImage {
        chip: 5,
        revisions: [0, 199],
        version: "1.0.0",
        secure_version: 0,
        project: "another",
        data: &[1; 64],
        program: &program,
    };
    let mcuboot = common::mcuboot(&program).unsigned();
    let key = public_p256(1);
    let policy = Policy::signed_by(&key).newer_than(RUNNING).for_board("a").trusting_the_job();
    for (name, bytes) in [("MCUboot", mcuboot), ("ESP-IDF", app.build())] {
        let signature = Signature::ecdsa_p256(&signer.sign_digest(&Sha256::digest(&bytes))).unwrap();
        let promised =
            Promised::size(bytes.len() as u32).signature(signature).version(Version::new(9, 9, 9)).board("a");
        for at in [VersionAt::Job, VersionAt::Offset(164)] {
            assert_eq!(verify(&bytes, promised, at, &policy), Err(Error::NotAnImage), "{name}");
        }
        // A byte that such an image begins with is no reason.
        let mut other = bytes.clone();
        other[1..40].fill(0);
        let signature = Signature::ecdsa_p256(&signer.sign_digest(&Sha256::digest(&other))).unwrap();
        verify(&other, promised.signature(signature), VersionAt::Job, &policy).unwrap();
    }
}

#[test]
fn a_version_must_be_said_somewhere() {
    let bytes = image();
    let key = public(1);
    let policy = Policy::signed_by(&key);
    let promised = Promised::size(bytes.len() as u32).signature(eddsa(&bytes, 1));
    assert_eq!(verify(&bytes, promised, VersionAt::Job, &policy), Err(Error::NoVersion));
    verify(&bytes, promised, VersionAt::Offset(992), &policy).unwrap();
    for beyond in [993, 1000, u32::MAX] {
        assert_eq!(verify(&bytes, promised, VersionAt::Offset(beyond), &policy), Err(Error::NoVersion));
    }
    let short = &bytes[..7];
    let promised = Promised::size(7).signature(eddsa(short, 1)).version(VERSION);
    verify(short, promised, VersionAt::Job, &policy).unwrap();
    assert_eq!(verify(short, promised, VersionAt::Job, &policy.linked_within(0..9)), Err(Error::NoVector));
}

/// As AWS writes it: openssl's DER in base64.
#[test]
fn signatures_are_read_from_base64() {
    use base64ct::{Base64, Encoding};
    let bytes = image();
    let der = Signer::from(&p256(1)).sign(&bytes);
    let text = Base64::encode_string(&der);
    assert_eq!(Signature::from_base64(Algorithm::EcdsaP256, &text), Signature::ecdsa_p256(&der));
    let raw = Signer::from(&ed25519(1)).sign(&bytes);
    let text = Base64::encode_string(&raw);
    assert_eq!(Signature::from_base64(Algorithm::Ed25519, &text), Ok(eddsa(&bytes, 1)));
    let broken =
        [&text[1..], &text.replace('=', ""), "N/A", "", &format!("{text}\n"), &Base64::encode_string(&[0; 80])];
    for broken in broken {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            assert_eq!(Signature::from_base64(algorithm, broken), Err(Error::SignatureEncoding), "{broken}");
        }
    }
}

#[test]
fn the_image_is_read_once_or_once_for_each_key() {
    let bytes = image();
    let keys = [public(1), public(2), public(3)];
    let all: [&dyn Key; 3] = [&keys[0], &keys[1], &keys[2]];
    let policy = Policy::signed_by_any(&all);
    for (seed, passes) in [(1, 1), (2, 2), (3, 3)] {
        let promised =
            Promised::size(1000).signature(eddsa(&bytes, seed)).version(VERSION).digest(Sha256::digest(&bytes).into());
        let mut slot = Slow::<8>(slot(&bytes), 0);
        block_on(raw::verify(&mut slot, promised, VersionAt::Job, &policy, &mut [0; 256])).unwrap();
        // And twice its beginning, which must not be another format's.
        assert_eq!(slot.1, passes * 1000 + 16);
    }
}

#[test]
fn dropped_at_every_await_it_can_be_called_again() {
    let bytes = image();
    let policy = public(1);
    let policy = Policy::signed_by(&policy);
    let promised = Promised::size(1000).signature(eddsa(&bytes, 1));
    let (mut slot, mut buf, at) = (Slow::<4>(slot(&bytes), 0), [0; 128], VersionAt::Offset(100));
    let mut awaits = 0;
    while block_on(cancel::after(&mut { awaits }, raw::verify(&mut slot, promised, at, &policy, &mut buf))).is_none() {
        awaits += 1;
        block_on(raw::verify(&mut slot, promised, at, &policy, &mut buf)).unwrap();
    }
    assert!(awaits > 8, "{awaits}");
}
