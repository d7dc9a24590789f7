//! The conversation with IoTConnect.
#![cfg(feature = "iotconnect")]

use sprag_job::iotconnect::{Event, IotConnect, Topics, identity};
use sprag_job::{NoRoom, Status, TooSmall};

const AWS: Topics<'_> = Topics::Aws { client_id: "d" };
const AZURE: Topics<'_> = Topics::Azure { client_id: "d", cd: "XG4EKHG" };

fn ota(ack: &str) -> String {
    format!(r#"{{"v":"2.1","ct":1,"ack":"{ack}","urls":[{{"url":"https://h/a"}}]}}"#)
}

#[test]
fn topics_are_those_of_the_hosting_or_of_the_identity_reply() {
    let given = Topics::Given { command: "x/#", ack: "y", identity: "z" };
    for (topics, command, ack, identity) in [
        (AWS, "iot/d/cmd", "$aws/rules/msg_d2c_ack/d/2.1/6", Some("$aws/rules/msg_d2c_di/d/2.1/1")),
        (AZURE, "devices/d/messages/devicebound/#", "devices/d/messages/events/cd=XG4EKHG&v=2.1&mt=6", None),
        (given, "x/#", "y", Some("z")),
    ] {
        let mut out = [0; 64];
        assert_eq!(topics.command(&mut out), Ok(command));
        assert_eq!(topics.command(&mut []), Err(TooSmall { needed: command.len() }));
        assert_eq!(topics.ack(&mut out), Ok(ack));
        assert_eq!(topics.identity(&mut out), identity.map(Ok));
        let cloud = IotConnect::<1>::new(topics);
        let mut payload = [0; 16];
        let pending = cloud.pending(&mut out, &mut payload).map(|publish| publish.unwrap());
        assert_eq!(
            pending.map(|publish| (publish.topic, publish.payload)),
            identity.map(|topic| (topic, r#"{"mt":205}"#))
        );
    }
    assert_eq!(identity(br#"{"d":{"p":{}}}"#).unwrap_err().to_string(), "d.p.topics: missing (at byte 10)");
}

#[test]
fn only_the_command_topic_is_listened_to() {
    for (topics, ours, others) in [
        (AWS, "iot/d/cmd", ["iot/e/cmd", "iot/d/cmd/x"]),
        (
            AZURE,
            "devices/d/messages/devicebound/%24.mid=1",
            ["devices/dd/messages/devicebound/", "devices/d/messages/events/"],
        ),
        (Topics::Given { command: "c", ack: "", identity: "" }, "c", ["cc", ""]),
        (Topics::Given { command: "c/#", ack: "", identity: "" }, "c/x", ["d/x", "c"]),
    ] {
        let mut cloud = IotConnect::<1>::new(topics);
        assert!(matches!(cloud.arrived(ours, ota("1").as_bytes()), Event::Job(_)));
        assert!(others.iter().all(|other| matches!(cloud.arrived(other, ota("1").as_bytes()), Event::NotForUs)));
    }
}

#[test]
fn an_ota_is_done_once() {
    let mut cloud = IotConnect::<2>::new(AWS);
    for ack in ["1", "2", "3"] {
        let document = ota(ack);
        let Event::Job(job) = cloud.arrived("iot/d/cmd", document.as_bytes()) else { panic!() };
        cloud.remember(&job);
        cloud.remember(&job);
    }
    // Across the reboot as well; what is older than the last two is forgotten.
    let mut cloud = IotConnect::restore(AWS, cloud.seen());
    let is_new = |cloud: &mut IotConnect<'_, 2>, document: &str| {
        matches!(cloud.arrived("iot/d/cmd", document.as_bytes()), Event::Job(_))
    };
    assert_eq!(["1", "2", "3"].map(|ack| is_new(&mut cloud, &ota(ack))), [true, false, false]);
    // A pending OTA without an ack goes by what it brings.
    let pending = |sw: &str| format!(r#"{{"d":{{"ota":{{"ver":{{"sw":"{sw}"}},"urls":[{{"url":"https://h"}}]}}}}}}"#);
    let document = pending("1.5");
    let Event::Job(job) = cloud.arrived("iot/d/cmd", document.as_bytes()) else { panic!() };
    assert_eq!(cloud.ack(&job, Status::Done, "", &mut [], &mut []), Ok(None));
    cloud.remember(&job);
    assert_eq!(["1.5", "1.6"].map(|sw| is_new(&mut cloud, &pending(sw))), [false, true]);
    // Nothing to remember with, nothing remembered.
    let mut forgetful = IotConnect::<0>::new(AWS);
    forgetful.remember(&job);
    assert!(matches!(forgetful.arrived("iot/d/cmd", document.as_bytes()), Event::Job(_)));
}

#[test]
fn other_messages_are_told_apart() {
    let mut cloud = IotConnect::<2>::new(AWS);
    assert!(matches!(cloud.arrived("iot/d/cmd", br#"{"v":"2.1","ct":0,"cmd":"led"}"#), Event::Other(Some(0))));
    assert!(matches!(cloud.arrived("iot/d/cmd", br#"{"d":{"ct":205,"ec":0}}"#), Event::Idle));
    assert!(matches!(cloud.arrived("iot/d/cmd", b"{"), Event::Malformed(_)));
    let document = ota("7");
    let Event::Job(job) = cloud.arrived("iot/d/cmd", document.as_bytes()) else { panic!() };
    let (topic, payload) = (NoRoom::Topic(TooSmall { needed: 30 }), NoRoom::Payload(TooSmall { needed: 42 }));
    assert_eq!(cloud.ack(&job, Status::Done, "", &mut [], &mut [0; 64]), Err(topic));
    assert_eq!(cloud.ack(&job, Status::Done, "", &mut [0; 64], &mut []), Err(payload));
}

/// The service wants to know who sends an ack of device message 2.0, and when; one of 2.1 goes by its topic.
#[cfg(feature = "iotconnect-20")]
#[test]
fn acks_of_2_0_name_the_device() {
    use sprag_job::iotconnect::{Device, Sdk};

    let device = Device {
        unique_id: "pump-7",
        cp_id: "acme",
        sdk: Sdk { language: "Rust", version: "2.0", environment: "prod" },
        time: || *b"2026-11-25T04:19:55.000Z",
    };
    let mut cloud = IotConnect::<8>::new(Topics::Aws { client_id: "pump-7" }).device_20(device);
    let (mut topic, mut payload) = ([0; 128], [0; 256]);
    let who = concat!(
        r#"{"mt":11,"t":"2026-11-25T04:19:55.000Z","uniqueId":"pump-7","cpId":"acme","#,
        r#""sdk":{"l":"Rust","v":"2.0","e":"prod"},"d":{"ackId":"7","msg":"why","st":"#
    );
    let document = br#"{"cmdType":"0x02","data":{"ackId":"7","urls":["https://h/a"]}}"#;
    let Event::Job(job) = cloud.arrived("iot/pump-7/cmd", document) else { panic!() };
    let ack = cloud.ack(&job, Status::Done, "why", &mut topic, &mut payload).unwrap().unwrap();
    assert_eq!(ack.payload, format!("{who}7}}}}"));
    // After the reboot, and for what makes no sense.
    let about = (job.dialect(), "7");
    let ack = cloud.ack_for(about, Status::Failed, "why", &mut topic, &mut payload).unwrap().unwrap();
    assert_eq!(ack.payload, format!("{who}4}}}}"));
    assert_eq!(cloud.ack_for(about, Status::Downloading, "why", &mut topic, &mut payload), Ok(None));
    let Event::Malformed(error) = cloud.arrived("iot/pump-7/cmd", br#"{"cmdType":"0x02","data":{"ackId":"7"}}"#) else {
        panic!()
    };
    let ack = cloud.refuse(&error, "why", &mut topic, &mut payload).unwrap().unwrap();
    assert_eq!(ack.payload, format!("{who}4}}}}"));

    let document = br#"{"v":"2.1","ct":1,"ack":"0a1b","urls":[{"url":"https://h/a"}]}"#;
    let Event::Job(job) = cloud.arrived("iot/pump-7/cmd", document) else { panic!() };
    let ack = cloud.ack(&job, Status::Done, "", &mut topic, &mut payload).unwrap().unwrap();
    assert_eq!(ack.payload, r#"{"d":{"ack":"0a1b","type":1,"st":3,"msg":""}}"#);
}
