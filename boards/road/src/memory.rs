//! Where an MQTT message lies while it is looked at.

use core::slice;

use rust_mqtt::buffer::BufferProvider;

/// Static memory that is handed out piece by piece, and taken back as a whole.
pub(crate) struct Memory {
    memory: &'static mut [u8],
    used: usize,
}

/// The memory is full.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Full;

impl Memory {
    pub(crate) fn new(memory: &'static mut [u8]) -> Self {
        Self { memory, used: 0 }
    }

    /// Takes back all that was handed out. Only for [`RustMqtt`](sprag::mqtt::RustMqtt), which calls it when nothing of it
    /// is in use any more.
    pub(crate) fn release(&mut self) {
        self.used = 0;
    }
}

impl<'a> BufferProvider<'a> for Memory {
    type Buffer = &'a mut [u8];
    type ProvisionError = Full;

    fn provide_buffer(&mut self, length: usize) -> Result<&'a mut [u8], Full> {
        let piece = self.memory.get_mut(self.used..).and_then(|rest| rest.get_mut(..length)).ok_or(Full)?;
        self.used += length;
        // SAFETY: the piece lies in memory that lives for ever and that nobody else has, and no two pieces overlap until
        // `release`, which is called when no piece is in use.
        Ok(unsafe { slice::from_raw_parts_mut(piece.as_mut_ptr(), length) })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn pieces_do_not_overlap_and_come_back() {
        let mut memory = Memory::new(std::boxed::Box::leak(std::boxed::Box::new([0; 8])));
        for _ in 0..2 {
            let (a, b) = (memory.provide_buffer(3).unwrap(), memory.provide_buffer(5).unwrap());
            a.fill(1);
            b.fill(2);
            assert_eq!((&a[..], &b[..]), (&[1; 3][..], &[2; 5][..]));
            assert!(memory.provide_buffer(1).is_err());
            memory.release();
        }
        assert!(memory.provide_buffer(9).is_err());
        assert!(memory.provide_buffer(usize::MAX).is_err());
    }
}
