//! Reading flash by its address.

/// Reads memory byte by byte, as what it is to be read: not to be taken out, merged or repeated by the compiler.
///
/// # Safety
/// `bytes.len()` bytes from `address` on must be readable.
pub(super) unsafe fn copy(address: u32, bytes: &mut [u8]) {
    let from = core::ptr::with_exposed_provenance::<u8>(address as usize);
    for (index, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: by the caller's word.
        *byte = unsafe { from.add(index).read_volatile() };
    }
}
