//! The documents for AWS IoT Jobs that lie in an execution, or bare.
//!
//! The crate's own, for fleets that have none: dialect `aws-jobs`.
//!
//! ```json
//! {"operation":"ota","version":"1.5.0","hardware":"rev-b","artifact":{
//!   "url":"https://…","name":"app.bin","size":343135,"sha256":"<64 hexadecimal digits>",
//!   "signature":{"algorithm":"ed25519","value":"<base64>"}}}
//! ```
//!
//! `operation` and the `url` of the `artifact` are required. `files`, an array, takes the place of `artifact` where
//! there are several. An artifact may also have `tag`, the child device of a gateway it is for, and `fileType`. A
//! `signature` that is a string is an Ed25519 one.
//!
//! That of AWS's CreateOTAUpdate: dialect `afr-ota`.
//!
//! ```json
//! {"afr_ota":{"protocols":["HTTP"],"files":[{"filepath":"/device","filesize":343135,"fileid":0,
//!   "certfile":"/certs/c.pem","fileType":2,"update_data_url":"https://…","auth_scheme":"aws.s3.presigned",
//!   "sig-sha256-ecdsa":"<base64 DER>"}]}}
//! ```
//!
//! Siblings of `afr_ota` are ignored. A file comes from its URL, by the MQTT stream `streamname`, or by either.

use super::execution;
use crate::artifact::{self, Artifact, Item, Protocols};
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind as Kind};
use crate::field::Reader;
use crate::job::{Draft, Head, Job};
use crate::json::{self, Node, Span};
use crate::location::Location;
use crate::parse::{Key, unknown};
use crate::signature::{self, Digest, Signature, SignatureAlgorithm};
use crate::text::Text;

/// The dialects for AWS, as far as they are enabled; an execution that has a document of none is answered in the first.
const DIALECTS: &[Dialect] = &[
    #[cfg(feature = "aws-jobs")]
    Dialect::AwsJobs,
    #[cfg(feature = "afr-ota")]
    Dialect::AfrOta,
];

/// Whether the dialect is one for AWS.
pub(crate) fn has(dialect: Dialect) -> bool {
    DIALECTS.contains(&dialect)
}

/// Makes a table of what is read of a document in an execution, and says where the same lies in the table of all documents, in
/// an execution or bare.
macro_rules! parts {
    ($($(#[$cfg:meta])* $part:ident = $path:literal, $bare:ident, $nested:ident;)*) => {
        #[derive(Clone, Copy)]
        enum Part {
            Whole,
            $($(#[$cfg])* $part,)*
        }

        const PATHS: &[&str] = &["execution.jobDocument", $($(#[$cfg])* concat!("execution.jobDocument.", $path),)*];
        const COUNT: usize = PATHS.len();
        static TABLE: [Node<'static>; COUNT] = json::table(PATHS);
        /// In this table.
        static KEPT: Places = [Part::Whole as u8, $($(#[$cfg])* (Part::$part as u8),)*];
        static BARE: Places = [Key::Root as u8, $($(#[$cfg])* (Key::$bare as u8),)*];
        static NESTED: Places = [Key::Job as u8, $($(#[$cfg])* (Key::$nested as u8),)*];
    };
}

/// The places in a table, in the order of [`Part`].
type Places = [u8; COUNT];

parts! {
    V = "v", V, JobV;
    Ct = "ct", Ct, JobCt;
    CmdType = "cmdType", CmdType, JobCmdType;
    AfrOta = "afr_ota", AfrOta, JobAfrOta;
    Operation = "operation", Operation, JobOperation;
    #[cfg(feature = "afr-ota")]
    AfrFiles = "afr_ota.files", AfrFiles, JobAfrFiles;
    #[cfg(feature = "afr-ota")]
    AfrStream = "afr_ota.streamname", AfrStream, JobAfrStream;
    #[cfg(feature = "afr-ota")]
    AfrProtocols = "afr_ota.protocols", AfrProtocols, JobAfrProtocols;
    #[cfg(feature = "aws-jobs")]
    Version = "version", Version, JobVersion;
    #[cfg(feature = "aws-jobs")]
    Hardware = "hardware", Hardware, JobHardware;
    #[cfg(feature = "aws-jobs")]
    Artifact = "artifact", Artifact, JobArtifact;
    #[cfg(feature = "aws-jobs")]
    Files = "files", Files, JobFiles;
}

fn place(places: &Places, part: Part) -> u8 {
    places.get(part as usize).copied().unwrap_or(0)
}

/// Reads a document; `false` when it is not for AWS.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn read<'a>(reader: &mut Reader<'_, 'a>, draft: &mut Draft<'a>) -> bool {
    if DIALECTS.is_empty() {
        return false;
    }
    let envelope = Key::Execution as u8;
    if reader.is_object(envelope) {
        if !json::has_items(reader.text, reader.span(envelope)) {
            reader.fault(envelope, Kind::NothingPending);
            return true;
        }
        execution::envelope(reader, draft);
        reader.object(Key::Job as u8);
        document(reader, draft, &NESTED);
        return true;
    }
    if dialect(reader, &BARE).is_some() {
        document(reader, draft, &BARE);
        return true;
    }
    let is_empty = is_empty_queue(reader);
    if is_empty {
        reader.fault(envelope, Kind::NothingPending);
    }
    is_empty
}

/// The answer that nothing is pending: a timestamp, a token perhaps, and nothing else.
fn is_empty_queue(reader: &Reader<'_, '_>) -> bool {
    let mut afresh = reader.afresh();
    if afresh.optional_u64(Key::Timestamp as u8).is_none() {
        return false;
    }
    let mut at = reader.offset(0).saturating_add(1);
    while let Some((key, _)) = json::next_member(reader.text, &mut at) {
        if key != "timestamp" && key != "clientToken" {
            return false;
        }
    }
    true
}

fn dialect(reader: &Reader<'_, '_>, places: &Places) -> Option<Dialect> {
    #[cfg(feature = "afr-ota")]
    if reader.is_there(place(places, Part::AfrOta)) {
        return Some(Dialect::AfrOta);
    }
    #[cfg(feature = "aws-jobs")]
    if reader.as_text(place(places, Part::Operation)).is_some_and(|operation| operation == "ota") {
        return Some(Dialect::AwsJobs);
    }
    None
}

/// The dialect to answer an execution in that has this document.
pub(crate) fn answers_in(reader: &Reader<'_, '_>) -> Option<Dialect> {
    dialect(reader, &NESTED).or(DIALECTS.first().copied())
}

/// Reads the document itself.
fn document<'a>(reader: &mut Reader<'_, 'a>, draft: &mut Draft<'a>, places: &Places) {
    let at = |part| place(places, part);
    draft.object(reader, at(Part::Whole));
    match dialect(reader, places) {
        #[cfg(feature = "afr-ota")]
        Some(Dialect::AfrOta) => {
            draft.is(Dialect::AfrOta);
            reader.object(at(Part::AfrOta));
            let files = at(Part::AfrFiles);
            draft.list(reader, files);
            draft.head.protocols = protocols(reader, at(Part::AfrProtocols));
            let stream = at(Part::AfrStream);
            draft.head.extra = reader.optional_text(stream).filter(|name| !name.is_empty());
            let is_mqtt = draft.head.protocols.is_some_and(|offered| offered.mqtt && !offered.http);
            if draft.head.extra.is_none() && is_mqtt {
                reader.fault(stream, Kind::Missing);
            }
        }
        #[cfg(feature = "aws-jobs")]
        Some(Dialect::AwsJobs) => {
            draft.is(Dialect::AwsJobs);
            let (sole, files) = (at(Part::Artifact), at(Part::Files));
            match (reader.is_there(sole), reader.is_there(files)) {
                (true, false) => draft.sole(reader, sole),
                (false, true) => draft.list(reader, files),
                (false, false) => reader.fault(sole, Kind::Missing),
                // Which of them would it be?
                (true, true) => reader.wrong(files, "absent beside `artifact`"),
            }
            draft.head.version = reader.optional_text(at(Part::Version));
            draft.head.hardware = reader.optional_text(at(Part::Hardware));
        }
        _ => {
            let marks = [Part::Whole, Part::V, Part::Ct, Part::CmdType, Part::AfrOta, Part::Operation];
            unknown(reader, marks.map(at));
        }
    }
}

#[cfg(feature = "afr-ota")]
fn protocols(reader: &mut Reader<'_, '_>, node: u8) -> Option<Protocols> {
    if !reader.is_there(node) {
        return None;
    }
    let mut at = reader.list(node).start.saturating_add(1);
    let mut offered = Protocols { http: false, mqtt: false };
    while let Some(name) = json::next_element(reader.text, &mut at, &[], &mut []) {
        if let Some(name) = Text::quoted(reader.text, name) {
            offered.http |= name.eq_ignore_ascii_case("HTTP");
            offered.mqtt |= name.eq_ignore_ascii_case("MQTT");
        }
    }
    Some(offered)
}

/// The job document of an execution, of any kind, as it was found.
#[derive(Clone, Copy)]
pub(crate) struct Document<'a> {
    pub(crate) text: &'a str,
    spans: [Span; COUNT],
    /// Where the execution starts, which should have it.
    execution: usize,
}

impl<'a> Document<'a> {
    pub(crate) fn of(reader: &Reader<'_, 'a>) -> Self {
        let spans = NESTED.map(|key| reader.span(key));
        Self { text: reader.text, spans, execution: reader.offset(Key::Execution as u8) }
    }

    /// Where it lies; empty where there is none.
    pub(crate) fn span(&self) -> Span {
        let [whole, ..] = self.spans;
        whole
    }

    /// Its path, and where it starts, or the execution that should have it.
    pub(crate) fn place(&self) -> (&'static str, usize) {
        let span = self.span();
        let [Node { path, .. }, ..] = TABLE;
        (path, if span.is_empty() { self.execution } else { span.start })
    }

    pub(crate) fn draft(&self, job_id: Text<'a>) -> Draft<'a> {
        let mut draft = Draft::new(self.text);
        draft.head.id = job_id;
        draft.head.id_path = execution::ID_PATH;
        draft
    }

    /// Returns an error where it is no object.
    pub(crate) fn object(&self) -> Result<(), ParseError<'a>> {
        let mut reader = Reader::new(self.text, &TABLE, &self.spans);
        if self.span().is_empty() {
            let (path, offset) = self.place();
            reader.fault_at(Kind::Missing, path, offset);
        }
        reader.object(0);
        reader.finish(())
    }

    /// The job in it, under this id.
    pub(crate) fn job(&self, job_id: Text<'a>) -> Result<Job<'a>, ParseError<'a>> {
        let mut reader = Reader::new(self.text, &TABLE, &self.spans);
        let mut draft = self.draft(job_id);
        draft.dialect = DIALECTS.first().copied();
        let object = self.object();
        if object.is_ok() {
            document(&mut reader, &mut draft, &KEPT);
        }
        let job = object.and_then(|()| reader.finish(())).and_then(|()| draft.job());
        job.map_err(|error| draft.about(error))
    }
}

/// `artifact` of the crate's own document, or an entry of `files`.
#[cfg(feature = "aws-jobs")]
pub(crate) fn artifact<'a>(item: &mut Reader<'_, 'a>, artifact: &mut Artifact<'a>) {
    item.object(0);
    artifact::named(item, artifact, [Item::Name, Item::Tag]);
    let sha256 = Item::Sha256 as u8;
    if let Some(hex) = item.optional_text(sha256) {
        artifact.by_aws.digest = Digest::sha256(hex);
        if artifact.by_aws.digest.is_none() {
            item.wrong(sha256, "64 hexadecimal digits");
        }
    }
    artifact.by_aws.size = item.optional_u32(Item::Size as u8);
    artifact.by_aws.signature = own_signature(item);
    artifact.by_aws.file_type = item.optional_u32(Item::FileType as u8);
}

#[cfg(feature = "aws-jobs")]
fn own_signature<'a>(item: &mut Reader<'_, 'a>) -> Option<Signature<'a>> {
    let node = Item::Signature as u8;
    if !item.is_there(node) {
        return None;
    }
    let mut algorithm = Some(SignatureAlgorithm::Ed25519);
    let mut value = node;
    if item.is_object(node) {
        let name = Item::SignatureAlgorithm as u8;
        algorithm = SignatureAlgorithm::named(item.text(name));
        value = Item::SignatureValue as u8;
        if algorithm.is_none() {
            item.wrong(name, "a known algorithm");
        }
    } else if item.as_text(node).is_none() {
        item.wrong(node, "an object or a string");
    }
    Some(Signature { algorithm: algorithm?, value: item.base64(value) })
}

/// An entry of `afr_ota.files`.
#[cfg(feature = "afr-ota")]
pub(crate) fn file<'a>(head: &Head<'a>, item: &mut Reader<'_, 'a>, artifact: &mut Artifact<'a>) {
    item.object(0);
    let url = Item::UpdateDataUrl as u8;
    let location = if item.is_there(url) { Some(Location::Url(item.url(url))) } else { None };
    let stream = head.extra;
    let has = Protocols { http: location.is_some(), mqtt: stream.is_some() };
    let protocols = head.protocols.unwrap_or(has);
    // One of the ways on offer must be open.
    if !(protocols.http && has.http || protocols.mqtt && has.mqtt) {
        item.fault(url, Kind::Missing);
    }
    artifact.place(item, url);
    artifact.protocols = protocols;
    artifact.location = location;
    artifact.name = item.optional_text(Item::FilePath as u8);
    artifact.by_aws.size = item.optional_u32(Item::FileSize as u8);
    artifact.by_aws.signature = afr_signature(item);
    artifact.by_aws.certificate = item.optional_text(Item::CertFile as u8);
    artifact.by_aws.file_type = item.optional_u32(Item::FileType as u8);
    artifact.by_aws.file_id = item.optional_u32(Item::FileId as u8);
    artifact.by_aws.stream = stream;
}

/// The `sig-…` of a file. An unsigned one says `"sig--":null`; "N/A" has been seen.
#[cfg(feature = "afr-ota")]
fn afr_signature<'a>(item: &mut Reader<'_, 'a>) -> Option<Signature<'a>> {
    let mut found = None;
    let mut at = item.offset(0).saturating_add(1);
    while let Some((key, span)) = json::next_member(item.text, &mut at) {
        let mut field = Reader::new(item.text, &SIGNATURE, core::slice::from_ref(&span));
        let value = field.as_text(0);
        let is_signature = key.bytes().take(4).eq(*b"sig-");
        if !is_signature || field.first(0) == Some(b'n') || value.is_some_and(|value| value == "N/A") {
            continue;
        }
        let value = field.text(0);
        // One that can't be verified must not pass for none.
        match SignatureAlgorithm::named(key) {
            None => {
                item.fault_at(Kind::WrongType { expected: "a signature of a known algorithm" }, "sig-*", span.start)
            }
            Some(algorithm) => found = Some(Signature { algorithm, value }),
        }
        if !signature::is_base64(value) {
            field.wrong(0, signature::BASE64);
        }
        item.take_fault(&field);
    }
    found
}

#[cfg(feature = "afr-ota")]
static SIGNATURE: [Node<'static>; 1] = json::table(&["sig-*"]);
