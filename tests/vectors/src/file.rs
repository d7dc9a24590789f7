//! Reading of vector files, and of the flash contents in them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use lzma_rust2::XzReader;

/// Returns the lines of a file of vectors: plain text, or compressed with xz when its name ends in `.xz`.
///
/// # Errors
/// The file cannot be opened. A line that cannot be read is an error of the iterator.
pub fn read(path: &Path) -> Result<Box<dyn Iterator<Item = Result<String>> + Send>> {
    let file = BufReader::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?);
    let compressed = path.extension().is_some_and(|extension| extension == "xz");
    let reader: Box<dyn BufRead + Send> =
        if compressed { Box::new(BufReader::new(XzReader::new(file, true))) } else { Box::new(file) };
    let name = path.display().to_string();
    Ok(Box::new(reader.lines().map(move |line| line.with_context(|| format!("cannot read {name}")))))
}

/// Returns the bytes of a flash that a vector has as base64 of zlib.
///
/// # Errors
/// The text is not base64, or what it stands for is not zlib.
pub fn decode_flash(text: &str) -> Result<Vec<u8>> {
    let compressed = STANDARD.decode(text).context("the flash is not base64")?;
    let mut bytes = Vec::new();
    ZlibDecoder::new(&compressed[..]).read_to_end(&mut bytes).context("the flash is not zlib")?;
    Ok(bytes)
}

/// Returns the files of vectors that come with the project, sorted by name.
///
/// # Errors
/// Their folder cannot be read.
pub fn supplied() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".jsonl.xz") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
