//! Files that a command writes: each is complete, or as it was before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// The number of symbolic links that are followed: Linux's own limit.
const LINKS_MAX: u32 = 40;

/// Writes `bytes` to `output`. A regular file is written beside it and then renamed, so that a failure or a kill leaves what
/// was there. Symbolic links are followed, and devices and FIFOs are written to, not replaced.
///
/// # Errors
/// The file system's.
pub fn write(output: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = match destination(output)? {
        Destination::Special(path) => {
            OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(bytes))
        }
        Destination::File(path) => replace(&path, bytes),
    };
    written.with_context(|| output.display().to_string())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Err(error) = OpenOptions::new().write(true).open(path)
        && matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    {
        return Err(error);
    }
    // Not after the output's name, which may be as long as names can be.
    let beside = path.with_file_name(format!(".sprag-{}.tmp", std::process::id()));
    let mut file = File::create_new(&beside)?;
    // Without effect once it has been renamed.
    let beside = Beside(beside);
    file.write_all(bytes)?;
    file.sync_all()?;
    if let Ok(metadata) = fs::metadata(path) {
        // Best effort: the new file gets the mode of the one that it replaces.
        let _ = file.set_permissions(metadata.permissions());
    }
    match fs::rename(&beside.0, path) {
        // A mount point can be written, but not replaced.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => fs::copy(&beside.0, path).map(|_| ()),
        renamed => renamed,
    }
}

/// A file that is removed on drop.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        // An error here has the same cause as the one that is reported.
        let _ = fs::remove_file(&self.0);
    }
}

/// The kind of file that a path names.
pub(crate) enum Destination {
    /// A regular file, or nothing yet.
    File(PathBuf),
    /// A device node or a FIFO.
    Special(PathBuf),
}

/// Follows symbolic links as `open` does, and finds out what kind of file is at the end.
pub(crate) fn destination(output: &Path) -> anyhow::Result<Destination> {
    let mut path = output.to_owned();
    for _ in 0..LINKS_MAX {
        let name = path.as_os_str().as_encoded_bytes();
        let is_folder = name.last().is_none_or(|last| std::path::is_separator(char::from(*last)));
        ensure!(!is_folder && !name.ends_with(b"/."), "{}: a directory's name, not a file's", output.display());
        match fs::metadata(&path) {
            Ok(there) if there.is_dir() => bail!("{}: a directory", output.display()),
            Ok(there) if is_special(&there) => return Ok(Destination::Special(path)),
            Ok(there) if !there.is_file() => {
                bail!("{}: not a regular file, FIFO or character device", output.display())
            }
            // Other errors are reported when the file is created.
            _ => {}
        }
        if !fs::symlink_metadata(&path).is_ok_and(|there| there.is_symlink()) {
            ensure!(path.file_name().is_some(), "{}: a directory's name, not a file's", output.display());
            return Ok(Destination::File(path));
        }
        let target = fs::read_link(&path).with_context(|| format!("{}", output.display()))?;
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    bail!("{}: too many symbolic links", output.display())
}

#[cfg(unix)]
fn is_special(there: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    there.file_type().is_char_device() || there.file_type().is_fifo()
}

#[cfg(not(unix))]
fn is_special(_: &fs::Metadata) -> bool {
    false
}
