//! Jobs over mosquitto, with TLS and client certificates, and with the broker restarted in the middle of a job: no job is
//! done twice, none is lost, every job ends with exactly one final status.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use sprag::job::aws::{AwsJobs as Conversation, Settings};
use sprag::job::iotconnect::IotConnect as IotConversation;
use sprag::mqtt::{
    Account, AwsCloud, Broker, Client, Cloud, Event, Incoming, IotConnectCloud, MqttBroker, MqttVersion,
};
use sprag_cli::device::{Device, Happening, SelfTest};
use sprag_cli::net::HostConnector;
use sprag_cli::online;
use sprag_cli::s3::Disturbance;
use sprag_testkit::aws_jobs::Service;
use sprag_tests::bench::{Bench, NEW, OLD, job};
use sprag_tests::cloud::aws::AwsJobs;
use sprag_tests::cloud::iotconnect::IotConnect;
use sprag_tests::mosquitto::Mosquitto;

const THING: &str = "pump-7";
const SIZE: usize = 200 * 1024;
/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a device until `done` is.
async fn live<K: Cloud>(
    bench: &Bench,
    device: &Device,
    (broker, client_id, version): (&Mosquitto, &str, MqttVersion),
    sockets: &HostConnector,
    cloud: impl FnMut() -> K,
    done: impl Future<Output = ()>,
    on: &mut dyn FnMut(Happening),
) {
    let s3 = HostConnector::trusting_pem(bench.server.ca_pem().unwrap()).unwrap();
    let account = Account::tls("localhost", client_id).port(broker.port);
    let mut memory = vec![0; online::BROKER_MEMORY];
    let mut dialled = online::broker(sockets, account, &mut memory).version(version);
    tokio::select! {
        Err(error) = online::serve(device, &mut dialled, &s3, online::limits(), cloud, on) => panic!("{error:#}"),
        () = done => {}
        () = tokio::time::sleep(PATIENCE) => panic!("no end in sight"),
    }
}

fn conversation() -> AwsCloud<'static> {
    let first_token =
        u32::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() % 1_000_000_000)
            .unwrap();
    let settings = Settings { first_token, step_timeout_minutes: Some(5), ..Settings::default() };
    AwsCloud::new(Conversation::new(THING, settings).unwrap())
}

/// A bench with an image in its bucket, and AWS's service behind a mosquitto.
struct Fleet {
    bench: Bench,
    broker: Mosquitto,
    aws: AwsJobs,
    sockets: HostConnector,
    version: MqttVersion,
}

impl Fleet {
    async fn new(jobs: &[&str]) -> Self {
        let bench = Bench::new(1).await.unwrap();
        let image = bench.image(NEW, SIZE);
        bench.publish(image.clone()).await.unwrap();
        let broker = Mosquitto::start().unwrap();
        let (server, signed) = (Arc::clone(&bench.server), Cell::new(0u64));
        // Another URL each time, for each is signed for another number of seconds.
        let mut service = Service::new(THING, move |_| {
            signed.set(signed.get() + 1);
            let url = server.presign("firmware", "device/app.signed.bin", Duration::from_secs(3_600 - signed.get()));
            json!({"operation": "ota", "version": "1.1.0", "artifact": {"url": url, "size": image.len()}})
        });
        jobs.iter().for_each(|id| service.create(id));
        let aws = AwsJobs::new(THING, broker.options("aws").unwrap(), service).await;
        let sockets = broker.connector(THING).unwrap();
        Self { bench, broker, aws, sockets, version: MqttVersion::V5 }
    }

    /// Runs the device until every job has ended, and a moment longer.
    async fn run(&self, on: &mut dyn FnMut(Happening)) {
        let done = async {
            self.aws.ended().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        let device = self.bench.device().unwrap();
        live(&self.bench, &device, (&self.broker, THING, self.version), &self.sockets, conversation, done, on).await;
    }

    fn runs(&self) -> sprag_testkit::image::Version {
        self.bench.device().unwrap().reset().unwrap().running
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_aws_from_the_queue_to_its_end() {
    job_of_aws(MqttVersion::V5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_aws_over_mqtt_3() {
    job_of_aws(MqttVersion::V3_1_1).await;
}

async fn job_of_aws(version: MqttVersion) {
    let fleet = Fleet { version, ..Fleet::new(&["first", "second"]).await };
    fleet.run(&mut |_| {}).await;
    // The second brings what runs by now: it is done, with nothing staged.
    assert_eq!(
        (fleet.aws.finals("first"), fleet.aws.finals("second")),
        (vec!["SUCCEEDED".into()], vec!["SUCCEEDED".into()])
    );
    let details = |id: &str| fleet.aws.with(|service| service.job(id).unwrap().details.clone());
    assert_eq!(
        (details("first"), details("second")),
        (json!({"self_test": "accepted"}), json!({"reason": "same-version"}))
    );
    assert_eq!(fleet.runs(), NEW);
    assert_eq!(fleet.bench.server.stats().requests, 2);
}

/// The broker is killed and comes back, once at each step of a job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_restarts_in_the_middle_of_a_job() {
    broker_restarts(MqttVersion::V5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_restarts_in_the_middle_of_a_job_over_mqtt_3() {
    broker_restarts(MqttVersion::V3_1_1).await;
}

async fn broker_restarts(version: MqttVersion) {
    type Moment = fn(&Happening) -> bool;
    let moments: [(&str, Moment); 6] = [
        ("connected", |happening| matches!(happening, Happening::Cloud(Event::Connected))),
        ("begun", |happening| matches!(happening, Happening::Update(sprag::Event::Downloading { .. }))),
        (
            "half",
            |happening| matches!(happening, Happening::Update(sprag::Event::Progress { received, total }) if received * 2 > *total),
        ),
        ("verified", |happening| matches!(happening, Happening::Update(sprag::Event::Verified { .. }))),
        ("on trial", |happening| matches!(happening, Happening::SelfTest(SelfTest::Pass))),
        ("again", |happening| matches!(happening, Happening::Cloud(Event::Connected))),
    ];
    for (name, moment) in moments {
        let mut fleet = Fleet { version, ..Fleet::new(&["a"]).await };
        let device = fleet.bench.device().unwrap();
        let (mut seen, restarted) = (0, tokio::sync::Notify::new());
        // "again" is the connection after the reset.
        let wanted = if name == "again" { 2 } else { 1 };
        let mut on = |happening: Happening| {
            if moment(&happening) {
                seen += 1;
                if seen == wanted {
                    restarted.notify_one();
                }
            }
        };
        let Fleet { bench, broker, aws, sockets, version } = &mut fleet;
        let (port, broker) = (broker.port, std::cell::RefCell::new(broker));
        let s3 = HostConnector::trusting_pem(bench.server.ca_pem().unwrap()).unwrap();
        let account = Account::tls("localhost", THING).port(port);
        let mut memory = vec![0; online::BROKER_MEMORY];
        let mut dialled = online::broker(sockets, account, &mut memory).version(*version);
        let serve = online::serve(&device, &mut dialled, &s3, online::limits(), conversation, &mut on);
        let disturb = async {
            restarted.notified().await;
            broker.borrow_mut().switch_off();
            tokio::time::sleep(Duration::from_millis(400)).await;
            broker.borrow_mut().switch_on().unwrap();
            aws.ended().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        tokio::select! {
            Err(error) = serve => panic!("{name}: {error:#}"),
            () = disturb => {}
            () = tokio::time::sleep(PATIENCE) => panic!("{name}: no end in sight, {:?}", aws.with(|service| format!("{service:?}"))),
        }
        drop(device);
        assert_eq!(fleet.aws.finals("a"), ["SUCCEEDED"], "{name}");
        assert_eq!(fleet.runs(), NEW, "{name}");
        assert_eq!(fleet.bench.server.stats().requests, 1, "{name}: the download goes on without the broker");
    }
}

/// The URL expires in mid-transfer: the job is described again, which signs it anew, and the download goes on at its byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_expires_is_asked_for_again() {
    let mut fleet = Fleet::new(&["a"]).await;
    fleet.bench.settings.range_size = std::num::NonZeroU64::new(16 * 1024);
    fleet.bench.server.on_request(|number| (number == 7).then_some(Disturbance::ExpireUrls));
    fleet.run(&mut |_| {}).await;
    assert_eq!(fleet.aws.finals("a"), ["SUCCEEDED"]);
    assert_eq!(fleet.aws.asked("a/get"), 1);
    let log = fleet.bench.server.stats().log;
    let refused: Vec<_> =
        log.iter().filter(|request| request.status == Some(403)).map(|request| request.range.clone()).collect();
    assert_eq!(refused, [Some("bytes=98304-114687".to_owned())]);
    assert_eq!(
        log.len(),
        fleet.bench.image(NEW, SIZE).len().div_ceil(16 * 1024) + 1,
        "no range but that one was asked for twice"
    );
}

/// Canceled, deleted or timed out while it is being downloaded: the device stops, says nothing, and does the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_ends_is_stopped() {
    type End = fn(&AwsJobs);
    let ends: [(&str, End); 3] = [
        ("CANCELED", |aws| aws.with(|service| service.cancel("a"))),
        ("deleted", |aws| aws.with(|service| service.delete("a"))),
        ("TIMED_OUT", |aws| aws.leap(301)),
    ];
    for (status, end) in ends {
        let mut fleet = Fleet::new(&["a"]).await;
        fleet.bench.settings.range_size = std::num::NonZeroU64::new(4096);
        // The third range takes as long as it takes the device to hear of it.
        fleet.bench.server.on_request(|number| (number == 3).then_some(Disturbance::Delay(Duration::from_secs(8))));
        let (stopped, begun) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let mut on = |happening: Happening| match happening {
            Happening::Update(sprag::Event::Progress { received: 8192.., .. }) => begun.notify_one(),
            Happening::Cloud(Event::Stopped) => stopped.notify_one(),
            _ => {}
        };
        let done = async {
            begun.notified().await;
            // The step timer runs from the device's first word about the job on.
            while fleet.aws.with(|service| service.job("a").unwrap().version) < 3 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            end(&fleet.aws);
            stopped.notified().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        let device = fleet.bench.device().unwrap();
        live(&fleet.bench, &device, (&fleet.broker, THING, fleet.version), &fleet.sockets, conversation, done, &mut on)
            .await;
        assert_eq!(fleet.aws.finals("a"), Vec::<String>::new(), "{status}");
        if status != "deleted" {
            assert_eq!(fleet.aws.with(|service| service.job("a").unwrap().status), status);
        }
        assert_eq!(device.reset().unwrap().running, OLD, "{status}");

        drop(device);
        fleet.aws.with(|service| service.create("b"));
        fleet.run(&mut |_| {}).await;
        assert_eq!(fleet.aws.finals("b"), ["SUCCEEDED"], "after {status}");
    }
}

/// The new image does not pass its test: FAILED, with `self_test` rejected, and the old one runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_test_that_hangs_is_told() {
    let mut fleet = Fleet::new(&["a"]).await;
    fleet.bench.settings.self_test = SelfTest::Hang;
    fleet.run(&mut |_| {}).await;
    assert_eq!(fleet.aws.finals("a"), ["FAILED"]);
    let details = fleet.aws.with(|service| service.job("a").unwrap().details.clone());
    assert_eq!(details, json!({"reason": "reverted", "self_test": "rejected"}));
    assert_eq!(fleet.runs(), OLD);
}

/// IoTConnect's conversation over the same broker, restarted in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ota_of_iotconnect() {
    ota_of_iotconnect(MqttVersion::V5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ota_of_iotconnect_over_mqtt_3() {
    ota_of_iotconnect(MqttVersion::V3_1_1).await;
}

async fn ota_of_iotconnect(version: MqttVersion) {
    let bench = Bench::new(2).await.unwrap();
    let url = bench.publish(bench.image(NEW, SIZE)).await.unwrap();
    let broker = Mosquitto::start().unwrap();
    let sockets = broker.connector(THING).unwrap();
    let cloud = IotConnect::with(THING, broker.options("iotconnect").unwrap()).await;
    cloud.command(job(&url));
    let device = bench.device().unwrap();
    let reported = tokio::sync::Notify::new();
    let mut on = |happening: Happening| {
        if let Happening::Cloud(Event::Reported { .. }) = happening {
            reported.notify_one();
        }
    };
    let talk = || IotConnectCloud::<8>::new(IotConversation::new(cloud.topics()));
    live(&bench, &device, (&broker, THING, version), &sockets, talk, reported.notified(), &mut on).await;
    cloud.ended().await;
    let finals: Vec<_> = cloud.acks().into_iter().filter(|ack| !ack.contains(r#""st":2"#)).collect();
    assert_eq!(finals, [sprag_tests::bench::ack(3, "1.1.0 runs and is confirmed")]);
    assert_eq!(device.reset().unwrap().running, NEW);
}

/// A message that is larger than the device's memory: kept back by the broker where MQTT 5 lets it know the size, else skipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_larger_than_the_memory_is_never_cut_short() {
    let mosquitto = Mosquitto::start().unwrap();
    let sockets = mosquitto.connector(THING).unwrap();
    let account = Account::tls("localhost", THING).port(mosquitto.port);
    for version in [MqttVersion::V5, MqttVersion::V3_1_1] {
        let (mut incoming, mut outgoing) = ([0; 1024], [0; 256]);
        let mut broker = MqttBroker::new(&sockets, account, &mut incoming, &mut outgoing).version(version);
        let mut client = broker.connect().await.unwrap();
        client.subscribe("t/#").await.unwrap();
        // All three go through the outgoing memory, or around it: 200 bytes, 3,000 and as much as fits.
        let properties = usize::from(version == MqttVersion::V5);
        let fits = 1024 - 3 - 2 - "t/fits".len() - 2 - properties;
        for (topic, length) in [("t/small", 200), ("t/large", 3_000), ("t/fits", fits)] {
            client.publish(topic, &vec![b'x'; length]).await.unwrap();
        }
        let (mut arrived, mut acknowledged) = (Vec::new(), 0);
        while acknowledged < 4 || !arrived.contains(&("t/fits".to_owned(), fits)) {
            let receive = async {
                client.ready().await.unwrap();
                client.receive().await.unwrap()
            };
            match tokio::time::timeout(PATIENCE, receive).await.unwrap() {
                Incoming::Message { topic, payload } => {
                    assert!(payload.iter().all(|byte| *byte == b'x'));
                    arrived.push((topic.to_owned(), payload.len()));
                }
                Incoming::TooLarge { needed } => arrived.push(("too large".to_owned(), needed)),
                Incoming::Acknowledged => acknowledged += 1,
                Incoming::Alive => {}
            }
        }
        let mut expected = vec![("t/small".to_owned(), 200), ("t/fits".to_owned(), fits)];
        if version == MqttVersion::V3_1_1 {
            expected.insert(1, ("too large".to_owned(), 3_000 + 3 + 2 + "t/large".len() + 2));
        }
        assert_eq!(arrived, expected, "{version:?}");
    }
}

/// Without a certificate the broker does not let a device in; it keeps asking, with growing waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_in_without_a_certificate() {
    let fleet = Fleet::new(&["a"]).await;
    let refused = Cell::new(0);
    let mut on = |happening: Happening| match happening {
        Happening::Cloud(Event::Disconnected { during: "connect", .. }) => refused.set(refused.get() + 1),
        Happening::Cloud(Event::Connected) => panic!("let in"),
        _ => {}
    };
    let done = async {
        while refused.get() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let device = fleet.bench.device().unwrap();
    let sockets = fleet.broker.anonymous().unwrap();
    live(&fleet.bench, &device, (&fleet.broker, THING, fleet.version), &sockets, conversation, done, &mut on).await;
    assert_eq!(fleet.aws.asked("start-next"), 0);
}
