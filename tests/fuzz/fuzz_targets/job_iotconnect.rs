//! The conversation with IoTConnect: the messages on the command topic, one a line, the same ones again after a reboot.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprag_fuzz::job;
use sprag_job::iotconnect::{Event, IotConnect, Topics};
use sprag_job::{NoRoom, Status};

const TOPICS: Topics<'_> = Topics::Aws { client_id: "d" };
const COMMAND: &str = "iot/d/cmd";

fuzz_target!(|script: &[u8]| {
    let mut cloud = IotConnect::<4>::new(TOPICS);
    for message in script.split(|byte| *byte == b'\n') {
        assert!(matches!(cloud.arrived("iot/e/cmd", message), Event::NotForUs));
        match cloud.arrived(COMMAND, message) {
            Event::Job(found) => {
                job::job(&found, message);
                assert!(!matches!(cloud.ack(&found, Status::Done, "", &mut [0; 64], &mut []), Err(NoRoom::Topic(_))));
                cloud.remember(&found);
                cloud = IotConnect::restore(TOPICS, cloud.seen());
                assert!(matches!(cloud.arrived(COMMAND, message), Event::Duplicate(_)));
            }
            Event::Duplicate(found) => job::job(&found, message),
            Event::Malformed(error) => job::error(&error, message),
            _ => {}
        }
    }
});
