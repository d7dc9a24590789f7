//! The packets of MQTT 3.1.1 and MQTT 5 that a client needs which publishes and subscribes at QoS 1.
//!
//! No I/O: packets are written into a buffer and read from one. The two versions differ in three places only: the version
//! byte of CONNECT, the properties of MQTT 5, and the reason codes that its acknowledgements may end with.
//!
//! Formats: [MQTT 3.1.1](https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html) and
//! [MQTT 5](https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html), chapters 2 and 3 of both.

use core::num::NonZero;
use core::ops::Range;

use super::mqtt_client::MqttVersion;

/// The first byte of each packet: its type, and the flags that belong to it.
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBLISH_QOS_1: u8 = PUBLISH | 0x02;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xD0;
const DISCONNECT: u8 = 0xE0;

/// A whole PINGREQ.
pub(super) const PINGREQ: [u8; 2] = [0xC0, 0];

/// Flags of CONNECT.
const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const CLEAN_START: u8 = 0x02;

/// Identifiers of properties.
const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
const TOPIC_ALIAS: u8 = 0x23;
const MAXIMUM_QOS: u8 = 0x24;
const USER_PROPERTY: u8 = 0x26;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// The longest fixed header: the first byte, and four of length.
pub(super) const FIXED_HEADER_MAX: usize = 5;
/// The largest length that a fixed header can express.
const REMAINING_MAX: usize = 0x0FFF_FFFF;

/// Bytes that are no packet, or one that a broker must not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Why a packet can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EncodeError {
    /// The buffer is too small; the size that would have done, in bytes.
    TooSmall(usize),
    /// A text is longer than MQTT allows, or has a character that it forbids.
    Invalid,
}

/// Writes one packet into a buffer: its body from [`FIXED_HEADER_MAX`] on, and the fixed header in front of it at the end.
struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
    is_valid: bool,
}

impl<'b> Writer<'b> {
    fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: FIXED_HEADER_MAX, is_valid: true }
    }

    /// Counts what does not fit, and does not write it.
    fn bytes(&mut self, bytes: &[u8]) {
        let place = self.buffer.get_mut(self.length..).and_then(|rest| rest.get_mut(..bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
        self.length = self.length.saturating_add(bytes.len());
    }

    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    fn integer(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    /// A length in two bytes, and as many bytes.
    fn binary(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(length) => self.integer(length),
            Err(_) => self.is_valid = false,
        }
        self.bytes(bytes);
    }

    fn text(&mut self, text: &str) {
        // MQTT forbids this one character.
        self.is_valid &= !text.as_bytes().contains(&0);
        self.binary(text.as_bytes());
    }

    /// Writes the fixed header; returns where the packet lies. `behind` bytes follow it that are not in the buffer.
    fn finish(self, first: u8, behind: usize) -> Result<Range<usize>, EncodeError> {
        let body = self.length.saturating_sub(FIXED_HEADER_MAX);
        let remaining = body.saturating_add(behind);
        if !self.is_valid || remaining > REMAINING_MAX {
            return Err(EncodeError::Invalid);
        }
        if self.length > self.buffer.len() {
            return Err(EncodeError::TooSmall(self.length));
        }
        let mut header = [first, 0, 0, 0, 0];
        let mut length = 1_usize;
        let mut rest = remaining;
        for place in header.iter_mut().skip(1) {
            let more = if rest > 0x7F { 0x80 } else { 0 };
            *place = (rest & 0x7F) as u8 | more;
            length = length.saturating_add(1);
            rest >>= 7;
            if rest == 0 {
                break;
            }
        }
        let start = FIXED_HEADER_MAX.saturating_sub(length);
        for (place, byte) in self.buffer.iter_mut().skip(start).zip(header).take(length) {
            *place = byte;
        }
        Ok(start..self.length)
    }
}

/// What CONNECT says.
pub(super) struct Connect<'a> {
    pub(super) version: MqttVersion,
    pub(super) client_id: &'a str,
    pub(super) login: Option<(&'a str, &'a [u8])>,
    pub(super) keep_alive_seconds: NonZero<u16>,
    /// The largest packet that may come, in bytes. MQTT 3.1.1 can't say it.
    pub(super) packet_max: u32,
}

/// Writes a CONNECT with a clean session.
pub(super) fn connect(buffer: &mut [u8], connect: &Connect<'_>) -> Result<Range<usize>, EncodeError> {
    let mut writer = Writer::new(buffer);
    writer.text("MQTT");
    writer.byte(match connect.version {
        MqttVersion::V3_1_1 => 4,
        MqttVersion::V5 => 5,
    });
    writer.byte(CLEAN_START | if connect.login.is_some() { USER_NAME | PASSWORD } else { 0 });
    writer.integer(connect.keep_alive_seconds.get());
    if connect.version == MqttVersion::V5 {
        // Seven bytes of properties. Texts for people are not looked at: the broker may leave them out.
        writer.bytes(&[7, REQUEST_PROBLEM_INFORMATION, 0, MAXIMUM_PACKET_SIZE]);
        writer.bytes(&connect.packet_max.to_be_bytes());
    }
    writer.text(connect.client_id);
    if let Some((name, password)) = connect.login {
        writer.text(name);
        writer.binary(password);
    }
    writer.finish(CONNECT, 0)
}

/// Writes a SUBSCRIBE to one filter at QoS 1.
pub(super) fn subscribe(
    buffer: &mut [u8],
    version: MqttVersion,
    id: NonZero<u16>,
    filter: &str,
) -> Result<Range<usize>, EncodeError> {
    let mut writer = Writer::new(buffer);
    writer.is_valid = !filter.is_empty();
    writer.integer(id.get());
    if version == MqttVersion::V5 {
        writer.byte(0);
    }
    writer.text(filter);
    writer.byte(1);
    writer.finish(SUBSCRIBE, 0)
}

/// Writes a PUBLISH at QoS 1. Where the payload does not fit behind the rest, the packet ends before it: the second value says
/// whether the payload is in the buffer.
pub(super) fn publish(
    buffer: &mut [u8],
    version: MqttVersion,
    id: NonZero<u16>,
    topic: &str,
    payload: &[u8],
) -> Result<(Range<usize>, bool), EncodeError> {
    let mut writer = Writer::new(buffer);
    writer.is_valid = !topic.is_empty() && !topic.contains(['+', '#']);
    writer.text(topic);
    writer.integer(id.get());
    if version == MqttVersion::V5 {
        writer.byte(0);
    }
    let is_whole = writer.buffer.len().saturating_sub(writer.length) >= payload.len();
    if is_whole {
        writer.bytes(payload);
    }
    let behind = if is_whole { 0 } else { payload.len() };
    Ok((writer.finish(PUBLISH_QOS_1, behind)?, is_whole))
}

/// Returns a PUBACK, which is the same in both versions.
pub(super) fn puback(id: NonZero<u16>) -> [u8; 4] {
    let [high, low] = id.get().to_be_bytes();
    [PUBACK, 2, high, low]
}

/// A fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FixedHeader {
    first: u8,
    /// Of the header itself, in bytes.
    length: usize,
    /// Of the whole packet, in bytes.
    pub(super) total: usize,
}

impl FixedHeader {
    /// Reads the fixed header at the beginning of `bytes`; none if more bytes are needed.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let mut reader = Reader(rest);
        match reader.variable() {
            Ok(remaining) => {
                let length = bytes.len().saturating_sub(reader.0.len());
                Ok(Some(Self { first, length, total: length.saturating_add(remaining) }))
            }
            Err(Malformed) if bytes.len() < FIXED_HEADER_MAX => Ok(None),
            Err(Malformed) => Err(Malformed),
        }
    }

    /// Returns whether the packet is a message.
    pub(super) fn is_publish(self) -> bool {
        self.first & 0xF0 == PUBLISH
    }
}

/// Reads the fields of a packet, one after the other.
struct Reader<'p>(&'p [u8]);

impl<'p> Reader<'p> {
    fn bytes(&mut self, length: usize) -> Result<&'p [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.bytes(1)?.first().copied().ok_or(Malformed)
    }

    fn integer(&mut self) -> Result<u16, Malformed> {
        let bytes = self.bytes(2)?.first_chunk().ok_or(Malformed)?;
        Ok(u16::from_be_bytes(*bytes))
    }

    fn id(&mut self) -> Result<NonZero<u16>, Malformed> {
        NonZero::new(self.integer()?).ok_or(Malformed)
    }

    fn binary(&mut self) -> Result<&'p [u8], Malformed> {
        let length = self.integer()?;
        self.bytes(length.into())
    }

    /// A number of one to four bytes, seven bits in each.
    fn variable(&mut self) -> Result<usize, Malformed> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    /// Reads the properties of a packet, all of them, and returns those that matter.
    fn properties(&mut self) -> Result<Properties, Malformed> {
        let length = self.variable()?;
        let mut reader = Reader(self.bytes(length)?);
        let mut properties = Properties::default();
        while !reader.0.is_empty() {
            match reader.byte()? {
                MAXIMUM_QOS => properties.has_qos_1 = reader.byte()? != 0,
                MAXIMUM_PACKET_SIZE => {
                    let size = reader.bytes(4)?.first_chunk().ok_or(Malformed)?;
                    properties.packet_max = u32::from_be_bytes(*size);
                }
                // CONNECT allows none, so that every message carries its topic.
                TOPIC_ALIAS => return Err(Malformed),
                0x01 | REQUEST_PROBLEM_INFORMATION | 0x19 | 0x25 | 0x28 | 0x29 | 0x2A => _ = reader.bytes(1)?,
                0x13 | 0x21 | 0x22 => _ = reader.bytes(2)?,
                0x02 | 0x11 | 0x18 => _ = reader.bytes(4)?,
                0x0B => _ = reader.variable()?,
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => _ = reader.binary()?,
                USER_PROPERTY => {
                    reader.binary()?;
                    reader.binary()?;
                }
                _ => return Err(Malformed),
            }
        }
        Ok(properties)
    }

    /// Reads the reason code and the properties that end a packet of MQTT 5; it may leave both out, or the properties.
    fn reason(&mut self) -> Result<u8, Malformed> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let code = self.byte()?;
        if !self.0.is_empty() {
            self.properties()?;
        }
        Ok(code)
    }
}

/// What a broker says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Properties {
    /// Whether it takes messages at QoS 1.
    pub(super) has_qos_1: bool,
    /// The largest packet that it takes, in bytes.
    pub(super) packet_max: u32,
}

impl Default for Properties {
    fn default() -> Self {
        Self { has_qos_1: true, packet_max: u32::MAX }
    }
}

/// A packet from a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet<'p> {
    /// CONNACK.
    Connected { code: u8, broker: Properties },
    /// PUBLISH.
    Message { topic: &'p str, payload: &'p [u8], id: Option<NonZero<u16>> },
    /// SUBACK or PUBACK. From 0x80 on the code is a refusal.
    Acknowledged { id: NonZero<u16>, code: u8 },
    /// PINGRESP.
    Pong,
    /// DISCONNECT, which MQTT 5 alone lets a broker send.
    Disconnected { code: u8 },
}

impl<'p> Packet<'p> {
    /// Reads a packet, whole and alone in `bytes`.
    pub(super) fn read(bytes: &'p [u8], version: MqttVersion) -> Result<Self, Malformed> {
        let header = FixedHeader::read(bytes)?.filter(|header| header.total == bytes.len()).ok_or(Malformed)?;
        let mut reader = Reader(bytes);
        reader.bytes(header.length)?;
        let is_v5 = version == MqttVersion::V5;
        let packet = match header.first {
            CONNACK => {
                let is_present = reader.byte()?;
                let code = reader.byte()?;
                // A broker that knows no MQTT 5 refuses it as MQTT 3.1.1 does: without properties.
                let has_properties = is_v5 && !reader.0.is_empty();
                let broker = if has_properties { reader.properties()? } else { Properties::default() };
                // A clean session was asked for.
                if is_present != 0 {
                    return Err(Malformed);
                }
                Self::Connected { code, broker }
            }
            PUBACK => {
                let id = reader.id()?;
                Self::Acknowledged { id, code: if is_v5 { reader.reason()? } else { 0 } }
            }
            SUBACK => {
                let id = reader.id()?;
                if is_v5 {
                    reader.properties()?;
                }
                Self::Acknowledged { id, code: reader.byte()? }
            }
            PINGRESP => Self::Pong,
            DISCONNECT if is_v5 => Self::Disconnected { code: reader.reason()? },
            _ if header.is_publish() => {
                let (topic, id) = message(header, &mut reader)?;
                if is_v5 {
                    reader.properties()?;
                }
                let payload = core::mem::take(&mut reader.0);
                Self::Message { topic, payload, id }
            }
            _ => return Err(Malformed),
        };
        if reader.0.is_empty() { Ok(packet) } else { Err(Malformed) }
    }
}

/// Reads the packet identifier of a message of which `bytes` are the beginning; none if it has none, or if they end before it.
pub(super) fn message_id(bytes: &[u8]) -> Option<NonZero<u16>> {
    let header = FixedHeader::read(bytes).ok()??;
    let mut reader = Reader(bytes);
    reader.bytes(header.length).ok()?;
    message(header, &mut reader).ok()?.1
}

/// Reads the topic of a message and, at QoS 1, its identifier.
fn message<'p>(header: FixedHeader, reader: &mut Reader<'p>) -> Result<(&'p str, Option<NonZero<u16>>), Malformed> {
    let topic = core::str::from_utf8(reader.binary()?).map_err(|_| Malformed)?;
    if topic.is_empty() {
        return Err(Malformed);
    }
    let id = match header.first & 0x06 {
        0 => None,
        0x02 => Some(reader.id()?),
        // QoS 2 was never subscribed to, and QoS 3 does not exist.
        _ => return Err(Malformed),
    };
    Ok((topic, id))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const ID: NonZero<u16> = NonZero::new(0x1234).unwrap();
    const BOTH: [MqttVersion; 2] = [MqttVersion::V3_1_1, MqttVersion::V5];

    fn written(write: impl FnOnce(&mut [u8]) -> Result<Range<usize>, EncodeError>) -> Vec<u8> {
        let mut buffer = [0; 512];
        let place = write(&mut buffer).unwrap();
        buffer[place].to_vec()
    }

    fn a_connect(version: MqttVersion) -> Connect<'static> {
        let keep_alive_seconds = NonZero::new(150).unwrap();
        Connect { version, client_id: "id", login: Some(("me", b"\0\xFF")), keep_alive_seconds, packet_max: 5120 }
    }

    #[test]
    fn connect_is_written_in_both_versions() {
        let v3 = b"\x10\x16\0\x04MQTT\x04\xC2\0\x96\0\x02id\0\x02me\0\x02\0\xFF";
        assert_eq!(written(|buffer| connect(buffer, &a_connect(MqttVersion::V3_1_1))), v3);
        let v5 = b"\x10\x1E\0\x04MQTT\x05\xC2\0\x96\x07\x17\0\x27\0\0\x14\0\0\x02id\0\x02me\0\x02\0\xFF";
        assert_eq!(written(|buffer| connect(buffer, &a_connect(MqttVersion::V5))), v5);
        let anonymous = Connect { login: None, ..a_connect(MqttVersion::V3_1_1) };
        assert_eq!(written(|buffer| connect(buffer, &anonymous)), b"\x10\x0E\0\x04MQTT\x04\x02\0\x96\0\x02id");
    }

    #[test]
    fn requests_are_written_in_both_versions() {
        let [v3, v5] = BOTH;
        assert_eq!(written(|buffer| subscribe(buffer, v3, ID, "a/#")), b"\x82\x08\x12\x34\0\x03a/#\x01");
        assert_eq!(written(|buffer| subscribe(buffer, v5, ID, "a/#")), b"\x82\x09\x12\x34\0\0\x03a/#\x01");
        let publish = |version| written(|buffer| publish(buffer, version, ID, "a", b"xy").map(|(place, _)| place));
        assert_eq!(publish(v3), b"\x32\x07\0\x01a\x12\x34xy");
        assert_eq!(publish(v5), b"\x32\x08\0\x01a\x12\x34\0xy");
        assert_eq!(puback(ID), *b"\x40\x02\x12\x34");
    }

    #[test]
    fn a_payload_that_does_not_fit_is_left_to_the_caller() {
        for (size, whole) in [(16, true), (15, false), (13, false)] {
            let mut buffer = vec![0; size];
            let (place, is_whole) = publish(&mut buffer, MqttVersion::V5, ID, "abc", b"xyz").unwrap();
            let head = b"\x32\x0B\0\x03abc\x12\x34\0";
            assert_eq!(
                (is_whole, &buffer[place]),
                (whole, if whole { &b"\x32\x0B\0\x03abc\x12\x34\0xyz"[..] } else { head })
            );
        }
        assert_eq!(publish(&mut [0; 12], MqttVersion::V5, ID, "abc", b"xyz"), Err(EncodeError::TooSmall(13)));
    }

    #[test]
    fn lengths_take_one_to_four_bytes() {
        let lengths: [(usize, &[u8]); 8] = [
            (0, &[0]),
            (127, &[0x7F]),
            (128, &[0x80, 1]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 1]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 1]),
            (REMAINING_MAX, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ];
        for (length, bytes) in lengths {
            let mut buffer = [0; 5];
            let place = Writer::new(&mut buffer).finish(PUBLISH, length).unwrap();
            assert_eq!(&buffer[place.clone()][1..], bytes);
            let header = FixedHeader::read(&buffer[place]).unwrap().unwrap();
            assert_eq!(
                header,
                FixedHeader { first: PUBLISH, length: 1 + bytes.len(), total: 1 + bytes.len() + length }
            );
            for end in 0..=bytes.len() {
                assert_eq!(FixedHeader::read(&[&[PUBLISH], bytes].concat()[..end]), Ok(None));
            }
        }
        assert_eq!(Writer::new(&mut [0; 5]).finish(PUBLISH, REMAINING_MAX + 1), Err(EncodeError::Invalid));
        assert_eq!(FixedHeader::read(&[PUBLISH, 0x80, 0x80, 0x80, 0x80]), Err(Malformed));
    }

    #[test]
    fn what_mqtt_forbids_is_not_written() {
        let long = std::string::String::from_utf8(vec![b'a'; 65_536]).unwrap();
        let mut buffer = vec![0; 200_000];
        for version in BOTH {
            for wrong in ["", "a/+", "#", "a\0b", &long] {
                assert_eq!(publish(&mut buffer, version, ID, wrong, b""), Err(EncodeError::Invalid));
            }
            for wrong in ["", "a\0b", &long] {
                assert_eq!(subscribe(&mut buffer, version, ID, wrong), Err(EncodeError::Invalid));
            }
            let connects = [
                Connect { client_id: &long, ..a_connect(version) },
                Connect { login: Some((&long, b"")), ..a_connect(version) },
                Connect { login: Some(("a\0", b"")), ..a_connect(version) },
                Connect { login: Some(("a", long.as_bytes())), ..a_connect(version) },
            ];
            for wrong in connects {
                assert_eq!(connect(&mut buffer, &wrong), Err(EncodeError::Invalid));
            }
            assert!(subscribe(&mut buffer, version, ID, &long[..65_535]).is_ok());
        }
    }

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        [&[first, u8::try_from(body.len()).unwrap()], body].concat()
    }

    /// Returns packets of a broker, and what is to be read from them.
    fn of_a_broker(version: MqttVersion) -> Vec<(Vec<u8>, Packet<'static>)> {
        let unlimited = Properties::default();
        let limited = Properties { has_qos_1: false, packet_max: 0x0102_0304 };
        let connected = |code, broker| Packet::Connected { code, broker };
        let acknowledged = |code| Packet::Acknowledged { id: ID, code };
        let message = |id| Packet::Message { topic: "a/b", payload: b"xy", id };
        match version {
            MqttVersion::V3_1_1 => vec![
                (packet(CONNACK, &[0, 0]), connected(0, unlimited)),
                (packet(CONNACK, &[0, 5]), connected(5, unlimited)),
                (packet(PUBACK, b"\x12\x34"), acknowledged(0)),
                (packet(SUBACK, b"\x12\x34\x01"), acknowledged(1)),
                (packet(SUBACK, b"\x12\x34\x80"), acknowledged(0x80)),
                (packet(PINGRESP, b""), Packet::Pong),
                (packet(PUBLISH, b"\0\x03a/bxy"), message(None)),
                (packet(PUBLISH_QOS_1 | 0x09, b"\0\x03a/b\x12\x34xy"), message(Some(ID))),
            ],
            MqttVersion::V5 => vec![
                (packet(CONNACK, &[0, 1]), connected(1, unlimited)),
                (packet(CONNACK, &[0, 0x87, 0]), connected(0x87, unlimited)),
                (packet(CONNACK, b"\0\0\x07\x27\x01\x02\x03\x04\x24\0"), connected(0, limited)),
                (packet(PUBACK, b"\x12\x34"), acknowledged(0)),
                (packet(PUBACK, b"\x12\x34\x10"), acknowledged(0x10)),
                (packet(PUBACK, b"\x12\x34\x97\0"), acknowledged(0x97)),
                (packet(SUBACK, b"\x12\x34\0\x01"), acknowledged(1)),
                (packet(SUBACK, b"\x12\x34\x04\x1F\0\x01x\x87"), acknowledged(0x87)),
                (packet(PINGRESP, b""), Packet::Pong),
                (packet(DISCONNECT, b""), Packet::Disconnected { code: 0 }),
                (packet(DISCONNECT, b"\x8E"), Packet::Disconnected { code: 0x8E }),
                (packet(DISCONNECT, b"\x8E\0"), Packet::Disconnected { code: 0x8E }),
                (packet(PUBLISH, b"\0\x03a/b\0xy"), message(None)),
                (packet(PUBLISH_QOS_1 | 0x09, b"\0\x03a/b\x12\x34\x02\x01\x01xy"), message(Some(ID))),
            ],
        }
    }

    #[test]
    fn packets_of_a_broker_are_read() {
        for version in BOTH {
            for (bytes, packet) in of_a_broker(version) {
                assert_eq!(Packet::read(&bytes, version), Ok(packet), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn a_packet_with_a_byte_too_few_or_too_many_is_malformed() {
        for version in BOTH {
            for (bytes, packet) in of_a_broker(version) {
                for end in 0..bytes.len() {
                    assert_eq!(Packet::read(&bytes[..end], version), Err(Malformed), "{bytes:x?}, {end}");
                }
                let longer = [&bytes[..], &[0]].concat();
                assert_eq!(Packet::read(&longer, version), Err(Malformed), "{longer:x?}");
                // The same, with a length that says so. A message has a longer payload then; a reason code may be left out.
                let may_end = matches!(packet, Packet::Message { .. } | Packet::Disconnected { .. })
                    || version == MqttVersion::V5 && matches!(bytes[0], PUBACK | CONNACK);
                if !may_end {
                    for end in 2..bytes.len() {
                        let shorter = super::tests::packet(bytes[0], &bytes[2..end]);
                        assert_eq!(Packet::read(&shorter, version), Err(Malformed), "{shorter:x?}");
                    }
                    let longer = super::tests::packet(bytes[0], &[&bytes[2..], &[0]].concat());
                    assert_eq!(Packet::read(&longer, version), Err(Malformed), "{longer:x?}");
                }
            }
        }
    }

    #[test]
    fn what_a_broker_must_not_send_is_malformed() {
        let wrong: [(&str, Vec<u8>); 14] = [
            ("a session that was to be clean", packet(CONNACK, &[1, 0])),
            ("flags of CONNACK", packet(CONNACK | 1, &[0, 0])),
            ("flags of PUBACK", packet(PUBACK | 2, b"\x12\x34")),
            ("identifier 0", packet(PUBACK, b"\0\0")),
            ("identifier 0 of a message", packet(PUBLISH_QOS_1, b"\0\x01a\0\0\0")),
            ("QoS 2", packet(PUBLISH | 4, b"\0\x01a\x12\x34\0")),
            ("QoS 3", packet(PUBLISH | 6, b"\0\x01a\x12\x34\0")),
            ("no topic", packet(PUBLISH, b"\0\0\0xy")),
            ("a topic that is no text", packet(PUBLISH, b"\0\x01\xFF\0")),
            ("a packet of a client", packet(SUBSCRIBE, b"\x12\x34\0\x01a\x01")),
            ("UNSUBACK", packet(0xB0, b"\x12\x34")),
            ("PUBREC", packet(0x50, b"\x12\x34")),
            ("AUTH", packet(0xF0, b"")),
            ("type 0", packet(0, b"")),
        ];
        for version in BOTH {
            for (what, bytes) in &wrong {
                assert_eq!(Packet::read(bytes, version), Err(Malformed), "{what}, {version:?}");
            }
        }
        assert_eq!(Packet::read(&packet(DISCONNECT, b""), MqttVersion::V3_1_1), Err(Malformed));
    }

    #[test]
    fn properties_of_every_kind_are_read_over() {
        let numbers: [(&[u8], usize); 4] = [
            (&[0x01, 0x17, 0x19, 0x25, 0x28, 0x29, 0x2A], 1),
            (&[0x13, 0x21, 0x22], 2),
            (&[0x02, 0x11, 0x18, 0x27], 4),
            (&[0x0B], 1),
        ];
        let texts = [0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F].map(|id| [&[id][..], b"\0\x01x"].concat());
        let numbers = numbers.iter().flat_map(|(ids, size)| ids.iter().map(|id| [&[*id], &[1; 4][..*size]].concat()));
        let all: Vec<Vec<u8>> = numbers.chain(texts).chain([b"\x26\0\x01x\0\x02yz".to_vec()]).collect();
        assert_eq!(all.len(), 25);
        let read = |properties: &[u8]| Reader(&packet(0, properties)[1..]).properties();
        for property in &all {
            assert!(read(property).is_ok(), "{property:x?}");
            for end in 1..property.len() {
                assert_eq!(read(&property[..end]), Err(Malformed), "{property:x?}, {end}");
            }
        }
        assert!(read(&all[..24].concat()).is_ok());
        for id in (0..=0xFF).filter(|id| *id != MAXIMUM_QOS && all.iter().all(|property| property[0] != *id)) {
            assert_eq!(read(&[id, 0, 0, 0, 0]), Err(Malformed), "{id:#x}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, is_v5: bool) {
            let version = BOTH[usize::from(is_v5)];
            let _ = Packet::read(&bytes, version);
            let _ = message_id(&bytes);
        }

        #[test]
        fn the_size_that_is_named_is_the_smallest_that_does(is_v5: bool, topic in "[a-z]{1,40}", has_login: bool) {
            let version = BOTH[usize::from(is_v5)];
            let connection = Connect { client_id: &topic, ..a_connect(version) };
            let connection = if has_login { connection } else { Connect { login: None, ..connection } };
            let write = |buffer: &mut [u8], which: usize| match which {
                0 => connect(buffer, &connection),
                1 => subscribe(buffer, version, ID, &topic),
                _ => publish(buffer, version, ID, &topic, b"more than fits").map(|(place, _)| place),
            };
            for which in 0..3 {
                let Err(EncodeError::TooSmall(needed)) = write(&mut [], which) else { panic!() };
                prop_assert_eq!(write(&mut vec![0; needed - 1], which), Err(EncodeError::TooSmall(needed)));
                prop_assert!(write(&mut vec![0; needed], which).is_ok());
                if which > 0 {
                    prop_assert!(needed <= topic.len() + 11);
                }
            }
        }
    }
}
