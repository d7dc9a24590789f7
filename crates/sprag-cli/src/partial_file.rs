//! A download that is not whole yet: `FILE.part`, and beside it the record of what is known of it, `FILE.part.json`.
//!
//! The record is a text of lines, each a JSON object. The first says whose file it is and which object it is of:
//! `{"sprag":1,"total":1049233,"etag":"\"5d41\""}`, with nulls where the server did not say. Each of the others vouches for
//! the bytes from the end of the line before it up to its own: `{"to":65536,"sha256":"…"}`. What the lines do not vouch for
//! was not written, or did not reach the disk before the power failed, and is fetched again.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sprag::fetch::{Etag, Session};

/// One line of the record vouches for so many bytes at most: as many are fetched again after a loss of power.
const SEGMENT: u64 = 64 * 1024;
/// How every record of these begins, those of earlier versions included.
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
    to: u64,
    sha256: String,
}

/// A download that is not whole yet. It stays locked until it is dropped.
#[derive(Debug)]
pub(crate) struct PartialFile {
    path: PathBuf,
    file: File,
    record_path: PathBuf,
    record: File,
    /// Where the last line of the record begins.
    line_at: u64,
    /// The bytes that it vouches for: where they begin, where they end, and their digest so far.
    start: u64,
    length: u64,
    hash: Sha256,
}

impl PartialFile {
    /// Opens what an earlier run left of `output`, or begins. Everything that could keep the file from being written is found
    /// out here, before a byte of it is downloaded.
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
        let mut this = Self { path, file, record_path, record, line_at: 0, start: 0, length: 0, hash: Sha256::new() };
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
                "{}: not made by sprag, for there was no {} beside it; move it away, or choose another name",
                path.display(),
                record_path.display()
            );
        }
        let (file, made) = open_own(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => anyhow!("{}: in use by another process", path.display()),
            TryLockError::Error(error) => anyhow!("{}: {error}", path.display()),
        })?;
        // Another process may have come to its end with it meanwhile, and it bears the name of the whole file now.
        let (here, there) = (file.metadata().with_context(named)?, fs::symlink_metadata(path));
        ensure!(there.is_ok_and(|there| is_same(&here, &there)), "{}: in use by another process", path.display());
        Ok((file, made))
    }

    /// What the record vouches for of the file: the rest is cut off.
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
        self.file.rewind()?;
        let mut at = first.len() as u64;
        for line in lines {
            let Ok(Segment { to, sha256 }) = serde_json::from_slice::<Segment>(line) else { break };
            let Some(length) = to.checked_sub(self.length) else { break };
            if length == 0 || length > SEGMENT || to > total {
                break;
            }
            let (read, hash) = self.digest_next(length)?;
            if read != length || hex(&hash) != sha256 {
                break;
            }
            (self.start, self.length, self.hash, self.line_at) = (self.length, to, hash, at);
            at += line.len() as u64;
        }
        // Of a file that is whole the last byte is fetched again: whether it is this object's is for the server to say.
        if self.length == total && total > 0 {
            self.length -= 1;
            self.file.seek(SeekFrom::Start(self.start))?;
            (_, self.hash) = self.digest_next(self.length - self.start)?;
            self.record.set_len(self.line_at)?;
            if self.length > self.start {
                self.write_line()?;
            }
        } else {
            self.record.set_len(at)?;
            if self.length - self.start >= SEGMENT {
                (self.line_at, self.start, self.hash) = (at, self.length, Sha256::new());
            }
        }
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        Ok(Some(Session { offset: self.length, total: Some(total), etag: Some(etag) }))
    }

    /// The digest of so many bytes of the file, or of as many as are left.
    fn digest_next(&mut self, length: u64) -> io::Result<(u64, Sha256)> {
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

    /// Empties the file: the object is another one now, or not known.
    pub(crate) fn start_over(&mut self) -> anyhow::Result<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).with_context(|| self.name())?;
        self.pin(&Session::default())
    }

    /// Notes which object the bytes are of, before the first of them is written. Without a strong ETag the next run could not
    /// tell the object from another one: it begins anew.
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
        (self.line_at, self.start, self.length, self.hash) = (line.len() as u64, 0, 0, Sha256::new());
        Ok(())
    }

    /// Writes the next bytes, as many as there is room for, and vouches for them.
    ///
    /// # Errors
    /// The file system's. What was written before is kept, and vouched for.
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
        match written {
            Ok(()) => self.hash = whole,
            Err(_) => self.hash.update(&bytes[..count]),
        }
        self.length += count as u64;
        let recorded = if count > 0 { self.write_line() } else { Ok(()) };
        written.with_context(|| self.name())?;
        recorded.with_context(|| self.record_name())
    }

    /// Writes the last line of the record anew, and begins another where it vouches for enough.
    fn write_line(&mut self) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Segment { to: self.length, sha256: hex(&self.hash) })?;
        line.push(b'\n');
        self.record.seek(SeekFrom::Start(self.line_at))?;
        self.record.write_all(&line)?;
        if self.length - self.start >= SEGMENT {
            self.line_at += line.len() as u64;
            (self.start, self.hash) = (self.length, Sha256::new());
        }
        Ok(())
    }

    /// Leaves what came to the next run; where nothing came, nothing is left behind.
    pub(crate) fn leave(self) {
        if self.length == 0 {
            self.remove();
        }
    }

    fn remove(&self) {
        // Whatever keeps them from being removed keeps the next run from using them as well, and is said then.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.record_path);
    }

    /// Gives the whole file its name.
    ///
    /// # Errors
    /// The file system's. The download is kept.
    pub(crate) fn finish(self, output: &Path) -> anyhow::Result<()> {
        let synced = self.file.sync_all();
        synced.with_context(|| self.name())?;
        if let Ok(metadata) = fs::metadata(output) {
            // The file that is replaced keeps who may read and run it. Where that can't be, the new one is as good.
            let _ = self.file.set_permissions(metadata.permissions());
        }
        match fs::rename(&self.path, output) {
            // A file that something is mounted on can be written, but not replaced.
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

/// Opens a file of this crate's, or makes it; says which. Neither a link nor a file that has another name as well is ours.
fn open_own(path: &Path) -> anyhow::Result<(File, bool)> {
    let named = || format!("{}", path.display());
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    // Does not follow links, not even those that lead nowhere.
    match options.clone().create_new(true).open(path) {
        Ok(file) => return Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(named),
    }
    let there = fs::symlink_metadata(path).with_context(named)?;
    let foreign = || anyhow!("{}: not made by sprag; move it away, or choose another name", path.display());
    ensure!(there.is_file() && links(&there) == 1, foreign());
    let file = options.open(path).with_context(named)?;
    // A link that was laid in between.
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

    /// A download of `total` bytes of which the first came in pieces of these sizes.
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

    /// After a loss of power the tail of a file may be zeros, or anything, and its record may be old or torn: whatever is
    /// damaged and wherever, what is gone on with is the object's, and of an undamaged one everything is.
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
                    _ => text.extend(b"{\"to\":239999,\"sha256\":\"00\"}\n"),
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
