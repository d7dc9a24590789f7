//! A chip's flash, network, time and keys, which the compiler can't see through.
#![allow(dead_code)] // Each program takes what it needs.

use core::hint::black_box;
use core::net::{IpAddr, SocketAddr};

use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use embedded_storage_async::nor_flash::{self, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// Flash, of whatever size.
pub struct Flash;

impl nor_flash::ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }

    fn capacity(&self) -> usize {
        black_box(0x10_0000)
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        black_box((from, to));
        black_box(Ok(()))
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        black_box((offset, bytes));
        black_box(Ok(()))
    }
}

/// A network, and a connection in it.
pub struct Net;

impl ErrorType for Net {
    type Error = ErrorKind;
}

impl Read for Net {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        black_box(bytes);
        black_box(Ok(0))
    }
}

impl Write for Net {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        black_box(bytes);
        black_box(Ok(0))
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        black_box(Ok(()))
    }
}

impl TcpConnect for Net {
    type Error = ErrorKind;
    type Connection<'a> = Net;

    async fn connect(&self, remote: SocketAddr) -> Result<Net, ErrorKind> {
        black_box(remote);
        black_box(Ok(Net))
    }
}

impl Dns for Net {
    type Error = ErrorKind;

    async fn get_host_by_name(&self, host: &str, kind: AddrType) -> Result<IpAddr, ErrorKind> {
        black_box((host, kind));
        black_box(Err(ErrorKind::Other))
    }

    async fn get_host_by_address(&self, address: IpAddr, name: &mut [u8]) -> Result<usize, ErrorKind> {
        black_box((address, name));
        black_box(Err(ErrorKind::Other))
    }
}

/// Time.
pub struct Timer;

impl DelayNs for Timer {
    async fn delay_ns(&mut self, ns: u32) {
        black_box(ns);
    }
}

/// Random numbers.
#[cfg(feature = "fetch-tls-p256")]
pub struct Random;

#[cfg(feature = "fetch-tls-p256")]
impl rand_core::RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        black_box(0)
    }

    fn next_u64(&mut self) -> u64 {
        black_box(0)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        black_box(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        black_box(bytes);
        Ok(())
    }
}

#[cfg(feature = "fetch-tls-p256")]
impl rand_core::CryptoRng for Random {}
