//! Single operations of a flash, which the state machines ask for and a driver executes.

use embedded_storage_async::nor_flash::NorFlashErrorKind;

/// An operation of a flash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) action: Action,
    /// Where it begins, in bytes from the start of the flash.
    pub(crate) at: u32,
    /// Its length in bytes.
    pub(crate) length: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Reads to the front of the scratch buffer.
    Read,
    /// Programs the data, or else the front of the scratch buffer.
    Program,
    Erase,
}

/// What came of an operation.
pub(crate) type Outcome = Result<(), NorFlashErrorKind>;

impl Operation {
    pub(crate) const NONE: Self = Self { action: Action::Read, at: 0, length: 0 };
}

/// Executes an operation: `execute!(operation, flash, scratch, data, await)`, or without `await` on a flash that blocks.
///
/// A macro, so that asynchronous and blocking callers have the same code, and no future stands between them and the driver's.
macro_rules! execute {
    ($operation:expr, $flash:expr, $scratch:expr, $data:expr $(, $await:tt)?) => {{
        let $crate::operation::Operation { action, at, length } = $operation;
        let bytes = $crate::operation::size(length);
        let outcome = match action {
            $crate::operation::Action::Read => {
                $flash.read(at, $scratch.get_mut(..bytes).unwrap_or_default())$(.$await)?
            }
            $crate::operation::Action::Program => {
                $flash.write(at, $data.get(..bytes).unwrap_or_default())$(.$await)?
            }
            $crate::operation::Action::Erase => $flash.erase(at, at.saturating_add(length))$(.$await)?,
        };
        outcome.map_err(|error| error.kind())
    }};
}
pub(crate) use execute;

/// Returns a length in flash as the length of a slice.
pub(crate) fn size(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Returns the length of a slice as a length in flash.
pub(crate) fn length(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Copies as many bytes as both have.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Returns how many bytes at the front are of one value.
pub(crate) fn run_of(bytes: &[u8], value: u8) -> usize {
    bytes.iter().take_while(|byte| **byte == value).count()
}

/// Returns how many bytes at the front of both are the same.
#[inline(never)]
pub(crate) fn prefix(bytes: &[u8], others: &[u8]) -> usize {
    bytes.iter().zip(others).take_while(|(byte, other)| byte == other).count()
}
