//! The high-water mark of the stack: painted before, looked at after.

use core::mem::size_of;

use cortex_m::register::msp;

const PAINT: u32 = 0xc0de_5eed;

/// How far down the paint goes: what needs more is told as this much.
pub const DEPTH: usize = 16 << 10;

/// Left alone above the paint, for the frame of whoever paints and looks.
const MARGIN: usize = 256;

/// How many bytes of stack `work` needs at the most, counted from the frame of its caller.
#[inline(never)]
pub fn used(work: &mut dyn FnMut()) -> usize {
    let top = msp::read() as usize & !(size_of::<u32>() - 1);
    let bottom = top - DEPTH;
    paint(bottom, top - MARGIN);
    work();
    top - first_change(bottom, top - MARGIN)
}

#[inline(never)]
fn paint(bottom: usize, end: usize) {
    for at in (bottom..end).step_by(size_of::<u32>()) {
        // SAFETY: an aligned word between the end of the static data, 4 MiB of RAM further down, and the stack pointer,
        // `MARGIN` further up: nobody's. Interrupts are never enabled.
        unsafe { (at as *mut u32).write_volatile(PAINT) };
    }
}

#[inline(never)]
fn first_change(bottom: usize, end: usize) -> usize {
    let painted = |at: &usize| {
        // SAFETY: as above; whatever a returned call has left in the word is a number.
        unsafe { (*at as *const u32).read_volatile() == PAINT }
    };
    (bottom..end).step_by(size_of::<u32>()).find(|at| !painted(at)).unwrap_or(end)
}
