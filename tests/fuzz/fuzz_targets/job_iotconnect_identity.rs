//! The topics in IoTConnect's identity reply.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fuzz::job;
use sprag_job::iotconnect::identity;

fuzz_target!(|reply: &[u8]| match identity(reply) {
    Ok(topics) => [topics.command, topics.ack, topics.identity].into_iter().for_each(|topic| {
        assert!(!topic.is_empty());
        job::text(topic);
    }),
    Err(error) => job::error(&error, reply),
});
