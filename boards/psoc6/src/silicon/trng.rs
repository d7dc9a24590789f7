//! Random numbers from the crypto block of the newer dies.
//!
//! Source: Infineon's peripheral driver library (`cy_crypto_core_trng_v2.c`), with its default settings.

use core::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// How often the block is looked at before it is taken to be broken. A word takes some hundred cycles.
const LOOKS: u32 = 100_000;
/// The ring oscillators' polynomials that Infineon's examples use.
const POLYNOMIAL: u32 = 0x04C1_1DB7;

macro_rules! die {
    ($module:ident, $feature:literal, $pac:ident) => {
        #[cfg(feature = $feature)]
        pub(super) mod $module {
            use rand_core::{CryptoRng, Error, RngCore, impls};
            use $pac::{CRYPTO, crypto};

            use super::{LOOKS, Ordering, POLYNOMIAL, TAKEN};

            /// The true random number generator: ring oscillators behind a von Neumann corrector.
            #[derive(Debug)]
            pub struct Trng(());

            impl Trng {
                /// The generator, unless it has been taken before. Switches the crypto block on.
                ///
                /// # Safety
                /// Runs on a part of this die that has the crypto block, and nothing else uses it.
                pub unsafe fn take() -> Option<Self> {
                    if TAKEN.swap(true, Ordering::AcqRel) {
                        return None;
                    }
                    // SAFETY: the caller vouches for the block.
                    unsafe { CRYPTO.ctl().init(|register| register.enabled().set(crypto::ctl::Enabled::ENABLED)) };
                    Some(Self(()))
                }

                /// 32 random bits; none if the oscillators have stopped or the block does not answer.
                pub fn word(&mut self) -> Option<u32> {
                    // SAFETY: the block is ours, see `take`; the registers are those of the generator alone.
                    unsafe {
                        CRYPTO.tr_ctl0().init(|register| {
                            let register = register.init_delay().set(3).von_neumann_corr().set(true);
                            register.stop_on_ap_detect().set(true).stop_on_rc_detect().set(true)
                        });
                        CRYPTO.tr_ctl1().init(|register| {
                            let register = register.ro11_en().set(true).ro15_en().set(true).garo15_en().set(true);
                            register.garo31_en().set(true).firo15_en().set(true).firo31_en().set(true)
                        });
                        CRYPTO.tr_garo_ctl().init(|register| register.polynomial31().set(POLYNOMIAL));
                        CRYPTO.tr_firo_ctl().init(|register| register.polynomial31().set(POLYNOMIAL));
                        CRYPTO.tr_ctl2().init(|register| register.size().set(32));
                        CRYPTO.tr_cmd().init(|register| register.start().set(true));
                    }
                    // SAFETY: reading the status and the oscillators' switches changes nothing.
                    let done = (0..LOOKS).any(|_| unsafe { !CRYPTO.status().read().busy().get() });
                    // SAFETY: as above, and the block is idle.
                    let word = unsafe {
                        let runs = CRYPTO.tr_ctl1().read().ro11_en().get();
                        (done && runs).then(|| CRYPTO.tr_result().read().data32().get())
                    };
                    // SAFETY: stops the oscillators, to save power.
                    unsafe { CRYPTO.tr_ctl1().init(|register| register) };
                    word
                }
            }

            /// `try_fill_bytes` tells when the generator fails.
            ///
            /// # Panics
            /// The others: what asks for random bytes in this way can't go on without.
            impl RngCore for Trng {
                fn next_u32(&mut self) -> u32 {
                    impls::next_u32_via_fill(self)
                }

                fn next_u64(&mut self) -> u64 {
                    impls::next_u64_via_fill(self)
                }

                fn fill_bytes(&mut self, bytes: &mut [u8]) {
                    assert!(self.try_fill_bytes(bytes).is_ok(), "the random number generator has failed");
                }

                fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
                    for chunk in bytes.chunks_mut(4) {
                        let word = self.word().ok_or_else(super::failed)?.to_le_bytes();
                        chunk.copy_from_slice(&word[..chunk.len()]);
                    }
                    Ok(())
                }
            }

            impl CryptoRng for Trng {}
        }
    };
}

die!(die_02, "psoc6-02", psoc_pac_psoc6_02);
die!(die_03, "psoc6-03", psoc_pac_psoc6_03);
die!(die_04, "psoc6-04", psoc_pac_psoc6_04);

fn failed() -> rand_core::Error {
    core::num::NonZeroU32::MIN.saturating_add(rand_core::Error::CUSTOM_START).into()
}
