//! A raw file behind a flash, locked, and written before an operation returns.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::FlashError;

#[derive(Debug)]
pub(super) struct Backing {
    path: PathBuf,
    file: File,
    /// Set while a change is to reach the file as a whole or not at all.
    pub(super) atomic: bool,
}

impl Backing {
    pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        lock(&file)?;
        Ok(Self { path: path.to_owned(), file, atomic: false })
    }

    pub(super) fn open(path: &Path, capacity: u32) -> io::Result<(Self, Vec<u8>)> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        lock(&file)?;
        #[cfg(unix)]
        {
            // A device that was just swapped has another file under this name by now.
            use std::os::unix::fs::MetadataExt;
            if file.metadata()?.ino() != fs::metadata(path)?.ino() {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "in use by another process"));
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.len() != capacity as usize {
            let message = format!("{} bytes long, but the flash has {capacity}", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok((Self { path: path.to_owned(), file, atomic: false }, bytes))
    }

    pub(super) fn persist(&mut self, bytes: &[u8], range: Range<usize>) -> Result<(), FlashError> {
        if self.atomic {
            return Ok(());
        }
        let mut write = || {
            self.file.seek(SeekFrom::Start(range.start as u64))?;
            self.file.write_all(&bytes[range.clone()])
        };
        write().map_err(|e| FlashError::File(e.to_string()))
    }

    pub(super) fn replace(&mut self, bytes: &[u8]) -> Result<(), FlashError> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let fresh = self.path.with_file_name(name);
        let mut replace = || {
            let mut new = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&fresh)?;
            new.write_all(bytes)?;
            lock(&new)?;
            fs::rename(&fresh, &self.path)?;
            self.file = new;
            Ok(())
        };
        replace().map_err(|e: io::Error| FlashError::File(e.to_string()))
    }
}

fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(io::ErrorKind::ResourceBusy, "in use by another process"),
        TryLockError::Error(error) => error,
    })
}
