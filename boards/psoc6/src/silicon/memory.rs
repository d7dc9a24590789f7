//! The memory that the ROM reads and writes: it must stay where it is for as long as a call is under way, whatever becomes
//! of the future that waits for it. So there is one, for ever.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering, fence};

use crate::part::ROW;

#[repr(C, align(4))]
struct Memory {
    context: UnsafeCell<[u32; 4]>,
    row: UnsafeCell<[u8; ROW]>,
}

// SAFETY: only the one `Shared` that there is reaches into it, from one place at a time.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory { context: UnsafeCell::new([0; 4]), row: UnsafeCell::new([0; ROW]) };
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The right to use the memory. There is one of them.
#[derive(Debug)]
pub(super) struct Shared(());

impl Shared {
    /// The memory, unless it has been taken before.
    pub(super) fn take() -> Option<Self> {
        (!TAKEN.swap(true, Ordering::AcqRel)).then_some(Self(()))
    }

    /// Where the context and the row lie.
    pub(super) fn addresses(&self) -> [usize; 2] {
        [MEMORY.context.get().expose_provenance(), MEMORY.row.get().expose_provenance()]
    }

    /// Puts a context where the ROM takes it from.
    pub(super) fn set_context(&mut self, words: [u32; 4]) {
        // SAFETY: no call is under way (`SystemCalls::start`), so that the ROM does not use it; and this is the only
        // `Shared`. Volatile, because the ROM reads it behind the compiler's back.
        unsafe { MEMORY.context.get().write_volatile(words) };
        // Before the ROM is told of it: for the compiler and for the bus.
        fence(Ordering::SeqCst);
    }

    /// The first word of the context.
    pub(super) fn status(&mut self) -> u32 {
        fence(Ordering::SeqCst);
        // SAFETY: aligned and initialised. The ROM may write the word meanwhile, hence the volatile read; a word is read
        // whole.
        unsafe { MEMORY.context.get().cast::<u32>().read_volatile() }
    }

    /// Puts a row where the ROM takes it from.
    pub(super) fn set_row(&mut self, data: &[u8; ROW]) {
        // SAFETY: no call is under way (`SystemCalls::set_row`), so that the ROM does not read it; and this is the only
        // `Shared`. Volatile, because the ROM reads it behind the compiler's back.
        unsafe { MEMORY.row.get().write_volatile(*data) };
        fence(Ordering::SeqCst);
    }
}

/// Reads flash. It changes behind the compiler's back, so that each byte is read anew.
///
/// # Safety
/// `address` and as many bytes as there are must be memory that can be read.
pub(super) unsafe fn read(address: u32, bytes: &mut [u8]) {
    let from = ptr::with_exposed_provenance::<u8>(usize::try_from(address).unwrap_or_default());
    for (at, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: within what the caller vouches for.
        *byte = unsafe { from.add(at).read_volatile() };
    }
}
