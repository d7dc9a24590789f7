//! The topics of IoTConnect device message 2.1.

use crate::error::ParseError;
use crate::field::Reader;
use crate::json::{Span, fields};
use crate::out::{Out, TooSmall};
use crate::text::Text;

/// The topics of a device. The identity reply gives them; the patterns of the two clouds are for devices that can't ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Topics<'t> {
    /// As the identity reply says: see [`identity`]. A command topic may end in `#`.
    Given {
        /// `c2d`: commands come there.
        command: &'t str,
        /// `ack`: acks go there.
        ack: &'t str,
        /// `di`: requests go there.
        identity: &'t str,
    },
    /// On AWS: `iot/<id>/cmd`, `$aws/rules/msg_d2c_ack/<id>/2.1/6`, `$aws/rules/msg_d2c_di/<id>/2.1/1`.
    Aws {
        /// The client id.
        client_id: &'t str,
    },
    /// On Azure: `devices/<id>/messages/devicebound/#`, `devices/<id>/messages/events/cd=<cd>&v=2.1&mt=6`. Only the
    /// identity reply gives the topic for requests.
    Azure {
        /// The client id.
        client_id: &'t str,
        /// `cd` of the identity reply.
        cd: &'t str,
    },
}

impl Topics<'_> {
    fn parts(&self, [given, aws_head, aws_tail, azure_tail]: [&str; 4], out: &mut Out<'_>) {
        match self {
            Self::Given { .. } => out.raw(given),
            Self::Aws { client_id } => [aws_head, client_id, aws_tail].iter().for_each(|part| out.raw(part)),
            Self::Azure { client_id, .. } => ["devices/", client_id, azure_tail].iter().for_each(|part| out.raw(part)),
        }
    }

    /// Writes the filter to subscribe to for commands.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn command<'b>(&self, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
        let mut out = Out::new(out);
        let given = if let Self::Given { command, .. } = self { command } else { "" };
        self.parts([given, "iot/", "/cmd", "/messages/devicebound/#"], &mut out);
        out.finish()
    }

    /// Writes the topic for acks.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn ack<'b>(&self, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
        let mut out = Out::new(out);
        let given = if let Self::Given { ack, .. } = self { ack } else { "" };
        self.parts([given, "$aws/rules/msg_d2c_ack/", "/2.1/6", "/messages/events/cd="], &mut out);
        if let Self::Azure { cd, .. } = self {
            out.raw(cd);
            out.raw("&v=2.1&mt=6");
        }
        out.finish()
    }

    /// Writes the topic for requests; `None` when only the identity reply would give it.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn identity<'b>(&self, out: &'b mut [u8]) -> Option<Result<&'b str, TooSmall>> {
        let mut out = Out::new(out);
        let given = match self {
            Self::Given { identity, .. } => identity,
            Self::Aws { .. } => "",
            Self::Azure { .. } => return None,
        };
        self.parts([given, "$aws/rules/msg_d2c_di/", "/2.1/1", ""], &mut out);
        Some(out.finish())
    }

    /// Whether commands come on this topic.
    pub(crate) fn is_command(&self, topic: &str) -> bool {
        match self {
            Self::Given { command, .. } => match command.strip_suffix('#') {
                Some(head) => topic.starts_with(head),
                None => topic == *command,
            },
            Self::Aws { client_id } => {
                topic.strip_prefix("iot/").and_then(|rest| rest.strip_suffix("/cmd")) == Some(*client_id)
            }
            Self::Azure { client_id, .. } => {
                let rest = topic.strip_prefix("devices/").and_then(|rest| rest.strip_prefix(*client_id));
                rest.is_some_and(|rest| rest.starts_with("/messages/devicebound/"))
            }
        }
    }
}

/// The topics in an identity reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Identity<'a> {
    /// `c2d`: what to subscribe to for commands.
    pub command: Text<'a>,
    /// `ack`: the topic for acks.
    pub ack: Text<'a>,
    /// `di`: the topic for requests.
    pub identity: Text<'a>,
}

/// Reads the topics from an identity reply: `d.p.topics.{c2d,ack,di}`, as Avnet's SDKs do. Copy them where they last,
/// for [`Topics::Given`].
///
/// # Errors
/// What is not JSON, and replies without these topics.
///
/// ```
/// let reply = br#"{"d":{"p":{"topics":{"ack":"$aws/rules/msg_d2c_ack/c/d/2.1/6","di":"$aws/rules/msg_d2c_di/c/d/2.1/1",
///     "c2d":"iot/c/cmd"}}},"status":200}"#;
/// assert_eq!(sprag_job::iotconnect::identity(reply)?.command, "iot/c/cmd");
/// # Ok::<(), sprag_job::ParseError<'static>>(())
/// ```
pub fn identity(reply: &[u8]) -> Result<Identity<'_>, ParseError<'_>> {
    let mut spans = [Span::NONE; Key::COUNT];
    let mut reader = Reader::object_of(reply, &REPLY, &mut spans)?;
    for object in [Key::D, Key::P, Key::Topics] {
        reader.object(object as u8);
    }
    let identity = Identity {
        command: reader.text(Key::Command as u8),
        ack: reader.text(Key::Ack as u8),
        identity: reader.text(Key::Identity as u8),
    };
    reader.finish(identity)
}

fields! {
    /// The fields of an identity reply.
    REPLY, Key:
    D = "d",
    P = "d.p",
    Topics = "d.p.topics",
    Command = "d.p.topics.c2d",
    Ack = "d.p.topics.ack",
    Identity = "d.p.topics.di",
}
