//! Standard output and standard error that may be closed, or redirected to a full disk.
//!
//! The standard library's `println!` and `eprintln!` panic on such errors. The macros of the same names in this file do not:
//! they remember the first error, and [`failure`] returns it at the end of the program.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The state of standard output.
#[derive(Debug, Default)]
struct State {
    /// Something was written, or an attempt was made.
    used: bool,
    /// The first error. Nothing is written after it.
    failure: Option<String>,
}

static STDOUT: Mutex<State> = Mutex::new(State { used: false, failure: None });

fn state() -> MutexGuard<'static, State> {
    STDOUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard output. The first error is remembered, and nothing is written after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stdout;

impl Stdout {
    fn run<T>(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> io::Result<T> {
        let mut state = state();
        state.used = true;
        if state.failure.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut out = io::stdout().lock();
        write(&mut out).inspect_err(|error| state.failure = Some(error.to_string()))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Flushed at once: an error at the exit of the process would be lost.
        self.run(|out| out.write_all(bytes).and_then(|()| out.flush()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run(|out| out.flush())
    }
}

/// Returns the first error on standard output.
pub(crate) fn failure() -> Option<String> {
    state().failure.clone()
}

/// Records an error of a write to standard output that bypassed [`Stdout`].
pub(crate) fn failed(error: &io::Error) {
    let mut state = state();
    state.used = true;
    state.failure.get_or_insert_with(|| error.to_string());
}

/// Returns whether anything was printed.
pub(crate) fn is_used() -> bool {
    state().used
}

/// Implements `println!`.
pub(crate) fn print_line(line: Arguments<'_>) {
    // Remembered for the end of the program.
    let _ = Stdout.write_all(format!("{line}\n").as_bytes());
}

/// Implements `eprintln!`.
pub(crate) fn print_error_line(line: Arguments<'_>) {
    // There is no other channel to report this on. The exit code does not change.
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Prints a line to standard output. [`failure`] returns the error, if there was one.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::stdio::print_line(format_args!($($text)*))
    };
}

/// Prints a line to standard error and ignores errors.
macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::stdio::print_error_line(format_args!($($text)*))
    };
}
