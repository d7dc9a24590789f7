//! One source of random numbers for several users in one task.

use core::cell::RefCell;

use rand_core::{CryptoRng, CryptoRngCore, Error, RngCore};

/// A handle to the board's source.
pub(crate) struct Shared<'r, R>(pub(crate) &'r RefCell<R>);

impl<R: CryptoRngCore> RngCore for Shared<'_, R> {
    fn next_u32(&mut self) -> u32 {
        self.0.borrow_mut().next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.borrow_mut().fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.borrow_mut().try_fill_bytes(bytes)
    }
}

impl<R: CryptoRngCore> CryptoRng for Shared<'_, R> {}
