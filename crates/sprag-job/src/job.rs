//! A job as a document describes it.

use core::iter::FusedIterator;

use crate::dialect::{self, Dialect};
use crate::identity::Identity;
use crate::json::Elements;
use crate::out::{TooSmall, Words};
use crate::status::Status;
use crate::text::Text;

/// An update that the cloud asks for. It borrows from its document.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) id: Text<'a>,
    pub(crate) version: Option<Text<'a>>,
    pub(crate) hardware: Option<Text<'a>>,
    pub(crate) elements: Elements<'a>,
}

impl<'a> Job<'a> {
    /// What the cloud knows the job by and reports name: `ack` in IoTConnect, a GUID of up to 36 characters by its
    /// documentation, of any length here. Brokers deliver twice: deduplicate by it.
    pub fn id(&self) -> Text<'a> {
        self.id
    }

    /// The dialect the document is written in, and reports will be.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The version of the new firmware, in whatever form its makers write it: `sw` in IoTConnect.
    pub fn version(&self) -> Option<Text<'a>> {
        self.version
    }

    /// The hardware it is for: `hw` in IoTConnect.
    pub fn hardware(&self) -> Option<Text<'a>> {
        self.hardware
    }

    /// What is to be downloaded, in the document's order: one artifact or more, without an upper limit. Each call walks
    /// the document anew; nothing is stored.
    pub fn artifacts(&self) -> Artifacts<'a> {
        Artifacts { dialect: self.dialect, elements: self.elements }
    }

    /// What stays the same when the cloud sends the same update again: FNV-1a, 64 bits, over dialect, version,
    /// hardware, and name and tag of each artifact. A record of bytes downloaded so far can be kept under it.
    ///
    /// Neither the URLs count, which are signed afresh each time, nor IoTConnect's `ack`, which is new each time: else
    /// every resend would throw away what is there already. Two updates may therefore share an identity, surely so when
    /// the documents name no version and no file; whoever resumes a download must pin it by size and ETag as well, and
    /// verify the image that comes out of it.
    ///
    /// The value for a given job does not change between releases, so it may be stored.
    pub fn identity(&self) -> u64 {
        let mut identity = Identity::new();
        identity.str(self.dialect.name());
        identity.text(self.version);
        identity.text(self.hardware);
        for artifact in self.artifacts() {
            identity.text(artifact.name);
            identity.text(artifact.tag);
        }
        identity.finish()
    }

    /// Writes the report to publish for this job to the start of `out`: exactly its bytes, nothing after them.
    /// `message` is free text for people; it is escaped, never shortened, and may be empty.
    ///
    /// IoTConnect: `{"d":{"ack":"<id>","type":1,"st":2,"msg":"<message>"}}`, for the ack topic of device message 2.1.
    ///
    /// # Errors
    /// [`TooSmall`] with the size of `out` that would do; what lies in `out` then means nothing.
    pub fn report<'b>(&self, status: Status, message: &str, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
        dialect::write(self.dialect, Words::Quoted(self.id), None, status, message, out)
    }

    /// As [`report`](Self::report), for the child device behind this gateway that has the tag `child`
    /// ([`Artifact::tag`]): `cid` after `ack` in IoTConnect.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub fn report_for_child<'b>(
        &self,
        child: Text<'_>,
        status: Status,
        message: &str,
        out: &'b mut [u8],
    ) -> Result<&'b str, TooSmall> {
        dialect::write(self.dialect, Words::Quoted(self.id), Some(Words::Quoted(child)), status, message, out)
    }
}

/// One file of a [`Job`].
#[derive(Debug, Clone, Copy)]
pub struct Artifact<'a> {
    pub(crate) url: Text<'a>,
    pub(crate) name: Option<Text<'a>>,
    pub(crate) tag: Option<Text<'a>>,
    pub(crate) size: Option<u64>,
}

impl<'a> Artifact<'a> {
    /// Where it lies: `http://` or `https://`, a host, and then printable ASCII of any length. Percent escapes are as
    /// the cloud wrote them and must reach the server so, for the signature covers them; JSON's escapes are undone by
    /// [`Text::bytes`].
    pub fn url(&self) -> Text<'a> {
        self.url
    }

    /// The file's name: `fileName` in IoTConnect.
    pub fn name(&self) -> Option<Text<'a>> {
        self.name
    }

    /// The child device it is for, when a gateway gets the job: `tg` in IoTConnect.
    pub fn tag(&self) -> Option<Text<'a>> {
        self.tag
    }

    /// Its size in bytes. IoTConnect never says.
    pub fn size(&self) -> Option<u64> {
        self.size
    }
}

/// The artifacts of a job, read from the document one at a time. Made by [`Job::artifacts`].
#[derive(Debug, Clone)]
pub struct Artifacts<'a> {
    dialect: Dialect,
    elements: Elements<'a>,
}

impl<'a> Iterator for Artifacts<'a> {
    type Item = Artifact<'a>;

    fn next(&mut self) -> Option<Artifact<'a>> {
        dialect::artifact(self.dialect, self.elements.next()?)
    }
}

impl FusedIterator for Artifacts<'_> {}
