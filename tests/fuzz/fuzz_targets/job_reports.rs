//! Reports of every dialect, about ids and with messages of any kind: always JSON.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sprag_fuzz::job::{self, STATUSES};
use sprag_job::iotconnect::{Sdk, Sender, ack_20};
use sprag_job::ota_update::{self, Answer};
use sprag_job::{Dialect, report};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    status: u8,
    id: &'a str,
    child: Option<&'a str>,
    message: &'a str,
    sender: [&'a str; 6],
}

fuzz_target!(|input: Input<'_>| {
    let Input { id, child, message, .. } = input;
    let status = STATUSES[usize::from(input.status % 4)];
    for dialect in Dialect::ALL {
        job::report(|out| report(*dialect, id, child, status, message, out));
    }
    let [time, unique_id, cp_id, language, version, environment] = input.sender;
    let sender = Sender { time, unique_id, cp_id, sdk: Sdk { language, version, environment } };
    job::report(|out| ack_20(&sender, id, child, status, message, out));
    job::report(|out| ota_update::result(Answer::UniqueTopicName, id, status, out));

    // What went in comes out again.
    let mut out = vec![0; 64 + 6 * (id.len() + message.len() + child.map_or(0, str::len))];
    let ack = report(Dialect::IotConnect21, id, child, status, message, &mut out).unwrap();
    if !ack.is_empty() {
        let ack: Value = serde_json::from_str(ack).unwrap();
        assert_eq!((&ack["d"]["ack"], &ack["d"]["msg"]), (&Value::from(id), &Value::from(message)));
        assert_eq!(ack["d"].get("cid"), child.map(Value::from).as_ref());
    }
});
