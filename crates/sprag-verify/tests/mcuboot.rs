//! MCUboot images, and everything that could be wrong with one.

mod common;

use std::collections::BTreeSet;
use std::slice::from_ref;

use common::{RUNNING, Slow, Swapped, ed25519, mcuboot as unsigned, p256, public, public_p256, slot};
use embassy_futures::block_on;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use sprag_testkit::cancel;
use sprag_testkit::image::{Extras, Sha, Signer, Version as ImageVersion, append_tlvs, key_hash};
use sprag_verify::mcuboot::{self, Config};
use sprag_verify::{Error, Image, Key, Policy, Promised, Signature, Version};

fn verify_as(bytes: &[u8], promised: Promised<'_>, policy: &Policy<'_>) -> Result<Image, Error> {
    block_on(mcuboot::verify(&mut slot(bytes), promised, policy, &mut [0; 512]))
}

fn verify_with(bytes: &[u8], policy: &Policy<'_>) -> Result<Image, Error> {
    verify_as(bytes, Promised::size(bytes.len() as u32), policy)
}

fn verify(bytes: &[u8]) -> Result<Image, Error> {
    verify_with(bytes, &Policy::signed_by(&public(1)).newer_than(RUNNING))
}

#[test]
fn a_signed_image_is_what_it_says() {
    let bytes = unsigned(&[7; 3000]).sign(&ed25519(1));
    let image = verify(&bytes).unwrap();
    assert_eq!(image, Image { version: Version::new(1, 5, 0), size: bytes.len() as u32, counter: None });
}

/// Every kind of key with every digest that `imgtool` allows for it, and the whole image as the message.
#[test]
fn every_digest_and_every_key() {
    let (eddsa, ecdsa) = (Signer::from(&ed25519(1)), Signer::from(&p256(1)));
    let (public, public_p256) = (public(1), public_p256(1));
    let keys: [&dyn Key; 2] = [&public, &public_p256];
    let policy = Policy::signed_by_any(&keys).mcuboot_config(Config::any());
    for (signer, sha, pure) in [
        (&eddsa, Sha::Sha256, false),
        (&eddsa, Sha::Sha384, false),
        (&eddsa, Sha::Sha512, false),
        (&eddsa, Sha::Sha512, true),
        (&ecdsa, Sha::Sha256, false),
        (&ecdsa, Sha::Sha384, false),
        (&ecdsa, Sha::Sha512, false),
    ] {
        let bytes = unsigned(&[7; 300]).sign_with(signer, &Extras { sha, pure, ..Extras::default() });
        verify_with(&bytes, &policy).unwrap_or_else(|error| panic!("{signer:?} {sha:?} {pure}: {error}"));
        let unnoticed = (0..bytes.len()).filter(|at| {
            let mut flipped = bytes.clone();
            flipped[*at] ^= 1;
            verify_with(&flipped, &policy).is_ok()
        });
        assert_eq!(unnoticed.collect::<Vec<_>>(), Vec::<usize>::new(), "{sha:?} {pure}");
    }
}

#[test]
fn one_of_several_keys_will_do() {
    let (first, second) = (public(1), public(2));
    let keys: [&dyn Key; 2] = [&first, &second];
    let policy = Policy::signed_by_any(&keys);
    for seed in [1, 2] {
        verify_with(&unsigned(&[7; 300]).sign(&ed25519(seed)), &policy).unwrap();
    }
    let by_another = unsigned(&[7; 300]).sign(&ed25519(3));
    assert_eq!(verify_with(&by_another, &policy), Err(Error::UnknownKey));
    let revoked = [first.hash()];
    let policy = policy.revoking(&revoked);
    assert_eq!(verify_with(&unsigned(&[7; 300]).sign(&ed25519(1)), &policy), Err(Error::RevokedKey));
    verify_with(&unsigned(&[7; 300]).sign(&ed25519(2)), &policy).unwrap();
    assert_eq!(verify_with(&by_another, &policy), Err(Error::UnknownKey));
    assert_eq!(verify_with(&by_another, &Policy::signed_by_any(&[])), Err(Error::UnknownKey));
}

/// A rotation: the old key's signature and the new one's. Each key hash is for the signature behind it, that of a trusted
/// key must fit, and nothing else matters.
#[test]
fn several_signatures() {
    let plain = unsigned(&[7; 100]).unsigned();
    let digest = Sha256::digest(&plain).to_vec();
    let (old, new) = (public(1), public_p256(2));
    let named = |signer: &Signer| (0x01, Sha256::digest(signer.public_der()).to_vec());
    let (by_old, by_new) = (Signer::from(&ed25519(1)), Signer::from(&p256(2)));
    let signed_old = (0x24, by_old.sign_digest(&digest));
    let signed_new = (0x22, by_new.sign_digest(&digest));
    let bad = (0x24, vec![0; 64]);
    let judge = |tlvs: &[&(u16, Vec<u8>)], keys: &[&dyn Key]| {
        let mut bytes = plain.clone();
        let tlvs: Vec<_> = [&(0x10, digest.clone())].into_iter().chain(tlvs.iter().copied()).cloned().collect();
        append_tlvs(&mut bytes, 0x6907, &tlvs);
        let policy = Policy::signed_by_any(keys);
        let listed = verify_with(&bytes, &policy);
        let kinds = tlvs.iter().filter(|tlv| [0x22, 0x24].contains(&tlv.0)).map(|tlv| tlv.0).collect::<BTreeSet<_>>();
        if kinds.len() > 1 {
            // MCUboot knows one kind of signature.
            let kind = tlvs.iter().rev().find(|tlv| [0x22, 0x24].contains(&tlv.0)).map(|tlv| tlv.0).unwrap();
            assert_eq!(listed, Err(Error::TlvNotAllowed { kind }));
        }
        verify_with(&bytes, &policy.mcuboot_config(Config::new().without_allow_list())).map(|_| ())
    };
    let both = [&named(&by_old), &signed_old, &named(&by_new), &signed_new];
    assert_eq!(judge(&both, &[&old]), Ok(()));
    assert_eq!(judge(&both, &[&new]), Ok(()));
    assert_eq!(judge(&both, &[&old, &new]), Ok(()));
    assert_eq!(judge(&both, &[&public(3)]), Err(Error::UnknownKey));
    for one_bad in
        [[&named(&by_old), &bad, &named(&by_new), &signed_new], [&named(&by_new), &signed_new, &named(&by_old), &bad]]
    {
        assert_eq!(judge(&one_bad, &[&new]), Ok(()), "who the other is by is nobody's business here");
        assert_eq!(judge(&one_bad, &[&old, &new]), Err(Error::Signature));
    }
    assert_eq!(judge(&[&named(&by_old), &named(&by_new), &signed_old], &[&old]), Err(Error::UnknownKey));
    assert_eq!(judge(&[&named(&by_new), &signed_old], &[&old, &new]), Err(Error::UnknownKey), "another kind of key");
    assert_eq!(judge(&[&signed_old, &named(&by_old)], &[&old]), Err(Error::UnknownKey), "the name comes first");
    // As older imgtools fill ECDSA signatures up.
    let filled = (0x22, [&signed_new.1[..], &[0, 0][..72 - signed_new.1.len()]].concat());
    assert_eq!(judge(&[&named(&by_new), &filled], &[&new]), Ok(()));
    for cut in 0..signed_new.1.len() {
        let cut = (0x22, signed_new.1[..cut].to_vec());
        let refused = if cut.1.is_empty() { Error::Malformed { at: 240 } } else { Error::SignatureEncoding };
        assert_eq!(judge(&[&named(&by_new), &cut], &[&new]), Err(refused));
    }
    let long = (0x22, vec![0; 73]);
    assert_eq!(judge(&[&named(&by_new), &long], &[&new]), Err(Error::SignatureEncoding));
}

#[test]
fn a_signature_over_the_whole_image_is_the_only_one() {
    let pure = Extras { pure: true, ..Extras::default() };
    let signer = Signer::from(&ed25519(1));
    let bytes = unsigned(&[7; 100]).sign_with(&signer, &pure);
    let covered = 64 + 100;
    let key = public(1);
    let rebuild = |tlvs: &[(u16, Vec<u8>)]| {
        let mut bytes = bytes[..covered].to_vec();
        append_tlvs(&mut bytes, 0x6907, tlvs);
        let policy = Policy::signed_by(&key);
        let config = Config::new().sha512().pure();
        let verdict = verify_with(&bytes, &policy.mcuboot_config(config)).map(|_| ());
        if verdict.is_ok() {
            assert_eq!(verify_with(&bytes, &policy), Err(Error::TlvNotAllowed { kind: 0x25 }), "by a build without");
            let image = verify_with(&bytes, &policy.mcuboot_config(Config::any()));
            assert!(image.is_ok(), "{image:?}");
        }
        verdict
    };
    let name = (0x01, sha2::Sha512::digest(signer.public_der()).to_vec());
    let signature = (0x24, signer.sign(&bytes[..covered]));
    let mark = (0x25, vec![1]);
    assert_eq!(rebuild(&[mark.clone(), name.clone(), signature.clone()]), Ok(()), "it takes no digest");
    assert_eq!(rebuild(&[name.clone(), signature.clone(), mark.clone()]), Ok(()), "in any order");
    let twice = [mark.clone(), name.clone(), signature.clone(), name.clone(), signature.clone()];
    assert_eq!(rebuild(&twice), Err(Error::Signature));
    assert_eq!(rebuild(&[name.clone(), signature.clone()]), Err(Error::Unsigned), "not marked as one");
    assert_eq!(rebuild(&[(0x25, vec![0]), name.clone(), signature.clone()]), Err(Error::Malformed { at: 168 }));
    assert_eq!(rebuild(&[(0x25, vec![]), name.clone(), signature]), Err(Error::Malformed { at: 168 }));
    let ecdsa = (0x22, Signer::from(&p256(1)).sign(&bytes[..covered]));
    assert_eq!(rebuild(&[mark, name, ecdsa]), Err(Error::Unsigned));
}

#[test]
fn only_later_versions_run() {
    let bytes = unsigned(&[7; 300]).sign(&ed25519(1));
    let judge =
        |running| verify_with(&bytes, &Policy::signed_by(&public(1)).newer_than(running)).map(|image| image.version);
    let image = Version::new(1, 5, 0);
    for running in [Version::new(0, 255, 65535), Version::new(1, 4, 65535), Version { build: u32::MAX, ..RUNNING }] {
        assert_eq!(judge(running), Ok(image));
    }
    for running in [Version { build: 1, ..image }, Version::new(1, 5, 1), Version::new(2, 0, 0)] {
        assert_eq!(judge(running), Err(Error::NotNewer { image, running }));
    }
    assert_eq!(judge(image), Err(Error::SameVersion { version: image }));
}

/// Every bit of the image counts: each flipped one is refused.
#[test]
fn every_flipped_bit_is_refused() {
    let bytes = unsigned(&[7; 100]).sign(&ed25519(1));
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
    let bytes = unsigned(&[7; 100]).sign(&ed25519(1));
    let key = public(1);
    let policy = Policy::signed_by(&key);
    for promised in (0..bytes.len() as u32 + 100).filter(|n| *n != bytes.len() as u32) {
        let error = verify_as(&bytes, promised.into(), &policy).unwrap_err();
        assert_eq!(error, Error::Length { image: bytes.len() as u32, promised });
    }
    for cut in 0..bytes.len() {
        verify_as(&bytes[..cut], (bytes.len() as u32).into(), &policy).unwrap_err();
    }
}

#[test]
fn each_refusal_has_its_own_reason() {
    let plain = unsigned(&[7; 100]).unsigned();
    let digest = Sha256::digest(&plain).to_vec();
    let hash = key_hash(&ed25519(1).verifying_key().to_bytes()).to_vec();
    let with = |tlvs: &[(u16, Vec<u8>)]| {
        let mut bytes = plain.clone();
        append_tlvs(&mut bytes, 0x6907, tlvs);
        verify(&bytes).unwrap_err().reason()
    };
    let (sha, name) = ((0x10, digest), (0x01, hash));
    let signature = |byte| (0x24, vec![byte; 64]);
    assert_eq!(with(&[]), "digest-missing");
    assert_eq!(with(&[name.clone(), signature(0)]), "digest-missing");
    assert_eq!(with(&[(0x10, vec![0; 32]), name.clone(), signature(0)]), "digest-mismatch");
    assert_eq!(with(&[sha.clone(), sha.clone()]), "image-malformed");
    assert_eq!(with(&[sha.clone(), (0x12, vec![0; 64])]), "image-malformed");
    assert_eq!(with(from_ref(&sha)), "unsigned");
    assert_eq!(with(&[sha.clone(), name.clone()]), "tlv-not-allowed", "a key without a signature");
    assert_eq!(with(&[sha.clone(), signature(0)]), "unknown-key");
    assert_eq!(with(&[sha.clone(), (0x01, vec![9; 32]), signature(0)]), "unknown-key");
    for length in [0, 31, 33, 48, 64, 65] {
        let hash = (0x01, name.1.iter().copied().cycle().take(length).collect());
        assert_eq!(with(&[sha.clone(), hash, signature(0)]), "image-malformed", "a key hash of {length} bytes");
    }
    assert_eq!(with(&[sha.clone(), name.clone(), signature(0)]), "bad-signature");
    assert_eq!(with(&[sha.clone(), name.clone(), (0x24, vec![0; 63])]), "image-malformed");
    assert_eq!(with(&[sha.clone(), name, (0x24, vec![])]), "image-malformed");
    assert_eq!(with(&[(0x10, vec![0; 31])]), "image-malformed");
    assert_eq!(verify(&[0xFF; 100]).unwrap_err().reason(), "not-an-image");
    assert_eq!(verify(&plain).unwrap_err().reason(), "image-malformed");

    let patched = |at: usize, value: u32| {
        let mut bytes = plain.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        append_tlvs(&mut bytes, 0x6907, &[]);
        verify(&bytes).unwrap_err()
    };
    for flags in [0x4, 0x8, 0x10, 0x200, 0x400, 0x800] {
        assert_eq!(patched(16, flags), Error::Flags { flags });
    }
    assert_eq!(patched(12, u32::MAX), Error::Malformed { at: 8 });
    assert_eq!(patched(12, 16384), Error::Malformed { at: 12 });
    assert_eq!(patched(8, 31), Error::Malformed { at: 8 });
    assert_eq!(patched(8, 64 | 0x20_0000), Error::Malformed { at: 164 }, "a protected area is said to be there");
}

/// An image by a bootloader without keys, as the cloud signs it.
#[test]
fn a_signature_in_the_job_vouches_for_an_unsigned_image() {
    let mut bytes = unsigned(&[7; 100]).unsigned();
    let digest = Sha256::digest(&bytes).to_vec();
    append_tlvs(&mut bytes, 0x6907, &[(0x10, digest)]);
    let key = public_p256(1);
    let policy = Policy::signed_by(&key);
    let promised = Promised::size(bytes.len() as u32);
    let signature = |seed| Signature::ecdsa_p256(&Signer::from(&p256(seed)).sign(&bytes)).unwrap();
    assert_eq!(verify_as(&bytes, promised, &policy), Err(Error::Unsigned));
    assert_eq!(verify_as(&bytes, promised.signature(signature(2)), &policy), Err(Error::Signature));
    verify_as(&bytes, promised.signature(signature(1)), &policy).unwrap();
    let no_help = unsigned(&[7; 100]).sign(&ed25519(2));
    let promised = Promised::size(no_help.len() as u32).signature(signature(1));
    assert_eq!(verify_as(&no_help, promised, &policy), Err(Error::UnknownKey), "the image's own counts");
}

#[test]
fn the_promised_digest_is_of_the_whole_file() {
    let bytes = unsigned(&[7; 100]).sign(&ed25519(1));
    let policy = public(1);
    let policy = Policy::signed_by(&policy);
    let promised = Promised::size(bytes.len() as u32);
    verify_as(&bytes, promised.digest(Sha256::digest(&bytes).into()), &policy).unwrap();
    assert_eq!(verify_as(&bytes, promised.digest([0; 32]), &policy), Err(Error::FileDigest));
}

/// An area of TLVs that lie about themselves: whatever they say, each begins behind the one before, and ends within it.
#[test]
fn protected_tlvs_are_covered_and_must_fit() {
    let build = |tot: u16, lengths: [u16; 2], kind: u8| {
        let mut bytes = unsigned(&[7; 100]).unsigned();
        bytes[10..12].copy_from_slice(&20u16.to_le_bytes());
        bytes.extend([0x08, 0x69]);
        bytes.extend(tot.to_le_bytes());
        for length in lengths {
            bytes.extend([kind, 0x00]);
            bytes.extend(length.to_le_bytes());
            bytes.extend([1, 2, 3, 4]);
        }
        let digest = Sha256::digest(&bytes).to_vec();
        let signature = Signer::from(&ed25519(1)).sign_digest(&digest);
        let hash = key_hash(&ed25519(1).verifying_key().to_bytes()).to_vec();
        append_tlvs(&mut bytes, 0x6907, &[(0x10, digest), (0x01, hash), (0x24, signature)]);
        verify(&bytes).map(|_| ())
    };
    assert_eq!(build(20, [4, 4], 0x60), Ok(()));
    assert_eq!(build(19, [4, 4], 0x60), Err(Error::Malformed { at: 164 }));
    assert_eq!(build(20, [4, 5], 0x60), Err(Error::Malformed { at: 176 }));
    assert_eq!(build(20, [4, u16::MAX], 0x60), Err(Error::Malformed { at: 176 }));
    assert_eq!(build(20, [12, 4], 0x60), Ok(()), "a value may hold anything");
    assert_eq!(build(20, [9, 4], 0x60), Err(Error::Malformed { at: 181 }), "three bytes are left: too few for a TLV");
    assert_eq!(build(20, [0, 4], 0x60), Err(Error::Malformed { at: 172 }), "a TLV of nothing, and nonsense behind it");
    for known in [0x50, 0x40, 0x75] {
        assert_eq!(build(20, [0, 4], known), Err(Error::Malformed { at: 168 }), "nothing is no {known:#x}");
    }
}

/// The sizes of both areas, every value around the right one and the extremes.
#[test]
fn areas_of_any_size_but_their_own_are_refused() {
    let extras = Extras { security_counter: Some(1), ..Extras::default() };
    let bytes = unsigned(&[7; 100]).sign_with(&Signer::from(&ed25519(1)), &extras);
    verify(&bytes).unwrap();
    let (protected, unprotected) = (64 + 100 + 2, 64 + 100 + 12 + 2);
    for at in [10, protected, unprotected] {
        let right = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        for wrong in (0..right + 50).chain(u16::MAX - 50..=u16::MAX).filter(|size| *size != right) {
            let mut bytes = bytes.clone();
            bytes[at..at + 2].copy_from_slice(&wrong.to_le_bytes());
            verify(&bytes).expect_err(&format!("{wrong} at {at}"));
        }
    }
}

#[test]
fn every_claim_is_held_against_the_policy() {
    let class = [0xC1; 16];
    let version = |major| ImageVersion { major, ..ImageVersion::default() };
    let extras = Extras {
        rom_fixed: 0x1002_8000,
        security_counter: Some(7),
        dependencies: &[(1, version(3)), (2, version(1))],
        class: Some(class),
        custom: &[(0x00A7, b"x"), (mcuboot::TLV_BOARD, b"board-a")],
        ..Extras::default()
    };
    let mut payload = [7; 100];
    payload[4..8].copy_from_slice(&0x1002_8101_u32.to_le_bytes());
    let bytes = unsigned(&payload).sign_with(&Signer::from(&ed25519(1)), &extras);
    let silent = unsigned(&payload).sign(&ed25519(1));
    let key = public(1);
    let policy = Policy::signed_by(&key);
    assert_eq!(verify_with(&bytes, &policy).unwrap().counter, Some(7));

    let judge = |policy: Policy<'_>| verify_with(&bytes, &policy).err();
    let judge_silent = |policy: Policy<'_>| verify_with(&silent, &policy).err();
    let (image, v) = (Version::new(1, 5, 0), Version::new);
    assert_eq!(judge(policy.at_least(image).at_most(image)), None);
    assert_eq!(judge(policy.at_least(v(1, 5, 1))), Some(Error::TooOld { image, minimum: v(1, 5, 1) }));
    assert_eq!(judge(policy.at_most(v(1, 4, 9))), Some(Error::TooNew { image, limit: v(1, 4, 9) }));
    let build = |build| Version { build, ..image };
    assert_eq!(
        judge(policy.newer_than(v(1, 4, 9)).at_least(build(1))),
        Some(Error::TooOld { image, minimum: build(1) })
    );
    assert_eq!(judge(policy.newer_than(build(3)).without_build_numbers()), Some(Error::SameVersion { version: image }));
    assert_eq!(judge(policy.at_least(build(3)).without_build_numbers()), None);

    assert_eq!(judge(policy.counter_at_least(7).counter_at_most(7)), None);
    assert_eq!(judge(policy.counter_at_least(8)), Some(Error::CounterTooLow { image: 7, least: 8 }));
    assert_eq!(judge(policy.counter_at_most(6)), Some(Error::CounterTooHigh { image: 7, most: 6 }));
    assert_eq!(judge_silent(policy.counter_at_least(0)), Some(Error::NoCounter));
    assert_eq!(judge_silent(policy.counter_at_most(9)), Some(Error::NoCounter));

    assert_eq!(judge(policy.for_board("board-a")), None);
    for other in ["board-b", "board", "board-ab", ""] {
        assert_eq!(judge(policy.for_board(other)), Some(Error::Board), "{other}");
    }
    assert_eq!(judge_silent(policy.for_board("board-a")), Some(Error::NoBoard));
    assert_eq!(judge(policy.for_class(class)), None);
    assert_eq!(judge(policy.for_class([0; 16])), Some(Error::Class));
    assert_eq!(judge_silent(policy.for_class(class)), Some(Error::NoClass));
    assert_eq!(judge(policy.for_chip(5)), Some(Error::NoChip));
    assert_eq!(judge(policy.chip_revision(5)), Some(Error::NoChip));

    assert_eq!(judge(policy.at_address(0x1002_8000)), None);
    let expected = 0x1002_8200;
    assert_eq!(judge(policy.at_address(expected)), Some(Error::Address { image: Some(0x1002_8000), expected }));
    assert_eq!(judge_silent(policy.at_address(expected)), Some(Error::Address { image: None, expected }));
    assert_eq!(judge(policy.linked_within(0x1002_8000..0x1002_8102)), None);
    for slot in [0x1002_8102..0x1003_0000, 0..0x1002_8101, 0..0] {
        assert_eq!(judge(policy.linked_within(slot)), Some(Error::Slot { vector: 0x1002_8101 }));
    }

    assert_eq!(judge(policy.beside(&[v(0, 0, 0), v(3, 0, 0), v(9, 0, 0)])), None);
    assert_eq!(judge_silent(policy.beside(&[])), None);
    let needs = v(3, 0, 0);
    assert_eq!(judge(policy.beside(&[v(9, 9, 9)])), Some(Error::Dependency { image: 1, needs }));
    assert_eq!(
        judge(policy.beside(&[v(0, 0, 0), v(2, 9, 9), v(9, 0, 0)])),
        Some(Error::Dependency { image: 1, needs })
    );
    let needs = v(1, 0, 0);
    assert_eq!(judge(policy.beside(&[v(0, 0, 0), v(4, 0, 0)])), Some(Error::Dependency { image: 2, needs }));

    let (size, room) = (bytes.len() as u32, common::SLOT - bytes.len() as u32);
    assert_eq!(judge(policy.reserving(room)), None);
    assert_eq!(judge(policy.reserving(room + 1)), Some(Error::TooLarge { image: size, room: size - 1 }));
    assert_eq!(judge(policy.reserving(u32::MAX)), Some(Error::TooLarge { image: size, room: 0 }));

    let copied = Extras { load_addr: 0x2000_0000, ..Extras::default() };
    let copied = unsigned(&payload).sign_with(&Signer::from(&ed25519(1)), &copied);
    verify_with(&copied, &policy.at_address(0x2000_0000)).unwrap();
}

#[test]
fn a_buffer_that_is_too_small_is_named() {
    let key = public(1);
    let judge = |bytes: &[u8], buf: &mut [u8]| {
        let size = bytes.len() as u32;
        block_on(mcuboot::verify(&mut slot(bytes), size, &Policy::signed_by(&key), buf)).map(|_| ())
    };
    let bytes = unsigned(&[7; 100]).sign(&ed25519(1));
    assert_eq!(judge(&bytes, &mut [0; 127]), Err(Error::Buffer { needed: 128 }));
    assert_eq!(judge(&bytes, &mut [0; 143]), Err(Error::Buffer { needed: 144 }));
    assert_eq!(judge(&bytes, &mut [0; 144]), Ok(()));
    let extras = Extras { custom: &[(0x00A0, &[1; 300])], ..Extras::default() };
    let bytes = unsigned(&[7; 100]).sign_with(&Signer::from(&ed25519(1)), &extras);
    assert_eq!(judge(&bytes, &mut [0; 256]), Err(Error::Buffer { needed: 308 }));
    assert_eq!(judge(&bytes, &mut [0; 308]), Ok(()));
    // Parts that read whole units need room for what lies around.
    let mut part = Slow::<16>(slot(&bytes), 0);
    let size = bytes.len() as u32;
    let error = block_on(mcuboot::verify(&mut part, size, &Policy::signed_by(&key), &mut [0; 308]));
    assert_eq!(error, Err(Error::Buffer { needed: 320 }));
}

/// One pass, whatever the part reads at once: each byte of the image comes once, and the few of the TLVs three times.
#[test]
fn the_image_is_read_once() {
    fn read<const UNIT: usize>(bytes: &[u8], promised: Promised<'_>) -> usize {
        let mut slot = Slow::<UNIT>(slot(bytes), 0);
        let policy = public(1);
        let policy = Policy::signed_by(&policy).mcuboot_config(Config::any());
        block_on(mcuboot::verify(&mut slot, promised, &policy, &mut [0; 512])).unwrap();
        slot.1
    }
    for pure in [false, true] {
        let extras = Extras { pure, security_counter: Some(1), ..Extras::default() };
        let bytes = unsigned(&[7; 10_000]).sign_with(&Signer::from(&ed25519(1)), &extras);
        let promised = Promised::size(bytes.len() as u32).digest(Sha256::digest(&bytes).into());
        for read in [read::<1>(&bytes, promised), read::<4>(&bytes, promised), read::<16>(&bytes, promised)] {
            assert!(read < bytes.len() + 1500, "{read} bytes read of {}", bytes.len());
        }
    }
}

/// TLVs that MCUboot refuses where they lie, each by itself: `protected` in the protected area, `beside` behind the
/// digest, and what would be a good signature.
#[test]
fn tlvs_that_mcuboot_refuses_where_they_are() {
    let (eddsa, ecdsa) = (Signer::from(&ed25519(1)), Signer::from(&p256(1)));
    let judge = |signer: &Signer, protected: &[(u16, Vec<u8>)], beside: &[(u16, Vec<u8>)], config: Config| {
        let mut bytes = unsigned(&[7; 100]).unsigned();
        let mut area = Vec::new();
        append_tlvs(&mut area, 0x6908, protected);
        if !protected.is_empty() {
            bytes[10..12].copy_from_slice(&(area.len() as u16).to_le_bytes());
            bytes.extend(&area);
        }
        let digest = Sha256::digest(&bytes).to_vec();
        let signature = signer.sign_digest(&digest);
        let kind = if matches!(signer, Signer::Ed25519(_)) { 0x24 } else { 0x22 };
        let name = (0x01, Sha256::digest(signer.public_der()).to_vec());
        let tlvs = [&[(0x10, digest)], beside, &[name, (kind, signature)]].concat();
        append_tlvs(&mut bytes, 0x6907, &tlvs);
        let (first, second) = (public(1), public_p256(1));
        let key: &dyn Key = if kind == 0x24 { &first } else { &second };
        verify_with(&bytes, &Policy::signed_by(key).mcuboot_config(config)).map(|_| ())
    };
    let (strict, loose) = (Config::new(), Config::new().without_allow_list());
    let malformed = |at| Err(Error::Malformed { at });
    let name = (0x01, Sha256::digest(eddsa.public_der()).to_vec());
    for signer in [&eddsa, &ecdsa] {
        for config in [strict, loose] {
            assert_eq!(judge(signer, &[], &[], config), Ok(()));
            assert_eq!(judge(signer, &[(0x00A0, vec![1])], &[], config), Ok(()));
            // A digest, whatever its length; a key hash of any length; a signature behind it or in the other area.
            for tlv in [(0x10, vec![0; 32]), (0x10, vec![0]), (0x12, vec![0; 64]), (0x25, vec![0])] {
                assert_eq!(judge(signer, &[tlv], &[], config), malformed(168));
            }
            for length in [0, 31, 32, 33, 64, 200] {
                let hash = (0x01, vec![9; length]);
                judge(signer, from_ref(&hash), &[], config).expect_err(&format!("{length}"));
                let beside = judge(signer, &[], &[hash], config);
                assert_eq!(beside, if length == 32 { Ok(()) } else { malformed(204) }, "{length}");
            }
            assert_eq!(judge(signer, &[name.clone(), (0x24, vec![0; 63])], &[], config), malformed(168));
            assert_eq!(judge(signer, from_ref(&name), &[(0x24, vec![0; 65])], config), malformed(168));
            // Counters: not twice, and not where no signature covers them.
            let counter = |n: u32| (0x50, n.to_le_bytes().to_vec());
            assert_eq!(judge(signer, &[counter(3), counter(8)], &[], config), malformed(176));
            let kind = 0x50;
            assert_eq!(judge(signer, &[counter(3)], &[counter(8)], config), Err(Error::TlvNotAllowed { kind }));
            assert_eq!(judge(signer, &[], &[(0x75, vec![0; 16])], config), Err(Error::TlvNotAllowed { kind: 0x75 }));
        }
        // The list.
        let other = if matches!(signer, Signer::Ed25519(_)) { (0x22, vec![0; 70]) } else { (0x24, vec![0; 64]) };
        let by_list = [0x20, 0x21, 0x23, 0x34, 0x40, 0x60, 0x70, 0x74, 0x00A0, 0x53A0, 0x7FFF, 0xFFFE];
        for tlv in by_list.map(|kind| (kind, vec![0; 12])).into_iter().chain([(0x02, vec![0; 44])]) {
            let kind = tlv.0;
            assert_eq!(judge(signer, &[], from_ref(&tlv), strict), Err(Error::TlvNotAllowed { kind }), "{kind:#x}");
            assert_eq!(judge(signer, &[], &[tlv], loose), Ok(()), "{kind:#x}");
        }
        // What is refused is the second kind of signature that is found.
        let refused = judge(signer, &[], from_ref(&other), strict);
        assert!(matches!(refused, Err(Error::TlvNotAllowed { kind: 0x22 | 0x24 })), "{refused:?}");
        assert_eq!(judge(signer, &[], &[other], loose), Ok(()));
        for kind in 0x30..=0x33 {
            assert_eq!(judge(signer, &[], &[(kind, vec![0; 12])], strict), Ok(()), "{kind:#x}");
        }
        // MCUboot counts an empty TLV at the end of the protected area to the other one.
        let empty = (0x53A0, vec![]);
        assert_eq!(judge(signer, from_ref(&empty), &[], strict), Err(Error::TlvNotAllowed { kind: 0x53A0 }));
        assert_eq!(judge(signer, from_ref(&empty), &[], loose), Ok(()));
        assert_eq!(judge(signer, &[empty, (0x00A0, vec![1])], &[], strict), Ok(()));
    }
}

/// MCUboot reads signatures into 128 bytes.
#[test]
fn an_ecdsa_signature_may_be_filled_up_to_128_bytes() {
    let signer = Signer::from(&p256(1));
    let plain = unsigned(&[7; 100]).unsigned();
    let digest = Sha256::digest(&plain).to_vec();
    let signature = signer.sign_digest(&digest);
    for length in [signature.len(), 72, 73, 127, 128, 129, 200] {
        let mut filled = signature.clone();
        filled.resize(length, 0);
        let name = (0x01, Sha256::digest(signer.public_der()).to_vec());
        let mut bytes = plain.clone();
        append_tlvs(&mut bytes, 0x6907, &[(0x10, digest.clone()), name, (0x22, filled)]);
        let verdict = verify_with(&bytes, &Policy::signed_by(&public_p256(1))).map(|_| ());
        let expected = if length <= 128 { Ok(()) } else { Err(Error::Malformed { at: 240 }) };
        assert_eq!(verdict, expected, "{length}");
    }
}

/// An image is for a bootloader that was built for its kind of digest and of key.
#[test]
fn an_image_for_another_build_of_the_bootloader_is_refused() {
    let signer = Signer::from(&ed25519(1));
    let key = public(1);
    let configs = [Config::new(), Config::new().sha384(), Config::new().sha512()];
    for (index, sha) in [Sha::Sha256, Sha::Sha384, Sha::Sha512].into_iter().enumerate() {
        let bytes = unsigned(&[7; 100]).sign_with(&signer, &Extras { sha, ..Extras::default() });
        for (other, config) in configs.into_iter().enumerate() {
            let verdict = verify_with(&bytes, &Policy::signed_by(&key).mcuboot_config(config)).map(|_| ());
            assert_eq!(verdict, if index == other { Ok(()) } else { Err(Error::NoDigest) }, "{sha:?} {config:?}");
        }
    }
    // `imgtool sign --public-key-format full`.
    let mut bytes = unsigned(&[7; 100]).unsigned();
    let digest = Sha256::digest(&bytes).to_vec();
    let signature = signer.sign_digest(&digest);
    append_tlvs(&mut bytes, 0x6907, &[(0x10, digest), (0x02, signer.public_der()), (0x24, signature)]);
    let judge = |config| verify_with(&bytes, &Policy::signed_by(&key).mcuboot_config(config)).map(|_| ());
    assert_eq!(judge(Config::new()), Err(Error::TlvNotAllowed { kind: 0x02 }));
    assert_eq!(judge(Config::new().without_allow_list()), Err(Error::UnknownKey));
    assert_eq!(judge(Config::new().whole_key()), Ok(()));
    assert_eq!(judge(Config::any()), Ok(()));
    let hashed = unsigned(&[7; 100]).sign(&ed25519(1));
    let judge = |config| verify_with(&hashed, &Policy::signed_by(&key).mcuboot_config(config)).map(|_| ());
    assert_eq!(judge(Config::new().whole_key()), Err(Error::TlvNotAllowed { kind: 0x01 }));
    assert_eq!(judge(Config::new().whole_key().without_allow_list()), Err(Error::UnknownKey));
    assert_eq!(judge(Config::new().pure()), Err(Error::Unsigned));
}

/// Flash that changes under the reader, at every read: the program of another image never gets the first one's signature.
#[test]
fn flash_that_changes_meanwhile_vouches_for_nothing() {
    let good = unsigned(&[7; 1000]).sign(&ed25519(1));
    let policy = public(1);
    let policy = Policy::signed_by(&policy);
    let size = good.len() as u32;
    // As long, with a digest of its own: by another key, and by none that anybody knows.
    let by_another = unsigned(&[8; 1000]).sign(&ed25519(2));
    let mut unsigned = by_another.clone();
    let name = unsigned.len() - 68 - 36;
    unsigned[name] = 0xA0;
    for bad in [by_another, unsigned] {
        let verify = |reads| {
            let mut flash = Swapped(slot(&good), slot(&bad), reads);
            block_on(mcuboot::verify(&mut flash, size, &policy, &mut [0; 256])).map(|_| flash.2)
        };
        let mut reads = 0;
        while verify(reads).is_err() {
            reads += 1;
        }
        assert_eq!(verify(reads), Ok(0), "only when every read was of the good one");
        assert!(reads > 8, "{reads}");
    }
}

#[test]
fn dropped_at_every_await_it_can_be_called_again() {
    let bytes = unsigned(&[7; 1000]).sign(&ed25519(1));
    let policy = public(1);
    let policy = Policy::signed_by(&policy);
    let mut slot = Slow::<4>(slot(&bytes), 0);
    let mut buf = [0; 144];
    let size = bytes.len() as u32;
    let mut awaits = 0;
    while block_on(cancel::after(&mut { awaits }, mcuboot::verify(&mut slot, size, &policy, &mut buf))).is_none() {
        awaits += 1;
        let image = block_on(mcuboot::verify(&mut slot, size, &policy, &mut buf)).unwrap();
        assert_eq!(image.size, size);
    }
    assert!(awaits > 10, "{awaits}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever lies in the slot, behind a good magic and header too: refused, without a panic and without an end.
    #[test]
    fn anything_else_is_refused(
        garbage in proptest::collection::vec(any::<u8>(), 512),
        keep in 0usize..300,
    ) {
        let mut bytes = unsigned(&[7; 100]).sign(&ed25519(1));
        bytes.truncate(keep);
        bytes.extend(&garbage[..512 - keep]);
        prop_assert!(verify(&bytes).is_err());
    }
}
