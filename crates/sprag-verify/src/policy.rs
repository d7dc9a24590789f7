//! Who may sign, and what an image must be to run here: apart from any format.

use core::ops::Range;

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::error::Error;
use crate::hash::{Hash, HashKind};
use crate::key::{Algorithm, Key};
use crate::mcuboot::Config;
use crate::reader::Reader;
use crate::version::Version;

/// What an image must be to run here. There is none without a key: what is not signed is refused.
///
/// Whatever a policy asks for and an image does not say is refused too.
///
/// ```
/// # use sprag_verify::{Ed25519Key, Policy, Version};
/// const KEY: Ed25519Key = Ed25519Key::new([0x11; 32]);
/// const RUNNING: Version = Version::new(1, 4, 2);
/// let policy = Policy::signed_by(&KEY).newer_than(RUNNING).for_board("CY8CPROTO-062S2-43439");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Policy<'k> {
    keys: Keys<'k>,
    revoked: &'k [[u8; 32]],
    newer_than: Option<Version>,
    at_least: Option<Version>,
    at_most: Option<Version>,
    without_builds: bool,
    counter_at_least: Option<u32>,
    counter_at_most: Option<u32>,
    board: Option<&'k str>,
    class: Option<[u8; 16]>,
    chip: Option<u16>,
    chip_revision: Option<u16>,
    address: Option<u32>,
    within: Option<[u32; 2]>,
    others: Option<&'k [Version]>,
    reserved: u32,
    mcuboot: Config,
    trusts_job: bool,
}

#[derive(Debug, Clone, Copy)]
enum Keys<'k> {
    One(&'k dyn Key),
    Any(&'k [&'k dyn Key]),
}

/// What an image says of itself, as far as it says it.
pub(crate) struct Claims {
    pub(crate) version: Version,
    pub(crate) counter: Option<u32>,
    pub(crate) address: Option<u32>,
    /// Whether the board that it names is the policy's.
    pub(crate) right_board: Option<bool>,
    pub(crate) class: Option<[u8; 16]>,
    pub(crate) dependencies: Result<(), Error>,
}

impl Claims {
    pub(crate) fn new(version: Version) -> Self {
        Self { version, counter: None, address: None, right_board: None, class: None, dependencies: Ok(()) }
    }
}

impl<'k> Policy<'k> {
    /// The image must be signed with this key.
    pub const fn signed_by(key: &'k dyn Key) -> Self {
        Self::with(Keys::One(key))
    }

    /// The image must be signed with one of these keys. Several make a rotation possible.
    pub const fn signed_by_any(keys: &'k [&'k dyn Key]) -> Self {
        Self::with(Keys::Any(keys))
    }

    const fn with(keys: Keys<'k>) -> Self {
        Self {
            keys,
            revoked: &[],
            newer_than: None,
            at_least: None,
            at_most: None,
            without_builds: false,
            counter_at_least: None,
            counter_at_most: None,
            board: None,
            class: None,
            chip: None,
            chip_revision: None,
            address: None,
            within: None,
            others: None,
            reserved: 0,
            mcuboot: Config::new(),
            trusts_job: false,
        }
    }

    /// Keys that are trusted no more, by [`Key::hash`]: for those whose revocation is kept elsewhere than in the firmware.
    #[must_use]
    pub const fn revoking(mut self, hashes: &'k [[u8; 32]]) -> Self {
        self.revoked = hashes;
        self
    }

    /// The image must be of a later version than this, the one that runs; the same again is refused as well. Without
    /// it, older images are taken too.
    #[must_use]
    pub const fn newer_than(mut self, running: Version) -> Self {
        self.newer_than = Some(running);
        self
    }

    /// The image must be of this version or a later one.
    #[must_use]
    pub const fn at_least(mut self, minimum: Version) -> Self {
        self.at_least = Some(minimum);
        self
    }

    /// The image must be of this version or an earlier one: no single image can use the version numbers up, and so shut
    /// out every later one.
    #[must_use]
    pub const fn at_most(mut self, limit: Version) -> Self {
        self.at_most = Some(limit);
        self
    }

    /// Versions that differ by the build number alone are the same: as MCUboot compares them, unless it is built with
    /// `MCUBOOT_VERSION_CMP_USE_BUILD_NUMBER`.
    #[must_use]
    pub const fn without_build_numbers(mut self) -> Self {
        self.without_builds = true;
        self
    }

    /// The image's security counter (MCUboot's `SEC_CNT`, ESP-IDF's `secure_version`) must be this or higher: what the
    /// device has burnt.
    #[must_use]
    pub const fn counter_at_least(mut self, counter: u32) -> Self {
        self.counter_at_least = Some(counter);
        self
    }

    /// The image's security counter must be this or lower: bits that are burnt once can't be burnt again.
    #[must_use]
    pub const fn counter_at_most(mut self, counter: u32) -> Self {
        self.counter_at_most = Some(counter);
        self
    }

    /// The image must be for the board of this name. MCUboot: the protected TLV
    /// [`TLV_BOARD`](crate::mcuboot::TLV_BOARD). ESP-IDF: `project_name`. Raw: the job's word, which must be trusted:
    /// [`Policy::trusting_the_job`].
    #[must_use]
    pub const fn for_board(mut self, name: &'k str) -> Self {
        self.board = Some(name);
        self
    }

    /// The image must be of this class: MCUboot's `UUID_CID`, what `imgtool sign --cid` writes.
    #[must_use]
    pub const fn for_class(mut self, uuid: [u8; 16]) -> Self {
        self.class = Some(uuid);
        self
    }

    /// The image must be for this chip: `chip_id` of ESP-IDF, see [`esp_idf::chip`](crate::esp_idf::chip).
    #[must_use]
    pub const fn for_chip(mut self, id: u16) -> Self {
        self.chip = Some(id);
        self
    }

    /// The image must be for a chip of this revision, in ESP-IDF's terms: 100 times the major one and the minor one.
    #[must_use]
    pub const fn chip_revision(mut self, revision: u16) -> Self {
        self.chip_revision = Some(revision);
        self
    }

    /// The image must be made for this address: MCUboot's `ih_load_addr`, with `imgtool sign --rom-fixed` (where it lies)
    /// or `--load-addr` (where it is copied to).
    #[must_use]
    pub const fn at_address(mut self, address: u32) -> Self {
        self.address = Some(address);
        self
    }

    /// The image must be linked for these addresses, the slot that it is to run from: its reset vector, the second word
    /// of a Cortex-M's vector table, must lie in there. For MCUboot and raw images.
    #[must_use]
    pub const fn linked_within(mut self, slot: Range<u32>) -> Self {
        self.within = Some([slot.start, slot.end]);
        self
    }

    /// The images that run beside it, by image number: those that the image depends on (MCUboot's `DEPENDENCY`) must be
    /// among them, in the version that it needs or a later one. Without it, nobody looks at dependencies.
    #[must_use]
    pub const fn beside(mut self, images: &'k [Version]) -> Self {
        self.others = Some(images);
        self
    }

    /// Bytes at the end of the slot that belong to the bootloader: the image must not reach into them.
    #[must_use]
    pub const fn reserving(mut self, bytes: u32) -> Self {
        self.reserved = bytes;
        self
    }

    /// The settings of the device's MCUboot, so that no image is taken that it would refuse. Without it, MCUboot's
    /// defaults: see [`Config::new`].
    #[must_use]
    pub const fn mcuboot_config(mut self, config: Config) -> Self {
        self.mcuboot = config;
        self
    }

    /// Whoever writes jobs may say which version and board a raw image is of.
    ///
    /// The signature of a raw image covers neither the version nor the board that a job names. So a policy that asks for
    /// one of them refuses the job's word: with [`Error::NoVersion`] and [`Error::NoBoard`]. With this, the job's word
    /// counts, and whoever can write jobs can install an old image as a new one, or one of another board. Better put the
    /// version into the image: [`VersionAt::Offset`](crate::VersionAt::Offset).
    #[must_use]
    pub const fn trusting_the_job(mut self) -> Self {
        self.trusts_job = true;
        self
    }

    /// Returns whether the job's version may be used: nothing depends on it, or the job is trusted.
    pub(crate) fn takes_version_of_job(&self) -> bool {
        self.trusts_job || self.newer_than.or(self.at_least).or(self.at_most).is_none()
    }

    pub(crate) fn trusts_job(&self) -> bool {
        self.trusts_job
    }

    pub(crate) fn mcuboot(&self) -> &Config {
        &self.mcuboot
    }

    fn keys(&self) -> impl Iterator<Item = &'k dyn Key> {
        let (one, any) = match self.keys {
            Keys::One(key) => (Some(key), Default::default()),
            Keys::Any(keys) => (None, keys),
        };
        one.into_iter().chain(any.iter().copied())
    }

    fn is_revoked(&self, key: &dyn Key) -> bool {
        !self.revoked.is_empty() && self.revoked.contains(&key.hash())
    }

    /// The keys of an algorithm that are trusted.
    pub(crate) fn keys_for(&self, algorithm: Algorithm) -> impl Iterator<Item = &'k dyn Key> {
        self.keys().filter(move |key| key.algorithm() == algorithm && !self.is_revoked(*key))
    }

    /// Why there is no key of this algorithm.
    pub(crate) fn unknown_for(&self, algorithm: Algorithm) -> Error {
        if self.keys().any(|key| key.algorithm() == algorithm) { Error::RevokedKey } else { Error::UnknownKey }
    }

    /// The trusted key of this name, the hash of its DER encoding; an error, where it is unknown or revoked.
    pub(crate) fn key_named(&self, name: &[u8], kind: HashKind) -> Result<&'k dyn Key, Error> {
        self.judged(|key| Hash::of_key(kind, key).as_bytes() == name)
    }

    /// The trusted key of this DER encoding.
    pub(crate) fn key_of_der(&self, der: &[u8]) -> Result<&'k dyn Key, Error> {
        self.judged(|key| der.strip_prefix(key.algorithm().spki()) == Some(key.bytes()))
    }

    /// The trusted key that is the same as this one.
    pub(crate) fn key_of(&self, algorithm: Algorithm, bytes: &[u8]) -> Result<&'k dyn Key, Error> {
        self.judged(|key| key.algorithm() == algorithm && key.bytes() == bytes)
    }

    fn judged(&self, is: impl Fn(&dyn Key) -> bool) -> Result<&'k dyn Key, Error> {
        let key = self.keys().find(|key| is(*key)).ok_or(Error::UnknownKey)?;
        if self.is_revoked(key) { Err(Error::RevokedKey) } else { Ok(key) }
    }

    /// An image of this size fits into a slot.
    pub(crate) fn check_size(&self, size: u32, slot: u32) -> Result<(), Error> {
        let room = slot.saturating_sub(self.reserved);
        if size > room { Err(Error::TooLarge { image: size, room }) } else { Ok(()) }
    }

    /// What the formats have in common.
    pub(crate) fn check(&self, claims: &Claims) -> Result<(), Error> {
        self.check_version(claims.version)?;
        match (claims.counter, self.counter_at_least, self.counter_at_most) {
            (None, Some(_), _) | (None, _, Some(_)) => return Err(Error::NoCounter),
            (Some(image), Some(least), _) if image < least => return Err(Error::CounterTooLow { image, least }),
            (Some(image), _, Some(most)) if image > most => return Err(Error::CounterTooHigh { image, most }),
            _ => {}
        }
        match (self.address, self.board, claims.right_board) {
            (Some(expected), ..) if claims.address != Some(expected) => {
                return Err(Error::Address { image: claims.address, expected });
            }
            (_, Some(_), None) => return Err(Error::NoBoard),
            (_, Some(_), Some(false)) => return Err(Error::Board),
            _ => {}
        }
        match (self.class, claims.class) {
            (Some(_), None) => Err(Error::NoClass),
            (Some(expected), Some(found)) if expected != found => Err(Error::Class),
            _ => claims.dependencies,
        }
    }

    /// Whether this is the name of the board that is asked for.
    pub(crate) fn is_board(&self, name: &[u8]) -> bool {
        self.board.is_some_and(|board| board.as_bytes() == name)
    }

    /// What counts of a version when it is compared.
    fn order(&self, version: Version) -> Version {
        if self.without_builds { Version { build: 0, ..version } } else { version }
    }

    fn check_version(&self, image: Version) -> Result<(), Error> {
        let beyond = |limit: Version| self.order(image).cmp(&self.order(limit));
        match (self.newer_than, self.at_least, self.at_most) {
            (Some(running), ..) if beyond(running).is_lt() => Err(Error::NotNewer { image, running }),
            (Some(running), ..) if beyond(running).is_eq() => Err(Error::SameVersion { version: image }),
            (_, Some(minimum), _) if beyond(minimum).is_lt() => Err(Error::TooOld { image, minimum }),
            (_, _, Some(limit)) if beyond(limit).is_gt() => Err(Error::TooNew { image, limit }),
            _ => Ok(()),
        }
    }

    /// The reset vector of an image whose vector table begins there, for formats that run from where they lie.
    pub(crate) async fn check_vector<F: ReadNorFlash>(&self, reader: &mut Reader<'_, F>, at: u32) -> Result<(), Error> {
        let Some([start, end]) = self.within else { return Ok(()) };
        let vector = u32::from_le_bytes(reader.exactly(at.saturating_add(4)).await?);
        if (start..end).contains(&vector) { Ok(()) } else { Err(Error::Slot { vector }) }
    }

    /// For formats that are not linked for a slot.
    pub(crate) fn check_no_vector(&self) -> Result<(), Error> {
        if self.within.is_some() { Err(Error::NoVector) } else { Ok(()) }
    }

    /// Chip and revision, for formats that name them. Both bounds of the revision may be left open.
    pub(crate) fn check_chip(&self, chip: u16, revisions: [u16; 2]) -> Result<(), Error> {
        match self.chip {
            Some(expected) if chip != expected => return Err(Error::Chip { image: chip, expected }),
            _ => {}
        }
        let [least, most] = revisions;
        // ESP-IDF, `bootloader_common_check_chip_validity`: a highest revision of 0 or 65535 is none.
        let most = if most == 0 { u16::MAX } else { most };
        match self.chip_revision {
            Some(revision) if !(least..=most).contains(&revision) => Err(Error::ChipRevision { least, most, revision }),
            _ => Ok(()),
        }
    }

    /// For formats that name no chip.
    pub(crate) fn check_no_chip(&self) -> Result<(), Error> {
        if self.chip.or(self.chip_revision).is_some() { Err(Error::NoChip) } else { Ok(()) }
    }

    /// A dependency of the image on another one.
    pub(crate) fn check_dependency(&self, image: u8, needs: Version) -> Result<(), Error> {
        match self.others {
            Some(others)
                if others.get(usize::from(image)).is_none_or(|version| self.order(*version) < self.order(needs)) =>
            {
                Err(Error::Dependency { image, needs })
            }
            _ => Ok(()),
        }
    }
}
