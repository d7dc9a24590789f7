//! An incomplete download: `FILE.part`, and its record in `FILE.part.json`.
//!
//! The record has one JSON object per line. The first line marks the files as this program's and names the object:
//! `{"sprag":1,"total":1049233,"etag":"\"5d41\""}`, with nulls where the server gave no strong ETag. Each further line is
//! the digest of a segment of at most 64 KiB: `{"from":0,"to":65536,"sha256":"…"}`. A segment that grows has two lines,
//! which are written in turn, each before the bytes that it covers: a kill at any point leaves one of them valid, or the
//! segments before it. Bytes
//! behind the last segment whose digest is right are fetched again: they were never written, or did not reach the disk
//! before the power failed.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sprag::fetch::{Etag, Session};

/// The largest segment. As many bytes may be fetched again after a power failure.
const SEGMENT: u64 = 64 * 1024;
/// The length of a segment's line, filled up with blanks.
const LINE: usize = 144;
/// The first bytes of a record, and of a record of an earlier version.
const OURS: [&str; 2] = [r#"{"sprag":"#, r#"{"total":"#];
/// The version of the record.
const VERSION: u32 = 1;

/// The first line of the record.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    #[serde(default)]
    sprag: u32,
    total: Option<u64>,
    etag: Option<String>,
}

/// A further line of the record.
#[derive(Debug, Serialize, Deserialize)]
struct Segment {
    from: u64,
    to: u64,
    sha256: String,
}

/// An incomplete download. It is locked until it is dropped.
#[derive(Debug)]
pub(crate) struct PartialFile {
    path: PathBuf,
    file: File,
    record_path: PathBuf,
    record: File,
    /// Offset in the record of the open segment's lines, and which of the two is written next.
    lines_at: u64,
    is_second: bool,
    /// True when both of its lines have been written.
    has_second: bool,
    /// Start and end of the open segment, and the digest of its bytes.
    start: u64,
    length: u64,
    hash: Sha256,
}

impl PartialFile {
    /// Opens the incomplete download of `output`, or creates one. Paths that can't be written fail here, before the
    /// download.
    ///
    /// # Errors
    /// The files can't be made or written, are in use, or belong to another program.
    pub(crate) fn open(output: &Path, anew: bool) -> anyhow::Result<(Self, Session)> {
        let beside = |ending: &str| {
            let mut name = output.file_name().unwrap_or_default().to_owned();
            name.push(ending);
            output.with_file_name(name)
        };
        let (path, record_path) = (beside(".part"), beside(".part.json"));
        if let Err(error) = OpenOptions::new().write(true).open(output)
            && matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
        {
            return Err(error).with_context(|| format!("{}", output.display()));
        }
        let (record, made_record) = open_own(&record_path)?;
        let opened = Self::open_part(&path, &record_path, made_record);
        let (file, made_part) = opened.inspect_err(|_| {
            if made_record {
                let _ = fs::remove_file(&record_path);
            }
        })?;
        let mut this = Self {
            path,
            file,
            record_path,
            record,
            lines_at: 0,
            is_second: false,
            has_second: false,
            start: 0,
            length: 0,
            hash: Sha256::new(),
        };
        let session = this.recall(anew).inspect_err(|_| {
            for (path, made) in [(&this.path, made_part), (&this.record_path, made_record)] {
                if made {
                    let _ = fs::remove_file(path);
                }
            }
        })?;
        Ok((this, session))
    }

    fn open_part(path: &Path, record_path: &Path, made_record: bool) -> anyhow::Result<(File, bool)> {
        let named = || format!("{}", path.display());
        if made_record && fs::symlink_metadata(path).is_ok() {
            bail!(
                "{}: not made by sprag, there is no {} beside it; move it away, or choose another name",
                path.display(),
                record_path.display()
            );
        }
        let (file, made) = open_own(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => anyhow!("{}: in use by another process", path.display()),
            TryLockError::Error(error) => anyhow!("{}: {error}", path.display()),
        })?;
        // Another process may have completed it meanwhile: the open file then has the name of the output.
        let (here, there) = (file.metadata().with_context(named)?, fs::symlink_metadata(path));
        ensure!(there.is_ok_and(|there| is_same(&here, &there)), "{}: in use by another process", path.display());
        Ok((file, made))
    }

    /// Returns the session that the record proves, and truncates the file behind it.
    fn recall(&mut self, anew: bool) -> anyhow::Result<Session> {
        let mut text = Vec::new();
        self.record.rewind().and_then(|()| self.record.read_to_end(&mut text)).with_context(|| self.record_name())?;
        let ours = text.is_empty() || OURS.iter().any(|start| text.starts_with(start.as_bytes()));
        ensure!(ours, "{}: not made by sprag; move it away, or choose another name", self.record_name());
        if text.is_empty() {
            let length = self.file.metadata().with_context(|| self.name())?.len();
            ensure!(length == 0, "{}: not known to be sprag's; move it away, or choose another name", self.name());
        }
        let session = match anew {
            true => None,
            false => self.vouched(&text).with_context(|| self.name())?,
        };
        match session {
            Some(session) if session.offset > 0 => Ok(session),
            _ => {
                self.start_over()?;
                Ok(Session::default())
            }
        }
    }

    fn vouched(&mut self, text: &[u8]) -> io::Result<Option<Session>> {
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let Some(first) = lines.next() else { return Ok(None) };
        let header = serde_json::from_slice::<Header>(first).ok().filter(|header| header.sprag == VERSION);
        let Some(Header { total: Some(total), etag: Some(etag), .. }) = header else { return Ok(None) };
        let Ok(etag) = Etag::try_from(etag.as_str()) else { return Ok(None) };
        let mut at = first.len() as u64;
        for line in lines {
            if !self.proves(line, total)? {
                // Else it might become right later, and hide the lines behind it.
                self.record.seek(SeekFrom::Start(at))?;
                self.record.write_all(&vec![b' '; line.len() - 1])?;
            }
            at += line.len() as u64;
        }
        self.record.set_len(at)?;
        self.lines_at = at;
        // Of a complete file the last byte is fetched again, so that the server confirms the object.
        if self.length == total && total > 0 {
            self.length -= 1;
            (_, self.hash) = self.digest(self.start, self.length - self.start)?;
            if self.length > self.start {
                self.write_line(&self.hash.clone(), self.length)?;
            }
        }
        self.begin_segment();
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        Ok(Some(Session { offset: self.length, total: Some(total), etag: Some(etag) }))
    }

    /// Takes a line of the record, and returns whether the file's bytes are as it says.
    fn proves(&mut self, line: &[u8], total: u64) -> io::Result<bool> {
        let Ok(Segment { from, to, sha256 }) = serde_json::from_slice::<Segment>(line) else { return Ok(false) };
        // It follows the last segment, or is the other line of it.
        let follows = from == self.length || from == self.start;
        if !follows || to <= from || to > total || to - from > SEGMENT {
            return Ok(false);
        }
        let (read, hash) = self.digest(from, to - from)?;
        let is_right = read == to - from && hex(&hash) == sha256;
        if is_right && to > self.length {
            (self.start, self.length) = (from, to);
        }
        Ok(is_right)
    }

    /// Begins a segment behind the last one.
    fn begin_segment(&mut self) {
        let lines = u64::from(self.is_second || self.has_second) + u64::from(self.has_second);
        self.lines_at += lines * LINE as u64;
        (self.is_second, self.has_second) = (false, false);
        (self.start, self.hash) = (self.length, Sha256::new());
    }

    /// Returns how many of `length` bytes the file has from `from` on, and their digest.
    fn digest(&mut self, from: u64, length: u64) -> io::Result<(u64, Sha256)> {
        self.file.seek(SeekFrom::Start(from))?;
        let (mut hash, mut read) = (Sha256::new(), 0);
        let mut rest = (&mut self.file).take(length);
        let mut buffer = vec![0; SEGMENT as usize];
        loop {
            let count = rest.read(&mut buffer)?;
            if count == 0 {
                return Ok((read, hash));
            }
            hash.update(&buffer[..count]);
            read += count as u64;
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn record_name(&self) -> String {
        self.record_path.display().to_string()
    }

    /// Empties the file.
    pub(crate) fn start_over(&mut self) -> anyhow::Result<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).with_context(|| self.name())?;
        self.pin(&Session::default())
    }

    /// Writes the first line of the record, before the first byte of the object. Without a strong ETag the next run starts
    /// over, because it could not tell the object from another one.
    pub(crate) fn pin(&mut self, session: &Session) -> anyhow::Result<()> {
        let known = session.total.zip(session.etag.as_ref()).filter(|_| session.is_pinned());
        let header = Header {
            sprag: VERSION,
            total: known.map(|(total, _)| total),
            etag: known.map(|(_, etag)| etag.as_str().to_owned()),
        };
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        let written = self.record.rewind().and_then(|()| self.record.write_all(&line));
        written.and_then(|()| self.record.set_len(line.len() as u64)).with_context(|| self.record_name())?;
        (self.is_second, self.has_second, self.length) = (false, false, 0);
        self.lines_at = line.len() as u64;
        self.begin_segment();
        Ok(())
    }

    /// Writes the next bytes and their digests.
    ///
    /// # Errors
    /// The file system's. The bytes that were written before are kept, and recorded.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            let room = SEGMENT - (self.length - self.start);
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            self.append_to_segment(now)?;
            bytes = later;
        }
        Ok(())
    }

    fn append_to_segment(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut whole = self.hash.clone();
        whole.update(bytes);
        let recorded = self.write_line(&whole, self.length + bytes.len() as u64);
        recorded.with_context(|| self.record_name())?;
        let mut rest = bytes;
        let written = loop {
            if rest.is_empty() {
                break Ok(());
            }
            match self.file.write(rest) {
                Ok(0) => break Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let count = bytes.len() - rest.len();
        self.length += count as u64;
        if written.is_ok() {
            self.hash = whole;
            if self.length - self.start >= SEGMENT {
                self.begin_segment();
            }
        } else if count > 0 {
            self.hash.update(&bytes[..count]);
            // In the place of the line that covers more than was written. Without it, these bytes are fetched again.
            self.is_second = !self.is_second;
            let _ = self.write_line(&self.hash.clone(), self.length);
        }
        written.with_context(|| self.name())
    }

    /// Writes one of the two lines of the open segment, with its bytes up to `to`.
    fn write_line(&mut self, hash: &Sha256, to: u64) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Segment { from: self.start, to, sha256: hex(hash) })?;
        line.resize(LINE - 1, b' ');
        line.push(b'\n');
        let at = self.lines_at + if self.is_second { LINE as u64 } else { 0 };
        self.record.seek(SeekFrom::Start(at))?;
        self.record.write_all(&line)?;
        self.has_second |= self.is_second;
        self.is_second = !self.is_second;
        Ok(())
    }

    /// Keeps the bytes for the next run. Without any, both files are removed.
    pub(crate) fn leave(self) {
        if self.length == 0 {
            self.remove();
        }
    }

    fn remove(&self) {
        // The next run reports what is in the way.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.record_path);
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    /// The file system's. The download is kept.
    pub(crate) fn finish(self, output: &Path) -> anyhow::Result<()> {
        let synced = self.file.sync_all();
        synced.with_context(|| self.name())?;
        if let Ok(metadata) = fs::metadata(output) {
            // Best effort: the new file gets the mode of the one that it replaces.
            let _ = self.file.set_permissions(metadata.permissions());
        }
        match fs::rename(&self.path, output) {
            // A mount point can be written, but not replaced.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => fs::copy(&self.path, output).map(|_| ()),
            renamed => renamed,
        }
        .with_context(|| format!("{}", output.display()))?;
        self.remove();
        Ok(())
    }
}

fn hex(hash: &Sha256) -> String {
    hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a file of this program, or creates it and returns true. Links, and files with a second name, are refused.
fn open_own(path: &Path) -> anyhow::Result<(File, bool)> {
    let named = || format!("{}", path.display());
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    // Does not follow links, not even dangling ones.
    match options.clone().create_new(true).open(path) {
        Ok(file) => return Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(named),
    }
    let there = fs::symlink_metadata(path).with_context(named)?;
    let foreign = || anyhow!("{}: not made by sprag; move it away, or choose another name", path.display());
    ensure!(there.is_file() && links(&there) == 1, foreign());
    let file = options.open(path).with_context(named)?;
    // The path may have been replaced by a link in between.
    ensure!(is_same(&file.metadata().with_context(named)?, &there), foreign());
    Ok((file, false))
}

#[cfg(unix)]
fn links(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn links(_: &Metadata) -> u64 {
    1
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(total: u64) -> Session {
        Session { offset: 0, total: Some(total), etag: Etag::try_from("\"a\"").ok() }
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8 | 1).collect()
    }

    /// Makes an incomplete download of `total` bytes, written in pieces of these sizes.
    fn left(dir: &Path, total: usize, pieces: &[usize]) -> PathBuf {
        let output = dir.join("x");
        let (mut part, begun) = PartialFile::open(&output, true).expect("a file");
        assert_eq!(begun.offset, 0);
        part.pin(&session(total as u64)).expect("a record");
        let content = content(total);
        let mut at = 0;
        for piece in pieces {
            part.append(&content[at..at + piece]).expect("room");
            at += piece;
        }
        part.leave();
        output
    }

    /// After a power failure the tail of a file may be zeros, and its record may be old or torn. Whatever the damage, the
    /// bytes that are kept are the object's; without damage all are kept.
    #[test]
    fn whatever_the_power_took_is_fetched_again() {
        let total = 240_000;
        let content = content(total);
        for pieces in [&[100_000, 7, 60_000, 65_536, 1][..], &[1; 300], &[65_536; 3], &[total]] {
            let came: usize = pieces.iter().sum();
            for damage in 0..96_usize {
                let dir = tempfile::tempdir().expect("a directory");
                let output = left(dir.path(), total, pieces);
                let (part, record) = (dir.path().join("x.part"), dir.path().join("x.part.json"));
                let (mut bytes, mut text) = (fs::read(&part).expect("a file"), fs::read(&record).expect("a file"));
                let at = damage * 7919 % came;
                match damage % 8 {
                    0 => {}
                    1 => bytes.extend(vec![0; damage * 13]),
                    2 => bytes.truncate(at),
                    3 => bytes[at..].fill(0),
                    4 => bytes[at] ^= 0x80,
                    5 => text.truncate((text.len() - damage % text.len().min(200)).max(OURS[0].len())),
                    6 => {
                        let line = text.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
                        let at = line + damage % (text.len() - line);
                        text[at] = 0;
                    }
                    _ => text.extend(b"{\"from\":0,\"to\":60000,\"sha256\":\"00\"}\n"),
                }
                fs::write(&part, &bytes).expect("a file");
                fs::write(&record, &text).expect("a file");
                let (mut again, session) = PartialFile::open(&output, false).expect("goes on");
                let offset = session.offset as usize;
                let kept = fs::read(&part).expect("a file");
                assert!(kept == content[..offset], "damage {damage} of {pieces:?}: spoiled up to {offset}");
                let most = if came == total { came - 1 } else { came };
                assert!(offset <= most);
                if matches!(damage % 8, 0 | 1 | 7) {
                    assert_eq!(offset, most, "damage {damage} of {pieces:?}");
                }
                if matches!(damage % 8, 2..=4) {
                    assert!(offset + SEGMENT as usize > at, "damage {damage} at {at}: only {offset} kept");
                }
                // It goes on, and what came then is vouched for as well.
                if offset == 0 {
                    again.pin(&self::session(total as u64)).expect("a record");
                }
                again.append(&content[offset..total - 1]).expect("room");
                drop(again);
                let (whole, session) = PartialFile::open(&output, false).expect("goes on");
                assert_eq!(session.offset, total as u64 - 1);
                drop(whole);
            }
        }
    }

    /// A kill between a line of the record and its bytes, or within the bytes, again and again: every byte that was written
    /// before the last line is kept, however often it happens.
    #[test]
    fn a_kill_at_any_point_keeps_what_was_written() {
        let total = 200_000;
        let content = content(total);
        for piece in [1_000, 1_448, 16_384, 65_536] {
            let dir = tempfile::tempdir().expect("a directory");
            let output = dir.path().join("x");
            let part = dir.path().join("x.part");
            let (mut partial, _) = PartialFile::open(&output, true).expect("a file");
            partial.pin(&session(total as u64)).expect("a record");
            let (mut at, mut kills) = (0, 0);
            while at < total - 1 {
                let end = (at + piece).min(total - 1);
                partial.append(&content[at..end]).expect("room");
                if end / 7_000 != at / 7_000 && kills % 5 < 4 {
                    // The last append did not get so far: its line is there, and its bytes are not, or a part of them.
                    drop(partial);
                    let written = at + if kills % 2 == 0 { 0 } else { (end - at) / 2 };
                    let file = OpenOptions::new().write(true).open(&part).expect("a file");
                    file.set_len(written as u64).expect("a file");
                    let (mut again, session) = PartialFile::open(&output, false).expect("goes on");
                    let offset = session.offset as usize;
                    assert!(offset <= written && fs::read(&part).expect("a file") == content[..offset]);
                    assert!(offset >= at, "{piece}: {offset} of {at} bytes kept, {kills} kills");
                    if offset == 0 {
                        again.pin(&self::session(total as u64)).expect("a record");
                    }
                    (partial, at) = (again, offset);
                } else {
                    at = end;
                }
                kills += 1;
            }
        }
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let mark = "{\"sprag\":1,\"total\":null,\"etag\":null}\n";
        type Lay = fn(&Path, &str);
        let cases: &[(&str, Lay)] = &[
            ("another program's part", |dir, _| fs::write(dir.join("x.part"), "mine").expect("a file")),
            ("an empty part", |dir, _| fs::write(dir.join("x.part"), "").expect("a file")),
            ("another program's record", |dir, _| fs::write(dir.join("x.part.json"), "{\"mine\":1}").expect("a file")),
            ("both", |dir, _| {
                fs::write(dir.join("x.part"), "mine").expect("a file");
                fs::write(dir.join("x.part.json"), "[]").expect("a file");
            }),
            ("an empty record beside a part", |dir, _| {
                fs::write(dir.join("x.part"), "mine").expect("a file");
                fs::write(dir.join("x.part.json"), "").expect("a file");
            }),
            ("a directory", |dir, _| fs::create_dir(dir.join("x.part")).expect("a directory")),
            #[cfg(unix)]
            ("a link", |dir, mark| {
                fs::write(dir.join("precious"), "mine").expect("a file");
                fs::write(dir.join("x.part.json"), mark).expect("a file");
                std::os::unix::fs::symlink("precious", dir.join("x.part")).expect("a link");
            }),
            #[cfg(unix)]
            ("a link to nothing", |dir, mark| {
                fs::write(dir.join("x.part.json"), mark).expect("a file");
                std::os::unix::fs::symlink("precious", dir.join("x.part")).expect("a link");
            }),
            #[cfg(unix)]
            ("a link as record", |dir, mark| {
                fs::write(dir.join("precious"), mark).expect("a file");
                std::os::unix::fs::symlink("precious", dir.join("x.part.json")).expect("a link");
            }),
            #[cfg(unix)]
            ("a second name of a file", |dir, mark| {
                fs::write(dir.join("precious"), "mine").expect("a file");
                fs::write(dir.join("x.part.json"), mark).expect("a file");
                fs::hard_link(dir.join("precious"), dir.join("x.part")).expect("a link");
            }),
        ];
        let look = |dir: &Path| {
            let mut found: Vec<_> = fs::read_dir(dir)
                .expect("a directory")
                .map(|entry| {
                    let path = entry.expect("an entry").path();
                    (path.clone(), fs::symlink_metadata(&path).expect("there").is_symlink(), fs::read(&path).ok())
                })
                .collect();
            found.sort();
            found
        };
        for (what, lay) in cases {
            let dir = tempfile::tempdir().expect("a directory");
            lay(dir.path(), mark);
            let before = look(dir.path());
            for anew in [false, true] {
                let error = PartialFile::open(&dir.path().join("x"), anew).expect_err(what);
                assert!(error.to_string().contains("x.part"), "{what}: {error}");
                assert!(look(dir.path()) == before, "{what}: touched");
            }
        }
    }
}
