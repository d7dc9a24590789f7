//! What a job promises of a file, and whether the file keeps it.

use embedded_storage_async::nor_flash::ReadNorFlash;
#[cfg(feature = "ed25519")]
use sha2::Sha512;
use sha2::{Digest, Sha256};

use crate::error::Error;
#[cfg(feature = "ed25519")]
use crate::hash;
use crate::key::Algorithm;
#[cfg(feature = "ed25519")]
use crate::key::{Key, ed25519_hash};
use crate::policy::Policy;
use crate::reader::Reader;
use crate::signature::Signature;
use crate::version::Version;

/// What a job promises of the file that was downloaded. A plain size, in bytes, is one of these too.
///
/// ```
/// # use sprag_verify::{Algorithm, Error, Promised, Signature, Version};
/// # let text = "MEUCIQCzYy2eVrcMNaVbwXLOzXMhh/N8wCjw/QVvnmjvRtvTiwIgErZbQ9nGZTeTrv4Mo4xWR0sdy9RKqDbq2qtn6jBOEWY=";
/// let signature = Signature::from_base64(Algorithm::EcdsaP256, text)?;
/// let promised = Promised::size(343_135).digest([0x11; 32]).signature(signature).version(Version::new(1, 5, 0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Promised<'p> {
    pub(crate) size: u32,
    digest: Option<[u8; 32]>,
    signature: Option<Signature>,
    pub(crate) version: Option<Version>,
    pub(crate) board: Option<&'p str>,
}

impl<'p> Promised<'p> {
    /// The size that was downloaded, in bytes: the image must be exactly that long.
    pub const fn size(size: u32) -> Self {
        Self { size, digest: None, signature: None, version: None, board: None }
    }

    /// The SHA-256 of the whole file.
    #[must_use]
    pub const fn digest(mut self, sha256: [u8; 32]) -> Self {
        self.digest = Some(sha256);
        self
    }

    /// A signature over the whole file. It counts where the image carries none of its own.
    #[must_use]
    pub const fn signature(mut self, signature: Signature) -> Self {
        self.signature = Some(signature);
        self
    }

    /// The version of the image, for images that do not say it themselves.
    #[must_use]
    pub const fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// The board that it is for, for images that do not say it themselves.
    #[must_use]
    pub const fn board(mut self, board: &'p str) -> Self {
        self.board = Some(board);
        self
    }
}

impl From<u32> for Promised<'_> {
    fn from(size: u32) -> Self {
        Self::size(size)
    }
}

/// The whole file, while it is read once.
pub(crate) struct File<'p, 'k> {
    promised: &'p Promised<'p>,
    /// The signature that has to vouch for it, when the image does not vouch for itself.
    signature: Option<&'p Signature>,
    policy: &'p Policy<'k>,
    sha256: Option<Sha256>,
    /// The first of the keys that it may be, and the hash that its signature is about.
    #[cfg(feature = "ed25519")]
    ed25519: Option<(&'k dyn Key, Sha512)>,
}

impl<'p, 'k> File<'p, 'k> {
    /// `signed`: whether the image carries a signature of its own.
    ///
    /// # Errors
    /// [`Error::Unsigned`], [`Error::UnknownKey`], [`Error::RevokedKey`].
    #[inline(never)]
    #[cfg_attr(not(feature = "ed25519"), allow(unused_variables))] // The key is for Ed25519.
    pub(crate) fn new(promised: &'p Promised<'p>, policy: &'p Policy<'k>, signed: bool) -> Result<Self, Error> {
        let signature = if signed { None } else { Some(promised.signature.as_ref().ok_or(Error::Unsigned)?) };
        let mut ecdsa = false;
        #[cfg(feature = "ed25519")]
        let mut ed25519 = None;
        if let Some(signature) = signature {
            let first = policy.keys_for(signature.algorithm).next();
            let first = first.ok_or_else(|| policy.unknown_for(signature.algorithm))?;
            match signature.algorithm {
                #[cfg(feature = "ed25519")]
                Algorithm::Ed25519 => ed25519 = Some((first, ed25519_hash(first, &signature.bytes))),
                Algorithm::EcdsaP256 => ecdsa = true,
            }
        }
        let sha256 = (ecdsa || promised.digest.is_some()).then(Sha256::new);
        Ok(Self {
            promised,
            signature,
            policy,
            sha256,
            #[cfg(feature = "ed25519")]
            ed25519,
        })
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.sha256 {
            hash.update(bytes);
        }
        #[cfg(feature = "ed25519")]
        if let Some((_, hash)) = &mut self.ed25519 {
            hash.update(bytes);
        }
    }

    /// Judges the file when all of it has been read. An Ed25519 signature that is not by the first key that it may be by
    /// takes one more pass for each further one: what is hashed begins with the key.
    ///
    /// # Errors
    /// [`Error::FileDigest`], [`Error::Signature`], the flash's.
    #[cfg_attr(not(feature = "ed25519"), allow(unused_variables))] // The reader is for Ed25519.
    pub(crate) async fn judge<F: ReadNorFlash>(&mut self, reader: &mut Reader<'_, F>) -> Result<(), Error> {
        let found: Option<[u8; 32]> = self.sha256.as_mut().map(|hash| hash.finalize_reset().into());
        if self.promised.digest.is_some() && self.promised.digest != found {
            return Err(Error::FileDigest);
        }
        let Some(Signature { algorithm, bytes: signature }) = self.signature else { return Ok(()) };
        #[cfg(feature = "ed25519")]
        if let Some((first, hash)) = &mut self.ed25519
            && first.has_signed(hash::Digest::of(hash).as_bytes(), signature)
        {
            return Ok(());
        }
        for (index, key) in self.policy.keys_for(*algorithm).enumerate() {
            let signed = match (algorithm, index) {
                (Algorithm::EcdsaP256, _) => found.is_some_and(|digest| key.has_signed(&digest, signature)),
                #[cfg(feature = "ed25519")]
                (Algorithm::Ed25519, 0) => false,
                #[cfg(feature = "ed25519")]
                (Algorithm::Ed25519, _) => {
                    let mut hash = ed25519_hash(key, signature);
                    reader.feed(0, self.promised.size, &mut |bytes| hash.update(bytes)).await?;
                    key.has_signed(hash::Digest::of(&mut hash).as_bytes(), signature)
                }
            };
            if signed {
                return Ok(());
            }
        }
        Err(Error::Signature)
    }
}
