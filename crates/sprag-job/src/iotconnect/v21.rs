//! IoTConnect device message 2.1 (Avnet; AWS and Azure): the OTA command, `ct` = 1, its ack, and the answer to `{"mt":205}`,
//! the request for an OTA that was missed.
//!
//! ```json
//! {"v":"2.1","ct":1,"cmd":"ota","ack":"<guid>","sw":"1.5","hw":"1","urls":[{"url":"https://…","fileName":"a.bin"}]}
//! {"d":{"ct":205,"ec":0,"ota":{"ver":{"sw":"1.5","hw":"1"},"urls":[{"url":"https://…","fileName":"a.bin"}]}}}
//! ```
//!
//! `v` is a string on the wire and a number in the documentation. `cmd` may be changed by a template and is not looked
//! at. Gateways find the tag of the child device in `tg` of an entry.
//!
//! What is sure of the answer is `ota.ver.sw`, `ota.ver.hw` and `ota.urls`; the `d` around it is that of every answer on the
//! identity topic, and is not required here. An `ack` in `ota`, or beside it, is the job's id. Without one the job has
//! an empty id and no ack can be sent for it.

use crate::dialect::Dialect;
use crate::error::ParseErrorKind as Kind;
use crate::field::Reader;
use crate::job::Draft;
use crate::out::{Out, TooSmall, Words};
use crate::parse::Key;
use crate::report::Status;

const VERSION: &str = "2.1";
/// `ct` of an OTA; 0 is a command, 2 a module, 101 and up are the SDK's own.
const OTA: i64 = 1;
/// `ct` of the answer to the request for a pending OTA.
const PENDING: i64 = 205;

/// The places of an OTA in the table of all documents.
struct Places {
    object: u8,
    /// The id, or in the place of it.
    id: [u8; 2],
    /// The object that has the versions, and without one these.
    ver: u8,
    versions: [[u8; 2]; 2],
    urls: u8,
    /// Around a pending OTA: the envelope, and its `ct`.
    envelope: u8,
    ct: u8,
}

static COMMAND: Places = Places {
    object: Key::Root as u8,
    id: [Key::Ack as u8; 2],
    ver: Key::Root as u8,
    versions: [[Key::Sw as u8, Key::Hw as u8]; 2],
    urls: Key::Urls as u8,
    envelope: Key::Root as u8,
    ct: Key::Ct as u8,
};
static BARE: Places = Places {
    object: Key::Ota as u8,
    id: [Key::OtaAck as u8, Key::Ack as u8],
    ver: Key::OtaVer as u8,
    versions: [[Key::OtaVerSw as u8, Key::OtaVerHw as u8], [Key::OtaSw as u8, Key::OtaHw as u8]],
    urls: Key::OtaUrls as u8,
    envelope: Key::Root as u8,
    ct: Key::Ct as u8,
};
static IN_D: Places = Places {
    object: Key::DOta as u8,
    id: [Key::DOtaAck as u8, Key::DAck as u8],
    ver: Key::DOtaVer as u8,
    versions: [[Key::DOtaVerSw as u8, Key::DOtaVerHw as u8], [Key::DOtaSw as u8, Key::DOtaHw as u8]],
    urls: Key::DOtaUrls as u8,
    envelope: Key::D as u8,
    ct: Key::DCt as u8,
};

/// Reads a document; `false` when it is not device message 2.1.
#[inline(never)] // Else the stack of the caller holds that of every dialect.
pub(crate) fn read<'a>(reader: &mut Reader<'_, 'a>, draft: &mut Draft<'a>) -> bool {
    let is_command = reader.word(Key::V as u8).is_some_and(|version| version == VERSION);
    let places = if is_command {
        &COMMAND
    } else if reader.is_object(Key::D as u8) {
        &IN_D
    } else {
        &BARE
    };
    let ct = reader.as_integer(places.ct);
    let has_ota = reader.is_object(places.object) && (reader.is_there(places.urls) || reader.is_there(places.ver));
    if !(is_command || has_ota || ct == Some(PENDING)) {
        return false;
    }
    draft.is(Dialect::IotConnect21);
    if is_command {
        match ct {
            Some(OTA) => {}
            // Its `ack` is not ours to send.
            Some(other) => {
                reader.fault(places.ct, Kind::NotAnOta { ct: i32::try_from(other).ok() });
                return true;
            }
            None => {
                reader.wrong(places.ct, "a 64-bit integer");
                return true;
            }
        }
    } else if !has_ota {
        reader.fault(places.object, Kind::NothingPending);
        return true;
    }
    draft.object(reader, places.object);
    if !is_command {
        draft.head.object_path = reader.path(places.envelope);
    }
    let [id, other] = places.id;
    let id = if reader.is_there(id) { id } else { other };
    draft.head.id_path = reader.path(id);
    draft.head.id = if is_command { reader.text(id) } else { reader.optional_text(id).unwrap_or_default() };
    let [inner, outer] = places.versions;
    let [version, hardware] = if reader.is_object(places.ver) { inner } else { outer };
    draft.head.version = reader.optional_text(version);
    draft.head.hardware = reader.optional_text(hardware);
    draft.list(reader, places.urls);
    true
}

/// The ack of an OTA (`type` 1). The child's `cid` comes after `ack`: who, then what.
pub(crate) fn ack<'b>(
    id: Words<'_>,
    child: Option<Words<'_>>,
    status: Status,
    message: &str,
    out: &'b mut [u8],
) -> Result<&'b str, TooSmall> {
    let mut out = Out::new(out);
    if id.is_empty() {
        return out.finish();
    }
    out.raw(r#"{"d":{"ack":"#);
    out.string(id);
    if let Some(child) = child {
        out.raw(r#","cid":"#);
        out.string(child);
    }
    out.raw(r#","type":1,"st":"#);
    out.raw(match status {
        Status::Downloading => "2",
        Status::Done => "3",
        Status::Failed | Status::Refused => "4",
        Status::Rejected => "1",
    });
    out.raw(r#","msg":"#);
    out.string(Words::Plain(message));
    out.raw("}}");
    out.finish()
}
