//! MCUboot's own reading of an image against `sprag-verify`'s: no image that MCUboot would refuse is accepted.
//!
//! The model below follows `bootutil_img_validate`, `bootutil_tlv_iter_begin`, `bootutil_tlv_iter_next` and
//! `boot_check_header_valid` step by step, over a slot of bytes. It shares no code with the crate. The images are signed
//! by the key that both know, after their headers and TLVs were made up: what is tried is not forging, but what a maker
//! of images, or a store that changes the unsigned part of one, can put into them.

mod common;

use common::{SLOT, ed25519, p256, public, public_p256, slot};
use ed25519_dalek::Verifier;
use embassy_futures::block_on;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sprag_testkit::image::Signer;
use sprag_verify::mcuboot::{self, Config};
use sprag_verify::{Key, Policy};

const MAGIC: u32 = 0x96f3_b83d;
const KEY_HASH: u16 = 0x01;
const PUBLIC_KEY: u16 = 0x02;
const ECDSA: u16 = 0x22;
const ED25519: u16 = 0x24;
const PURE: u16 = 0x25;
const COUNTER: u16 = 0x50;

/// The kinds of digest: type of the TLV, length.
const DIGESTS: [(u16, usize); 3] = [(0x10, 32), (0x11, 48), (0x12, 64)];

/// Which TLVs may lie in the unprotected area.
#[derive(Debug, Clone, Copy, PartialEq)]
enum List {
    /// Built without the list.
    Any,
    /// Every kind of digest, key and signature: v2.1.0 and later.
    Long,
    /// Those of the build alone.
    Short,
}

/// How the MCUboot of the model is built.
#[derive(Debug, Clone, Copy)]
struct Build {
    signature: u16,
    /// Index into [`DIGESTS`].
    digest: usize,
    pure: bool,
    whole_key: bool,
    /// The counter of the device.
    counter: Option<u32>,
}

impl Build {
    fn allows(&self, list: List, kind: u16) -> bool {
        let digest = DIGESTS[self.digest].0;
        let key = if self.whole_key { PUBLIC_KEY } else { KEY_HASH };
        let is_pure = kind == PURE && self.pure;
        match list {
            List::Any => true,
            List::Long => matches!(kind, 0x01 | 0x02 | 0x10..=0x12 | 0x20..=0x24 | 0x30..=0x33) || is_pure,
            List::Short => {
                kind == digest || kind == key || kind == self.signature || (0x30..=0x33).contains(&kind) || is_pure
            }
        }
    }

    fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        match self.digest {
            0 => Sha256::digest(bytes).to_vec(),
            1 => Sha384::digest(bytes).to_vec(),
            _ => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// The bootloader: a build, a key, and the slot that it reads.
struct Model<'a> {
    build: Build,
    list: List,
    signer: &'a Signer,
    slot: &'a [u8],
}

impl Model<'_> {
    /// A read that leaves the slot fails.
    fn load(&self, at: u32, length: usize) -> Option<&[u8]> {
        self.slot.get(at as usize..(at as usize).checked_add(length)?)
    }

    fn load_u16(&self, at: u32) -> Option<u16> {
        Some(u16::from_le_bytes(self.load(at, 2)?.try_into().unwrap()))
    }

    fn load_u32(&self, at: u32) -> Option<u32> {
        Some(u32::from_le_bytes(self.load(at, 4)?.try_into().unwrap()))
    }

    fn is_bootable(&self) -> bool {
        self.has_valid_header().is_some_and(|valid| valid) && self.validate().is_some_and(|valid| valid)
    }

    fn has_valid_header(&self) -> Option<bool> {
        let flags = self.load_u32(16)?;
        let size = u32::from(self.load_u16(8)?).checked_add(self.load_u32(12)?)?;
        let size = size.checked_add(self.load_u16(10)?.into())?;
        let encrypted = flags & 0x0C != 0;
        let not_bootable = flags & 0x10 != 0;
        let compressed = flags & 0xE00 != 0;
        let fits = (size as usize) < self.slot.len();
        Some(self.load_u32(0)? == MAGIC && fits && !encrypted && !not_bootable && !compressed)
    }

    /// Where the TLVs begin, where the protected area ends, and where all end.
    fn areas(&self) -> Option<[u32; 3]> {
        let begin = u32::from(self.load_u16(8)?) + self.load_u32(12)?;
        let protected = self.load_u16(10)?;
        let mut info = begin;
        if self.load_u16(begin)? == 0x6908 {
            if self.load_u16(begin + 2)? != protected {
                return None;
            }
            info += u32::from(protected);
        } else if protected != 0 {
            return None;
        }
        let total = self.load_u16(info + 2)?;
        let border = begin + u32::from(protected);
        (self.load_u16(info)? == 0x6907).then_some([begin, border, border + u32::from(total)])
    }

    /// The first TLV from `at` on: type, where its value lies, its length, and where the next one is looked for. Both areas
    /// are one to it, apart from the 4 bytes between them, if a TLV ends exactly there.
    fn next(&self, mut at: u32, [_, border, end]: [u32; 3], protected: u16) -> Option<Option<(u16, u32, u16, u32)>> {
        if at >= end {
            return Some(None);
        }
        if protected > 0 && at == border {
            at += 4;
        }
        let kind = self.load_u16(at)?;
        let length = self.load_u16(at + 2)?;
        Some(Some((kind, at + 4, length, at + 4 + u32::from(length))))
    }

    fn validate(&self) -> Option<bool> {
        let protected = self.load_u16(10)?;
        let areas = self.areas()?;
        let [begin, border, end] = areas;
        let signed = self.load(0, border as usize)?;
        let digest = self.build.digest(signed);
        if self.build.pure && !self.is_marked_pure(areas, protected)? {
            return Some(false);
        }
        if end as usize > self.slot.len() {
            return Some(false);
        }
        let mut key = false;
        let (mut digest_valid, mut signature_valid, mut counter_valid) = (false, false, self.build.counter.is_none());
        let mut at = begin + 4;
        while let Some((kind, value_at, length, next)) = self.next(at, areas, protected)? {
            at = next;
            let length = usize::from(length);
            if value_at >= border && !self.build.allows(self.list, kind) {
                return Some(false);
            }
            let (key_kind, longest) = match (self.build.whole_key, self.build.signature) {
                (false, _) => (KEY_HASH, DIGESTS[self.build.digest].1),
                (true, ED25519) => (PUBLIC_KEY, 64 + 24),
                (true, _) => (PUBLIC_KEY, 128 + 24),
            };
            if kind == DIGESTS[self.build.digest].0 && !self.build.pure {
                if length != digest.len() || self.load(value_at, length)? != digest {
                    return Some(false);
                }
                digest_valid = true;
            } else if kind == key_kind {
                if length > longest {
                    return Some(false);
                }
                key = self.is_key(self.load(value_at, length)?);
            } else if kind == self.build.signature {
                if !key {
                    continue;
                }
                if (kind == ED25519 && length != 64) || length > 128 {
                    return Some(false);
                }
                signature_valid = self.verify(signed, &digest, self.load(value_at, length)?);
                key = false;
            } else if kind == COUNTER
                && let Some(least) = self.build.counter
            {
                if length != 4 || self.load_u32(value_at)? < least {
                    return Some(false);
                }
                counter_valid = true;
            }
        }
        Some((digest_valid || self.build.pure) && signature_valid && counter_valid)
    }

    /// The first of these TLVs decides, in either area.
    fn is_marked_pure(&self, areas: [u32; 3], protected: u16) -> Option<bool> {
        let mut at = areas[0] + 4;
        while let Some((kind, value_at, length, next)) = self.next(at, areas, protected)? {
            if kind == PURE {
                return Some(length == 1 && self.load(value_at, 1)? == [1]);
            }
            at = next;
        }
        Some(false)
    }

    /// A hash is compared as far as it goes.
    fn is_key(&self, value: &[u8]) -> bool {
        let der = self.signer.public_der();
        if self.build.whole_key { value == der } else { self.build.digest(&der).starts_with(value) }
    }

    fn verify(&self, signed: &[u8], digest: &[u8], signature: &[u8]) -> bool {
        match self.signer {
            Signer::Ed25519(key) => {
                let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
                let message = if self.build.pure { signed } else { digest };
                key.verifying_key().verify(message, &signature).is_ok()
            }
            // DER says where it ends.
            Signer::P256(key) => {
                let length = signature.get(1).map_or(0, |length| usize::from(*length) + 2);
                let der = signature.get(..length).unwrap_or_default();
                let Ok(signature) = p256::ecdsa::Signature::from_der(der) else { return false };
                key.verifying_key().verify_prehash(digest, &signature).is_ok()
            }
        }
    }
}

/// Numbers from a seed: xorshift64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// One of the lengths at which something is decided.
fn length(numbers: &mut Numbers) -> usize {
    numbers.pick(&[0, 1, 3, 4, 5, 12, 16, 31, 32, 33, 48, 63, 64, 65, 72, 88, 89, 91, 127, 128, 129, 152, 153])
}

/// What stands for the parts of an image when its TLVs are made up.
struct Parts<'a> {
    build: Build,
    signer: &'a Signer,
    digest: Vec<u8>,
    signature: Vec<u8>,
}

impl Parts<'_> {
    fn key(&self) -> (u16, Vec<u8>) {
        let der = self.signer.public_der();
        if self.build.whole_key { (PUBLIC_KEY, der) } else { (KEY_HASH, self.build.digest(&der)) }
    }

    /// A TLV that has to do with what is decided, or any.
    fn odd(&self, numbers: &mut Numbers) -> (u16, Vec<u8>) {
        let length = length(numbers);
        match numbers.below(12) {
            0 => self.key(),
            1 => {
                let (kind, mut key) = self.key();
                key.resize(length, 0xA5);
                (kind, key)
            }
            2 => (KEY_HASH, numbers.bytes(length)),
            3 => (PUBLIC_KEY, numbers.bytes(length)),
            4 => (self.build.signature, self.signature.clone()),
            5 => {
                let mut signature = self.signature.clone();
                signature.resize(length, 0);
                (self.build.signature, signature)
            }
            6 => (numbers.pick(&[ECDSA, ED25519]), numbers.bytes(length)),
            7 => {
                (numbers.pick(&DIGESTS).0, if numbers.one_in(2) { self.digest.clone() } else { numbers.bytes(length) })
            }
            8 => (COUNTER, (numbers.below(10) as u32).to_le_bytes().to_vec()),
            9 => (PURE, vec![numbers.below(3) as u8; numbers.pick(&[1, 1, 1, 0, 2])]),
            10 => (numbers.pick(&[COUNTER, 0x20, 0x23, 0x30, 0x33, 0x34, 0x40, 0x75]), numbers.bytes(length)),
            _ => (numbers.next() as u16, numbers.bytes(length)),
        }
    }
}

fn area(magic: u16, tlvs: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = magic.to_le_bytes().to_vec();
    bytes.extend([0; 2]);
    for (kind, value) in tlvs {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(value);
    }
    let total = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&total.to_le_bytes());
    bytes
}

/// An image that is nearly one: signed after what is odd about header and protected area was put in.
fn image(numbers: &mut Numbers, build: Build, signer: &Signer) -> Vec<u8> {
    let mut parts = Parts { build, signer, digest: vec![0; DIGESTS[build.digest].1], signature: vec![0; 64] };
    let header_size: u16 = numbers.pick(&[32, 32, 32, 64, 31, 512]);
    let payload = numbers.bytes(40);
    let mut protected = Vec::new();
    if build.counter.is_some() && !numbers.one_in(8) {
        protected.push((COUNTER, 6_u32.to_le_bytes().to_vec()));
    }
    if numbers.one_in(2) {
        for _ in 0..numbers.below(3) {
            let at = numbers.below(protected.len() + 1);
            protected.insert(at, parts.odd(numbers));
        }
    }
    let protected = if protected.is_empty() && !numbers.one_in(8) { vec![] } else { area(0x6908, &protected) };
    let flags: u32 = if numbers.one_in(6) { 1 << numbers.below(13) } else { 0 };
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(header_size.to_le_bytes());
    bytes.extend((protected.len() as u16).to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.resize(header_size.into(), 0);
    bytes.extend(payload);
    let body = bytes.len();
    bytes.extend(protected);
    if numbers.one_in(4) && bytes.len() > body {
        let at = body + numbers.below(bytes.len() - body);
        bytes[at] ^= 1 << numbers.below(8);
    }
    if numbers.one_in(20) {
        let at = numbers.below(32);
        bytes[at] ^= 1 << numbers.below(8);
    }

    parts.digest = build.digest(&bytes);
    parts.signature = if build.pure { signer.sign(&bytes) } else { signer.sign_digest(&parts.digest) };
    let mut tlvs =
        vec![(DIGESTS[build.digest].0, parts.digest.clone()), parts.key(), (build.signature, parts.signature.clone())];
    if build.pure {
        tlvs.insert(numbers.below(4), (PURE, vec![1]));
    }
    for _ in 0..numbers.pick(&[0, 0, 1, 1, 2, 3]) {
        match numbers.below(6) {
            0 => drop(tlvs.remove(numbers.below(tlvs.len().max(1)))),
            1 => {
                let (one, other) = (numbers.below(tlvs.len()), numbers.below(tlvs.len()));
                tlvs.swap(one, other);
            }
            _ => tlvs.insert(numbers.below(tlvs.len() + 1), parts.odd(numbers)),
        }
    }
    let signed = bytes.len();
    bytes.extend(area(0x6907, &tlvs));
    if numbers.one_in(5) {
        let at = signed + numbers.below(bytes.len() - signed);
        bytes[at] ^= 1 << numbers.below(8);
    }
    if numbers.one_in(20) {
        let more = numbers.below(5);
        bytes.extend(vec![0xFF; more]);
    }
    bytes
}

fn config(build: Build, list: bool) -> Config {
    let mut config = match build.digest {
        0 => Config::new(),
        1 => Config::new().sha384(),
        _ => Config::new().sha512(),
    };
    if build.pure {
        config = config.pure();
    }
    if build.whole_key {
        config = config.whole_key();
    }
    if list { config } else { config.without_allow_list() }
}

/// How many images were judged alike, and not.
#[derive(Debug, Default)]
struct Tally {
    both_accept: usize,
    both_refuse: usize,
    stricter: usize,
}

fn run(seed: u64, images: usize) -> Tally {
    println!("SPRAG_SEED={seed}");
    let numbers = &mut Numbers(seed);
    let signers = [Signer::from(&ed25519(1)), Signer::from(&p256(1))];
    let (eddsa, ecdsa) = (public(1), public_p256(1));
    let mut tally = Tally::default();
    for index in 0..images {
        let signer = numbers.pick(&[&signers[0], &signers[1]]);
        let is_ed25519 = matches!(signer, Signer::Ed25519(_));
        let build = Build {
            signature: if is_ed25519 { ED25519 } else { ECDSA },
            digest: numbers.pick(&[0, 0, 0, 1, 2]),
            pure: is_ed25519 && numbers.one_in(4),
            whole_key: numbers.one_in(5),
            counter: numbers.one_in(4).then_some(5),
        };
        let bytes = image(numbers, build, signer);
        let mut contents = bytes.clone();
        contents.resize(SLOT as usize, 0xFF);
        let key: &dyn Key = if is_ed25519 { &eddsa } else { &ecdsa };
        for with_list in [true, false] {
            let mut policy = Policy::signed_by(key).mcuboot_config(config(build, with_list));
            if let Some(counter) = build.counter {
                policy = policy.counter_at_least(counter);
            }
            let size = bytes.len() as u32;
            let ours = block_on(mcuboot::verify(&mut slot(&bytes), size, &policy, &mut [0; 2048]));
            for list in if with_list { &[List::Long, List::Short][..] } else { &[List::Any] } {
                let theirs = Model { build, list: *list, signer, slot: &contents }.is_bootable();
                match (ours.is_ok(), theirs) {
                    (true, true) => tally.both_accept += 1,
                    (false, false) => tally.both_refuse += 1,
                    (false, true) => tally.stricter += 1,
                    (true, false) => panic!(
                        "MCUboot refuses what is accepted here: SPRAG_SEED={seed}, image {index}, {build:?}, {list:?}: {bytes:02x?}"
                    ),
                }
            }
        }
    }
    tally
}

/// `SPRAG_SEED` repeats a run, `SPRAG_IMAGES` makes it longer.
#[test]
fn nothing_is_accepted_that_mcuboot_refuses() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SPRAG_SEED").unwrap_or(0x5bad_5eed_cafe_0001).max(1);
    let images = number("SPRAG_IMAGES").unwrap_or(3000) as usize;
    let tally = run(seed, images);
    println!("{tally:?}");
    // Neither says the same of everything.
    assert!(tally.both_accept > images / 8 && tally.both_refuse > images / 8, "{tally:?}");
    assert!(tally.stricter > 0, "{tally:?}");
}
