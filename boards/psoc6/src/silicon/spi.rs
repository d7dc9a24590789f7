//! A serial communication block as SPI master: for a network chip, say. By polls, and yielding between them.
//!
//! Source: Infineon's peripheral driver library (`cy_scb_spi.c`, `cy_sysclk.c`).

/// How many bytes either FIFO holds in byte mode.
const FIFO: usize = 128;
/// Bus clocks for each half of a bit, less one: the least that a master can do with.
const OVERSAMPLING: u8 = 4;

macro_rules! die {
    ($module:ident, $feature:literal, $pac:ident) => {
        #[cfg(feature = $feature)]
        pub(super) mod $module {
            use core::cell::Cell;
            use core::convert::Infallible;
            use core::num::NonZeroU8;

            use embassy_futures::yield_now;
            use embedded_hal_async::spi::{ErrorType, SpiBus};
            use $pac::{PERI, Scb, scb};

            use super::{FIFO, OVERSAMPLING};

            /// An SPI master, mode 0, most significant bit first. Its pins and its chip select are set up by others.
            pub struct Spi(Scb);

            impl core::fmt::Debug for Spi {
                fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    f.write_str("Spi")
                }
            }

            impl Spi {
                /// Makes a serial block an SPI master. `number` is that of the block; its clock comes from this one of the
                /// 8-bit dividers and is a quarter of the peripheral clock, divided by `by`.
                ///
                /// # Safety
                /// The part has this block under this number, and this divider, and nothing else uses either.
                pub unsafe fn new(block: Scb, number: usize, divider: u8, by: NonZeroU8) -> Self {
                    let command = PERI.div_cmd();
                    // SAFETY: the divider and the block are the caller's. A divider is set while it is off, and switched on
                    // when the block is assigned to it; 8-bit dividers are of type 0.
                    unsafe {
                        command.init(|register| register.div_sel().set(divider).type_sel().set(0).disable().set(true));
                        PERI.div_8_ctl()
                            .get(usize::from(divider))
                            .init(|register| register.int8_div().set(by.get() - 1));
                        PERI.clock_ctl().get(number).init(|register| register.div_sel().set(divider).type_sel().set(0));
                        command.init(|register| {
                            let register = register.div_sel().set(divider).type_sel().set(0);
                            register.pa_div_sel().set(u8::MAX).pa_type_sel().set(3).enable().set(true)
                        });
                        block.ctrl().init(|register| {
                            let register = register.ovs().set(OVERSAMPLING - 1).byte_mode().set(true);
                            register.mode().set(scb::ctrl::Mode::SPI)
                        });
                        block.spi_ctrl().init(|register| {
                            let register = register.ssel_continuous().set(true).late_miso_sample().set(true);
                            register.master_mode().set(true)
                        });
                        block.rx_ctrl().init(|register| register.msb_first().set(true).data_width().set(7));
                        block.tx_ctrl().init(|register| register.msb_first().set(true).data_width().set(7));
                        block.ctrl().modify(|register| register.enabled().set(true));
                    }
                    Self(block)
                }

                /// Sends `length` bytes, and takes as many.
                async fn exchange(
                    &mut self,
                    length: usize,
                    out: impl Fn(usize) -> u8,
                    mut take: impl FnMut(usize, u8),
                ) {
                    // SAFETY: throws away what a dropped exchange has left in the FIFOs.
                    unsafe {
                        self.0.tx_fifo_ctrl().init(|register| register.clear().set(true));
                        self.0.rx_fifo_ctrl().init(|register| register.clear().set(true));
                        self.0.tx_fifo_ctrl().init(|register| register);
                        self.0.rx_fifo_ctrl().init(|register| register);
                    }
                    let (mut sent, mut taken) = (0, 0);
                    while taken < length {
                        // No more under way than one FIFO holds, so that neither overflows.
                        while sent < length && sent - taken < FIFO {
                            // SAFETY: there is room in the FIFO.
                            unsafe { self.0.tx_fifo_wr().init(|register| register.data().set(out(sent).into())) };
                            sent += 1;
                        }
                        // SAFETY: reading the status changes nothing.
                        let waiting = unsafe { self.0.rx_fifo_status().read().used().get() };
                        for _ in 0..waiting {
                            // SAFETY: there is a byte in the FIFO, which reading takes out.
                            let [byte, _] = unsafe { self.0.rx_fifo_rd().read().data().get() }.to_le_bytes();
                            take(taken, byte);
                            taken += 1;
                        }
                        if waiting == 0 {
                            yield_now().await;
                        }
                    }
                }
            }

            impl ErrorType for Spi {
                type Error = Infallible;
            }

            /// # Cancellation safety
            /// Dropped early, some of the bytes have gone out; the next call begins with empty FIFOs.
            impl SpiBus for Spi {
                async fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
                    self.transfer(words, &[]).await
                }

                async fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
                    self.transfer(&mut [], words).await
                }

                async fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Infallible> {
                    let length = read.len().max(write.len());
                    let out = |at| write.get(at).copied().unwrap_or_default();
                    let take = |at, byte| {
                        if let Some(place) = read.get_mut(at) {
                            *place = byte;
                        }
                    };
                    self.exchange(length, out, take).await;
                    Ok(())
                }

                async fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
                    let words = Cell::from_mut(words).as_slice_of_cells();
                    self.exchange(words.len(), |at| words[at].get(), |at, byte| words[at].set(byte)).await;
                    Ok(())
                }

                /// Every exchange ends with its last byte.
                async fn flush(&mut self) -> Result<(), Infallible> {
                    Ok(())
                }
            }
        }
    };
}

die!(die_01, "psoc6-01", psoc_pac_psoc6_01);
die!(die_02, "psoc6-02", psoc_pac_psoc6_02);
die!(die_03, "psoc6-03", psoc_pac_psoc6_03);
die!(die_04, "psoc6-04", psoc_pac_psoc6_04);
