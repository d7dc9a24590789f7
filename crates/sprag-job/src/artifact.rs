//! One file of a job.

use core::fmt;

#[cfg(feature = "aws")]
use crate::aws;
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind, Path};
use crate::field::Reader;
#[cfg(feature = "iotconnect-20")]
use crate::iotconnect;
use crate::job::Head;
use crate::json::fields;
use crate::location::Location;
#[cfg(feature = "ota-update")]
use crate::ota_update;
use crate::signature::{Digest, Signature};
use crate::text::Text;

fields! {
    /// Every field that a dialect has in a list of artifacts, or in the one that could have been a list.
    ITEM, Item:
    #[cfg(any(feature = "iotconnect", feature = "iotconnect-20", feature = "aws-jobs"))]
    Url = "url",
    #[cfg(any(feature = "iotconnect", feature = "iotconnect-20"))]
    FileName = "fileName",
    #[cfg(feature = "iotconnect")]
    Tg = "tg",
    #[cfg(any(feature = "iotconnect-20", feature = "aws-jobs"))]
    Tag = "tag",
    #[cfg(feature = "aws-jobs")]
    Name = "name",
    #[cfg(feature = "aws-jobs")]
    Size = "size",
    #[cfg(feature = "aws-jobs")]
    Sha256 = "sha256",
    #[cfg(feature = "aws-jobs")]
    Signature = "signature",
    #[cfg(feature = "aws-jobs")]
    SignatureAlgorithm = "signature.algorithm",
    #[cfg(feature = "aws-jobs")]
    SignatureValue = "signature.value",
    #[cfg(any(feature = "aws-jobs", feature = "afr-ota"))]
    FileType = "fileType",
    #[cfg(feature = "afr-ota")]
    UpdateDataUrl = "update_data_url",
    #[cfg(feature = "afr-ota")]
    FilePath = "filepath",
    #[cfg(feature = "afr-ota")]
    FileSize = "filesize",
    #[cfg(feature = "afr-ota")]
    CertFile = "certfile",
    #[cfg(feature = "afr-ota")]
    FileId = "fileid",
    #[cfg(feature = "ota-update")]
    Connection = "~Connection",
    #[cfg(feature = "ota-update")]
    Server = "~Server",
    #[cfg(feature = "ota-update")]
    Broker = "~Broker",
    #[cfg(feature = "ota-update")]
    Port = "~Port",
    #[cfg(feature = "ota-update")]
    File = "~File",
}

/// One file of a [`Job`](crate::Job). What a dialect does not say is `None`.
#[derive(Clone, Copy)]
pub struct Artifact<'a> {
    pub(crate) location: Option<Location<'a>>,
    pub(crate) name: Option<Text<'a>>,
    pub(crate) tag: Option<Text<'a>>,
    pub(crate) protocols: Protocols,
    #[cfg(feature = "aws")]
    pub(crate) by_aws: ByAws<'a>,
    /// Where the URL stands.
    pub(crate) path: Path,
    pub(crate) offset: usize,
}

/// What only documents for AWS say of a file: where their dialects are left out, it takes neither RAM nor code.
#[derive(Clone, Copy)]
pub(crate) struct ByAws<'a> {
    pub(crate) size: Option<u32>,
    pub(crate) digest: Option<Digest<'a>>,
    pub(crate) signature: Option<Signature<'a>>,
    pub(crate) certificate: Option<Text<'a>>,
    pub(crate) file_type: Option<u32>,
    pub(crate) file_id: Option<u32>,
    pub(crate) stream: Option<Text<'a>>,
}

impl ByAws<'_> {
    pub(crate) const NONE: Self = Self {
        size: None,
        digest: None,
        signature: None,
        certificate: None,
        file_type: None,
        file_id: None,
        stream: None,
    };
}

impl fmt::Debug for Artifact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Artifact");
        shown.field("name", &self.name).field("tag", &self.tag).field("size", &self.size());
        shown.field("location", &self.location).finish_non_exhaustive()
    }
}

/// The ways in which an artifact is offered: `protocols` of `afr_ota`, `Connection` of ota-update, else that of its
/// URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Protocols {
    /// Over HTTP or HTTPS, from the artifact's [location](crate::Artifact::location).
    pub http: bool,
    /// Over MQTT: in AWS by the [stream](crate::Artifact::stream), in ota-update from the broker.
    pub mqtt: bool,
}

impl Protocols {
    pub(crate) const HTTP: Self = Self { http: true, mqtt: false };
}

/// Reads an item. Faults name the fields alone.
pub(crate) fn read<'a>(dialect: Dialect, head: &Head<'a>, item: &mut Reader<'_, 'a>, artifact: &mut Artifact<'a>) {
    match dialect {
        #[cfg(feature = "iotconnect")]
        Dialect::IotConnect21 => {
            item.object(0);
            named(item, artifact, [Item::FileName, Item::Tg]);
        }
        #[cfg(feature = "iotconnect-20")]
        Dialect::IotConnect20 => iotconnect::v20::artifact(item, artifact),
        #[cfg(feature = "aws-jobs")]
        Dialect::AwsJobs => aws::document::artifact(item, artifact),
        #[cfg(feature = "afr-ota")]
        Dialect::AfrOta => aws::document::file(head, item, artifact),
        #[cfg(feature = "ota-update")]
        Dialect::OtaUpdate => ota_update::artifact(item, artifact),
    }
}

/// Reads an item that has a `url`, and perhaps a name and a tag.
#[cfg(any(feature = "iotconnect", feature = "iotconnect-20", feature = "aws-jobs"))]
#[inline(never)]
pub(crate) fn named<'a>(item: &mut Reader<'_, 'a>, artifact: &mut Artifact<'a>, [name, tag]: [Item; 2]) {
    artifact.place(item, Item::Url as u8);
    artifact.name = item.optional_text(name as u8);
    artifact.tag = item.optional_text(tag as u8);
    artifact.location = Some(Location::Url(item.url(Item::Url as u8)));
}

impl<'a> Artifact<'a> {
    /// One of which nothing is known.
    pub(crate) const NONE: Self = Self {
        location: None,
        name: None,
        tag: None,
        protocols: Protocols::HTTP,
        #[cfg(feature = "aws")]
        by_aws: ByAws::NONE,
        path: Path::DOCUMENT,
        offset: 0,
    };

    /// Its URL is, or should be, in this field.
    pub(crate) fn place(&mut self, item: &Reader<'_, 'a>, node: u8) {
        self.path = Path::field(item.path(node));
        self.offset = item.offset(node);
    }

    fn by_aws(&self) -> ByAws<'a> {
        #[cfg(feature = "aws")]
        return self.by_aws;
        #[cfg(not(feature = "aws"))]
        ByAws::NONE
    }

    /// Its URL, when the document has it in one text: `http://` or `https://`, a host, and then printable ASCII of any
    /// length. Percent escapes are as the cloud wrote them and must reach the server so, for the signature covers them;
    /// JSON's escapes are undone by [`Text::bytes`].
    ///
    /// Empty, which no fetcher takes, when the URL is spread over the document (ota-update) or there is none (an AWS
    /// stream over MQTT): [`location`](Self::location) covers every dialect.
    pub fn url(&self) -> Text<'a> {
        match self.location {
            Some(Location::Url(url)) => url,
            _ => Text::EMPTY,
        }
    }

    /// Where it lies, in any dialect. `None` when it comes by an MQTT [`stream`](Self::stream) only.
    pub fn location(&self) -> Option<Location<'a>> {
        self.location
    }

    /// The file's name: `fileName` in IoTConnect, `filepath` in `afr_ota`, `name` in `aws-jobs`, `File` in ota-update.
    pub fn name(&self) -> Option<Text<'a>> {
        self.name
    }

    /// The child device it is for, when a gateway gets the job: `tg` in IoTConnect 2.1, `tag` in 2.0 and `aws-jobs`.
    pub fn tag(&self) -> Option<Text<'a>> {
        self.tag
    }

    /// Its size in bytes: `filesize` in `afr_ota`, `size` in `aws-jobs`. IoTConnect and ota-update never say.
    pub fn size(&self) -> Option<u64> {
        self.by_aws().size.map(u64::from)
    }

    /// What its bytes must digest to: `sha256` in `aws-jobs`.
    pub fn digest(&self) -> Option<Digest<'a>> {
        self.by_aws().digest
    }

    /// The signature over it: `sig-…` in `afr_ota`, `signature` in `aws-jobs`.
    pub fn signature(&self) -> Option<Signature<'a>> {
        self.by_aws().signature
    }

    /// The name of the certificate that the signature is to be verified with: `certfile` in `afr_ota`.
    pub fn certificate(&self) -> Option<Text<'a>> {
        self.by_aws().certificate
    }

    /// The ways in which it is offered.
    pub fn protocols(&self) -> Protocols {
        self.protocols
    }

    /// What kind of file it is: `fileType` in `afr_ota` and `aws-jobs`, where 0 is firmware by convention.
    pub fn file_type(&self) -> Option<u32> {
        self.by_aws().file_type
    }

    /// Its number within the stream: `fileid` in `afr_ota`.
    pub fn file_id(&self) -> Option<u32> {
        self.by_aws().file_id
    }

    /// The MQTT file stream that delivers it: `streamname` in `afr_ota`.
    pub fn stream(&self) -> Option<Text<'a>> {
        self.by_aws().stream
    }

    /// Refuses an artifact that would come over plain HTTP or MQTT.
    ///
    /// # Errors
    /// [`ParseErrorKind::NotHttps`](crate::ParseErrorKind::NotHttps), or
    /// [`ParseErrorKind::Missing`](crate::ParseErrorKind::Missing) when it has no URL at all, at the URL's place in the
    /// document.
    pub fn require_https(&self) -> Result<(), ParseError<'a>> {
        match self.location {
            Some(location) if location.is_https() => Ok(()),
            Some(_) => Err(ParseError::new(Kind::NotHttps, self.path, self.offset)),
            None => Err(ParseError::new(Kind::Missing, self.path, self.offset)),
        }
    }
}
