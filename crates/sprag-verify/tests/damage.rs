//! Every bit of an image in a slot that may go bad between two runs: the download starts over, or the bit means nothing.

mod common;

use common::{ed25519, mcuboot as unsigned, p256, public, public_p256, slot};
use embassy_futures::block_on;
use sprag_testkit::image::{EspIdfImage, Extras, Signer, Version as ImageVersion, sign_secure_boot};
use sprag_verify::{Error, EspIdf, Format, Key, McuBoot, Policy, Promised, Version, mcuboot};

/// Flips each bit of these bytes in turn, and returns the reasons of the refusals.
fn flip(
    format: &impl Format,
    image: &[u8],
    at: impl Iterator<Item = usize>,
    policy: &Policy<'_>,
    buf: &mut [u8],
) -> Vec<&'static str> {
    let promised = Promised::size(image.len() as u32);
    block_on(format.verify(&mut slot(image), promised, policy, buf)).unwrap();
    let mut reasons = Vec::new();
    for at in at {
        for bit in 0..8 {
            let mut flipped = image.to_vec();
            flipped[at] ^= 1 << bit;
            if let Err(error) = block_on(format.verify(&mut slot(&flipped), promised, policy, buf)) {
                assert!(error.is_damage(), "bit {bit} of byte {at}: {error}");
                reasons.push(error.reason());
            }
        }
    }
    reasons.sort_unstable();
    reasons.dedup();
    reasons
}

/// The page of a device's journal is the buffer: lengths that went bad do not fit into it.
#[test]
fn every_bit_of_header_and_tlvs_of_an_mcuboot_image() {
    let needs = [(1, ImageVersion::default())];
    let full = Extras {
        rom_fixed: 0x1002_8000,
        security_counter: Some(7),
        dependencies: &needs,
        class: Some([0xC1; 16]),
        custom: &[(mcuboot::TLV_BOARD, b"board-a")],
        ..Extras::default()
    };
    let mut payload = [7; 100];
    payload[4..8].copy_from_slice(&0x1002_8101_u32.to_le_bytes());
    let (eddsa, ecdsa) = (public(1), public_p256(1));
    for (signer, key) in [(Signer::from(&ed25519(1)), &eddsa as &dyn Key), (Signer::from(&p256(1)), &ecdsa)] {
        for extras in [Extras::default(), full] {
            let image = unsigned(&payload).sign_with(&signer, &extras);
            let mut policy = Policy::signed_by(key).newer_than(Version::new(1, 4, 2));
            if extras.class.is_some() {
                let asks = policy.for_board("board-a").for_class([0xC1; 16]).counter_at_least(7).counter_at_most(7);
                policy = asks.at_address(0x1002_8000).linked_within(0x1002_8000..0x1003_0000);
            }
            let reasons = flip(&McuBoot, &image, (0..64).chain(164..image.len()), &policy, &mut [0; 256]);
            for reason in ["buffer-too-small", "image-malformed", "image-flags", "not-an-image", "digest-mismatch"] {
                assert!(reasons.contains(&reason), "{reason} is none of {reasons:?}");
            }
        }
    }
}

#[test]
fn every_bit_of_headers_and_signature_of_an_esp_idf_image() {
    let image = EspIdfImage {
        chip: 5,
        revisions: [3, 199],
        version: "v1.5.0",
        secure_version: 3,
        project: "board-a",
        data: &[1; 64],
        program: &[2; 200],
    };
    let image = sign_secure_boot(image.build(), &[&p256(1)]);
    let sector = image.len() - 4096;
    let key = public_p256(1);
    let policy = Policy::signed_by(&key).newer_than(Version::new(1, 4, 2)).for_board("board-a");
    let policy = policy.for_chip(5).chip_revision(3).counter_at_least(3).counter_at_most(3);
    // The header, the description and the first segment; what follows the last one; the block with its checksum.
    let bytes = (0..120).chain(600..sector.min(700)).chain(sector..sector + 165).chain(sector + 1196..sector + 1200);
    let reasons = flip(&EspIdf, &image, bytes, &policy, &mut [0; 165]);
    for reason in ["image-malformed", "not-an-image", "checksum-mismatch", "digest-mismatch", "unsigned"] {
        assert!(reasons.contains(&reason), "{reason} is none of {reasons:?}");
    }
}

/// What a trusted key has signed is no damage: the same again would be refused again.
#[test]
fn what_the_policy_refuses_is_no_damage() {
    let image = unsigned(&[7; 100]).sign(&ed25519(1));
    let key = public(1);
    let policy = Policy::signed_by(&key);
    let judge = |policy: Policy<'_>| {
        block_on(mcuboot::verify(&mut slot(&image), image.len() as u32, &policy, &mut [0; 256])).unwrap_err()
    };
    let version = Version::new(9, 0, 0);
    for policy in [policy.newer_than(version), policy.for_board("b"), policy.counter_at_least(1), policy.for_chip(1)] {
        assert!(!judge(policy).is_damage());
    }
    assert!(!judge(policy.reserving(u32::MAX)).is_damage());
    assert!(Error::Buffer { needed: 512 }.is_damage());
}
