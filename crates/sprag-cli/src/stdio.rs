//! Standard output and standard error, whose readers may have gone and whose disks may be full.
//!
//! The standard library's `println!` and `eprintln!` panic there. In this program these names stand for macros that do not:
//! what could not be written is noted, and [`failure`] tells it when the command has come to its end.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What became of standard output.
#[derive(Debug, Default)]
struct State {
    /// Something was written, or was to be.
    used: bool,
    /// The first error. Nothing is written after it.
    failure: Option<String>,
}

static STDOUT: Mutex<State> = Mutex::new(State { used: false, failure: None });

fn state() -> MutexGuard<'static, State> {
    STDOUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard output. An error is reported once, to whoever writes, and remembered.
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
        // At once, not when the process ends, where nobody hears of an error.
        self.run(|out| out.write_all(bytes).and_then(|()| out.flush()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run(|out| out.flush())
    }
}

/// Why standard output could not be written, if that is so.
pub(crate) fn failure() -> Option<String> {
    state().failure.clone()
}

/// Notes an error of whoever wrote to standard output in another way.
pub(crate) fn failed(error: &io::Error) {
    let mut state = state();
    state.used = true;
    state.failure.get_or_insert_with(|| error.to_string());
}

/// Whether anything was printed.
pub(crate) fn is_used() -> bool {
    state().used
}

/// What `println!` stands for.
pub(crate) fn print_line(line: Arguments<'_>) {
    // Remembered for the end of the program.
    let _ = Stdout.write_all(format!("{line}\n").as_bytes());
}

/// What `eprintln!` stands for.
pub(crate) fn print_error_line(line: Arguments<'_>) {
    // There is nowhere else to complain. The exit code stays what it is.
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Prints a line to standard output; what keeps it from being written is told by [`failure`].
macro_rules! println {
    ($($text:tt)*) => {
        $crate::stdio::print_line(format_args!($($text)*))
    };
}

/// Prints a line to standard error, if it can be written.
macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::stdio::print_error_line(format_args!($($text)*))
    };
}
