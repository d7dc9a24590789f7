//! What the formats have in common.

use embedded_storage_async::nor_flash::ReadNorFlash;

use crate::error::Error;
use crate::policy::Policy;
use crate::promised::Promised;
use crate::raw::VersionAt;
use crate::version::Version;
use crate::{esp_idf, mcuboot, raw};

/// What is known of an image that may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Image {
    /// Its version.
    pub version: Version,
    /// Its size with everything that belongs to it, in bytes.
    pub size: u32,
    /// Its security counter: MCUboot's `SEC_CNT`, ESP-IDF's `secure_version`.
    pub counter: Option<u32>,
}

/// A format of images: for callers that take any. Formats that are not chosen cost nothing.
#[allow(async_fn_in_trait)] // Executors of this field run futures where they are made: no `Send` to promise.
pub trait Format {
    /// Verifies the image in a slot, as it lies in flash: see [`mcuboot::verify`], [`esp_idf::verify`], [`raw::verify`].
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// # Cancellation safety
    /// Reads only.
    async fn verify<F: ReadNorFlash>(
        &self,
        slot: &mut F,
        promised: Promised<'_>,
        policy: &Policy<'_>,
        buf: &mut [u8],
    ) -> Result<Image, Error>;
}

/// MCUboot images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct McuBoot;

impl Format for McuBoot {
    fn verify<F: ReadNorFlash>(
        &self,
        slot: &mut F,
        promised: Promised<'_>,
        policy: &Policy<'_>,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<Image, Error>> {
        mcuboot::verify(slot, promised, policy, buf)
    }
}

/// ESP-IDF application images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EspIdf;

impl Format for EspIdf {
    fn verify<F: ReadNorFlash>(
        &self,
        slot: &mut F,
        promised: Promised<'_>,
        policy: &Policy<'_>,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<Image, Error>> {
        esp_idf::verify(slot, promised, policy, buf)
    }
}

/// Any bytes, vouched for by the job alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Raw(pub VersionAt);

impl Format for Raw {
    fn verify<F: ReadNorFlash>(
        &self,
        slot: &mut F,
        promised: Promised<'_>,
        policy: &Policy<'_>,
        buf: &mut [u8],
    ) -> impl Future<Output = Result<Image, Error>> {
        raw::verify(slot, promised, self.0, policy, buf)
    }
}
