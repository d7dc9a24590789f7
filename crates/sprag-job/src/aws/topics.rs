//! The topics of AWS IoT Jobs, under `$aws/things/{thing}/jobs/`.

use crate::out::{Out, TooSmall};

/// The longest name of a thing, in bytes.
pub const THING_NAME_MAX: usize = 128;

/// The longest topic, in bytes: a buffer of this size always does.
pub const TOPIC_MAX: usize = 226;

/// What to subscribe to: 7 filters, where the broker allows 8 in one SUBSCRIBE.
pub(crate) const FILTERS: [&str; 7] = [
    "notify-next",
    "start-next/accepted",
    "start-next/rejected",
    "+/get/accepted",
    "+/get/rejected",
    "+/update/accepted",
    "+/update/rejected",
];

/// What a topic that came in says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic<'a> {
    NotifyNext,
    StartNext { accepted: bool },
    Get { job: &'a str, accepted: bool },
    Update { job: &'a str, accepted: bool },
}

/// Whether it can be the name of a thing: 1 to 128 of `a-z A-Z 0-9 : _ -`.
pub(crate) fn is_thing(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-');
    (1..=THING_NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// `None` for the topics of another thing and of other operations.
pub(crate) fn read<'a>(thing: &str, topic: &'a str) -> Option<Topic<'a>> {
    let rest = topic.strip_prefix("$aws/things/")?.strip_prefix(thing)?.strip_prefix("/jobs/")?;
    if rest == "notify-next" {
        return Some(Topic::NotifyNext);
    }
    let (operation, accepted) = match rest.strip_suffix("/accepted") {
        Some(operation) => (operation, true),
        None => (rest.strip_suffix("/rejected")?, false),
    };
    if operation == "start-next" {
        return Some(Topic::StartNext { accepted });
    }
    let topic = match operation.strip_suffix("/get") {
        Some(job) => Topic::Get { job, accepted },
        None => Topic::Update { job: operation.strip_suffix("/update")?, accepted },
    };
    // A job's id has no slash, so these are of another operation.
    match topic {
        Topic::Get { job, .. } | Topic::Update { job, .. } if job.bytes().any(|byte| byte == b'/') => None,
        topic => Some(topic),
    }
}

/// Writes `$aws/things/{thing}/jobs/{one}{two}`.
pub(crate) fn write<'b>(thing: &str, one: &str, two: &str, out: &'b mut [u8]) -> Result<&'b str, TooSmall> {
    let mut out = Out::new(out);
    for part in ["$aws/things/", thing, "/jobs/", one, two] {
        out.raw(part);
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn topics_are_read_for_one_thing_only() {
        let read =
            |rest: &'static str| read("t", std::boxed::Box::leak(format!("$aws/things/{rest}").into_boxed_str()));
        assert_eq!(read("t/jobs/notify-next"), Some(Topic::NotifyNext));
        assert_eq!(read("t/jobs/start-next/rejected"), Some(Topic::StartNext { accepted: false }));
        assert_eq!(read("t/jobs/j/get/accepted"), Some(Topic::Get { job: "j", accepted: true }));
        assert_eq!(read("t/jobs/$next/get/accepted"), Some(Topic::Get { job: "$next", accepted: true }));
        assert_eq!(read("t/jobs/j/update/rejected"), Some(Topic::Update { job: "j", accepted: false }));
        for other in [
            "t2/jobs/notify-next",
            "u/jobs/notify-next",
            "t/jobs/notify",
            "t/jobs/j/update",
            "t/jobs/a/b/get/accepted",
            "t/shadow",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn the_longest_topic_fits() {
        let (thing, job) = ("t".repeat(THING_NAME_MAX), "j".repeat(64));
        assert!(is_thing(&thing) && !is_thing("") && !is_thing("a/b") && !is_thing(&format!("{thing}t")));
        let mut out = [0; TOPIC_MAX];
        assert!(write(&thing, &job, "/update", &mut out).is_ok());
        assert!(write(&thing, &job, "/update/accepted", &mut out).unwrap().len() <= TOPIC_MAX);
    }
}
