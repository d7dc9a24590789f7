//! The keys, judged by the crates they are built on and by known bad signatures.

mod common;

use common::{ed25519, p256, public, public_p256};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use proptest::prelude::*;
use sha2::{Digest, Sha256, Sha512};
use sprag_testkit::image;
use sprag_verify::{Algorithm, Ed25519Key, Key, SaltyKey};

/// What RFC 8032 has to be hashed for a signature.
fn hash(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    Sha512::new().chain_update(&signature[..32]).chain_update(key).chain_update(message).finalize().to_vec()
}

fn judge(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> [bool; 2] {
    let hash = hash(key, message, signature);
    [Ed25519Key::new(*key).has_signed(&hash, signature), SaltyKey::new(*key).has_signed(&hash, signature)]
}

fn hex<const N: usize>(digits: &str) -> [u8; N] {
    core::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
}

/// RFC 8032, section 7.1, TEST 1 to 3.
#[test]
fn the_rfcs_own_signatures() {
    for (key, message, signature) in [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            &b""[..],
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            &[0x72],
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            &[0xaf, 0x82],
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        assert_eq!(judge(&hex(key), message, &hex(signature)), [true, true]);
        assert_eq!(judge(&hex(key), b"another", &hex(signature)), [false, false]);
    }
}

/// S and S + L are the same number to those who don't look.
#[test]
fn s_must_be_reduced() {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let key = ed25519(1).verifying_key().to_bytes();
    let mut signature = ed25519(1).sign(b"message").to_bytes();
    assert_eq!(judge(&key, b"message", &signature), [true, true]);
    let mut carry = 0;
    for (digit, add) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*digit) + u16::from(add) + carry;
        (*digit, carry) = (sum as u8, sum >> 8);
    }
    assert_eq!(judge(&key, b"message", &signature), [false, false]);
}

/// Keys of small order have "signed" whatever one likes: the first is what such forgeries are made with.
#[test]
fn keys_and_points_of_small_order_sign_nothing() {
    let identity = hex("0100000000000000000000000000000000000000000000000000000000000000");
    let of_order_8 = hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
    for key in [identity, of_order_8, [0; 32]] {
        for r in [identity, of_order_8, [0; 32]] {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            for message in 0..=255_u8 {
                let hash = hash(&key, &[message], &signature);
                assert!(!Ed25519Key::new(key).has_signed(&hash, &signature), "{key:x?} {r:x?} {message}");
            }
        }
    }
    let hash = hash(&identity, b"", &[0; 64]);
    assert!(!Ed25519Key::new([0xFF; 32]).has_signed(&hash, &[0; 64]), "no point at all");
    assert!(!SaltyKey::new([0xFF; 32]).has_signed(&hash, &[0; 64]));
}

#[test]
fn hashes_of_the_wrong_size_are_of_nothing() {
    let signature = ed25519(1).sign(b"message").to_bytes();
    for length in [0, 32, 63, 65] {
        assert!(!public(1).has_signed(&vec![0; length], &signature));
        assert!(!SaltyKey::new(ed25519(1).verifying_key().to_bytes()).has_signed(&vec![0; length], &signature));
        assert!(!public_p256(1).has_signed(&vec![0; length], &signature));
    }
}

#[test]
fn keys_are_named_by_their_der() {
    let signer = image::Signer::from(&ed25519(1));
    let expected: [u8; 32] = Sha256::digest(signer.public_der()).into();
    let salty = SaltyKey::new(ed25519(1).verifying_key().to_bytes());
    assert_eq!((public(1).hash(), salty.hash()), (expected, expected));
    assert_eq!((public(1).algorithm(), salty.algorithm()), (Algorithm::Ed25519, Algorithm::Ed25519));
    let signer = image::Signer::from(&p256(1));
    assert_eq!(public_p256(1).hash(), <[u8; 32]>::from(Sha256::digest(signer.public_der())));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// As strict as `verify_strict`, and salty agrees.
    #[test]
    fn ed25519_is_dalek_verify_strict(
        seed in any::<[u8; 32]>(),
        message in proptest::collection::vec(any::<u8>(), 0..100),
        flip in proptest::option::of((0usize..64, 0u8..8)),
    ) {
        let signing = ed25519_dalek::SigningKey::from_bytes(&seed);
        let mut signature = signing.sign(&message).to_bytes();
        if let Some((at, bit)) = flip {
            signature[at] ^= 1 << bit;
        }
        let key = signing.verifying_key().to_bytes();
        let strict = VerifyingKey::from_bytes(&key).unwrap().verify_strict(&message, &Signature::from_bytes(&signature));
        prop_assert_eq!(judge(&key, &message, &signature), [strict.is_ok(); 2]);
        prop_assert_eq!(strict.is_ok(), flip.is_none());
    }

    #[test]
    fn any_signature_by_any_key_is_judged(
        bytes in any::<[u8; 32]>(),
        signature in proptest::collection::vec(any::<u8>(), 64),
    ) {
        let signature: [u8; 64] = signature.try_into().unwrap();
        prop_assert_eq!(judge(&bytes, b"", &signature), [false; 2]);
        let mut point = [4; 65];
        point[1..33].copy_from_slice(&bytes);
        prop_assert!(!sprag_verify::P256Key::new(point).has_signed(&bytes, &signature));
        prop_assert!(!public_p256(1).has_signed(&bytes, &signature));
    }

    #[test]
    fn p256_is_p256(seed in 1u8..255, message in any::<[u8; 40]>(), flip in proptest::option::of((0usize..64, 0u8..8))) {
        let der = image::Signer::from(&p256(seed)).sign(&message);
        let mut signature: [u8; 64] = p256::ecdsa::Signature::from_der(&der).unwrap().to_bytes().into();
        if let Some((at, bit)) = flip {
            signature[at] ^= 1 << bit;
        }
        let judged = public_p256(seed).has_signed(&Sha256::digest(message), &signature);
        prop_assert_eq!(judged, flip.is_none());
    }
}
