//! The serial memory interface as an SPI device, for [`SerialNor`](crate::SerialNor): one data line, by commands, with its
//! mapping into memory (XIP) off.
//!
//! Source: Infineon's peripheral driver library (`cy_smif.c`), first version of the block.

use embedded_hal_async::spi::{Error, ErrorKind};

/// Entries of the command FIFO, in bits 18 and up.
const TRANSMIT: u32 = 0 << 18;
const RECEIVE: u32 = 2 << 18;
/// The select line goes back after this byte.
const LAST: u32 = 1 << 15;
/// How many entries the command FIFO has.
const COMMANDS: u8 = 4;
/// The most bytes that are received by one command.
const RECEIVE_MAX: usize = 0x1_0000;
/// How often a FIFO is looked at that does not move, before the block is taken to be stuck.
const LOOKS: u32 = 1_000_000;

/// Why a transfer did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SmifError {
    /// Only writes, and a read of up to 65,536 bytes at the end, go by this interface.
    Unsupported,
    /// The block does not move: no clock.
    Stuck,
}

impl core::fmt::Display for SmifError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unsupported => f.write_str("only writes and a read after them go by the serial memory interface"),
            Self::Stuck => f.write_str("the serial memory interface does not move"),
        }
    }
}

impl core::error::Error for SmifError {}

impl Error for SmifError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

macro_rules! die {
    ($module:ident, $feature:literal, $pac:ident) => {
        #[cfg(feature = $feature)]
        pub(super) mod $module {
            use embedded_hal_async::spi::{ErrorType, Operation, SpiDevice};
            use $pac::{SMIF0, smif};

            use super::{COMMANDS, LAST, LOOKS, RECEIVE, RECEIVE_MAX, SmifError, TRANSMIT};

            /// A device on the serial memory interface, whose pins and clock are set up by others.
            #[derive(Debug)]
            pub struct Smif {
                /// Its select line, in bits 8 to 11.
                select: u32,
            }

            impl Smif {
                /// Switches the interface on, out of XIP, for the device on this one of its four select lines.
                ///
                /// # Safety
                /// The part has the interface and nothing else uses it: no code and no data lies in what it maps.
                ///
                /// # Panics
                /// When there is no such line.
                pub unsafe fn new(line: usize) -> Self {
                    // SAFETY: the interface is the caller's; XIP is switched off while the block is.
                    unsafe {
                        SMIF0.ctl().init(|register| register);
                        SMIF0.device().get(line).ctl().init(|register| register.enabled().set(true));
                        SMIF0.ctl().init(|register| {
                            let register = register.clock_if_rx_sel().set(1).deselect_delay().set(7);
                            register.enabled().set(smif::ctl::Enabled::ENABLED)
                        });
                    }
                    Self { select: 1 << (8 + line) }
                }

                fn command(&mut self, entry: u32) -> Result<(), SmifError> {
                    // SAFETY: reading the status changes nothing.
                    let room = || unsafe { SMIF0.tx_cmd_fifo_status().read().used3().get() < COMMANDS };
                    if !(0..LOOKS).any(|_| room()) {
                        return Err(SmifError::Stuck);
                    }
                    // SAFETY: there is room in the FIFO.
                    unsafe { SMIF0.tx_cmd_fifo_wr().init(|register| register.data20().set(entry)) };
                    Ok(())
                }

                fn receive(&mut self, bytes: &mut [u8]) -> Result<(), SmifError> {
                    let count = u32::try_from(bytes.len() - 1).map_err(|_| SmifError::Unsupported)?;
                    self.command(RECEIVE | count)?;
                    for byte in bytes {
                        // SAFETY: reading the status changes nothing.
                        let waiting = || unsafe { SMIF0.rx_data_fifo_status().read().used4().get() > 0 };
                        if !(0..LOOKS).any(|_| waiting()) {
                            return Err(SmifError::Stuck);
                        }
                        // SAFETY: there is a byte in the FIFO, which reading takes out.
                        *byte = unsafe { SMIF0.rx_data_fifo_rd1().read().data0().get() };
                    }
                    Ok(())
                }

                fn run(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SmifError> {
                    let (last, before) = operations.split_last_mut().ok_or(SmifError::Unsupported)?;
                    // Nothing is sent of what can't be sent whole. A transfer begins with a byte that is transmitted.
                    let writes = before.iter().all(|operation| matches!(operation, Operation::Write(_)));
                    let begins = before.iter().any(|operation| matches!(operation, Operation::Write([_, ..])));
                    match last {
                        Operation::Write([_, ..]) if writes => {}
                        Operation::Read(bytes) if writes && begins && (1..=RECEIVE_MAX).contains(&bytes.len()) => {}
                        _ => return Err(SmifError::Unsupported),
                    }
                    for operation in before {
                        if let Operation::Write(bytes) = operation {
                            for byte in *bytes {
                                self.command(TRANSMIT | self.select | u32::from(*byte))?;
                            }
                        }
                    }
                    match last {
                        Operation::Write([bytes @ .., end]) => {
                            for byte in bytes {
                                self.command(TRANSMIT | self.select | u32::from(*byte))?;
                            }
                            self.command(TRANSMIT | LAST | self.select | u32::from(*end))?;
                        }
                        Operation::Read(bytes) => self.receive(bytes)?,
                        _ => return Err(SmifError::Unsupported),
                    }
                    // SAFETY: reading the status changes nothing.
                    let idle = || unsafe { !SMIF0.status().read().busy().get() };
                    if (0..LOOKS).any(|_| idle()) { Ok(()) } else { Err(SmifError::Stuck) }
                }
            }

            impl ErrorType for Smif {
                type Error = SmifError;
            }

            /// Takes writes, and a read at the end. Does not yield: 256 bytes take some 100 us at 25 MHz.
            impl SpiDevice for Smif {
                async fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SmifError> {
                    let done = self.run(operations);
                    if done == Err(SmifError::Stuck) {
                        // SAFETY: empties the FIFOs and lets go of the select line; the settings are kept.
                        unsafe {
                            SMIF0.ctl().modify(|register| register.enabled().set(smif::ctl::Enabled::DISABLED));
                            SMIF0.ctl().modify(|register| register.enabled().set(smif::ctl::Enabled::ENABLED));
                        }
                    }
                    done
                }
            }
        }
    };
}

die!(die_01, "psoc6-01", psoc_pac_psoc6_01);
die!(die_02, "psoc6-02", psoc_pac_psoc6_02);
die!(die_03, "psoc6-03", psoc_pac_psoc6_03);
die!(die_04, "psoc6-04", psoc_pac_psoc6_04);
