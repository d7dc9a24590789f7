//! The road of the example firmwares, on the host: the same function over the same regions of the same part, with the device's
//! own TLS, from IoTConnect's job to the image that is confirmed or swapped back.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use rand_core::OsRng;
use rumqttc::v5::MqttOptions;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sprag::boot::McuBoot;
use sprag::fetch::{P256IdentityKey, Scheme};
use sprag::job::iotconnect::IotConnect as Conversation;
use sprag::mqtt::{Event, IotConnectCloud, Reset};
use sprag::verify::{self, Ed25519Key, Version};
use sprag_cli::net::{HostStack, TokioDelay, unix_seconds};
use sprag_cli::s3::{Config, Server};
use sprag_road::{Board, Broker, Buffers, Device, PublicKey, Settings};
use sprag_stm32::{Flash, Map};
use sprag_testkit::flash::{Part, SimFlash};
use sprag_testkit::image::{self, McuBootImage};
use sprag_testkit::mcuboot::{Bootloader, Method};
use sprag_tests::bench::{ack, job};
use sprag_tests::broker;
use sprag_tests::cloud::iotconnect::{IotConnect, is_final};
use sprag_tests::mosquitto::Mosquitto;
use tempfile::TempDir;

const MAP: Map = Map::H563_MCUBOOT;
const ERASE: usize = MAP.part.erase_size(&MAP.update) as usize;
const OLD: Version = Version::new(1, 0, 0);
const NEW: Version = Version::new(1, 1, 0);
/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A signed firmware that starts at this address.
fn firmware(version: Version, size: usize, reset: u32) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..size).map(|at| (at * usize::from(version.minor + 3)) as u8).collect();
    payload[4..8].copy_from_slice(&reset.to_le_bytes());
    let Version { major, minor, revision, build } = version;
    let version = image::Version { major, minor, revision, build };
    McuBootImage { version, header_size: MAP.header as u16, payload: &payload }.sign(&key())
}

/// A device with the old image, and the cloud that has a job for it.
struct Fleet {
    thing: &'static str,
    part: SimFlash,
    cloud: IotConnect,
    broker: Broker,
    /// Certificate and key, in DER.
    identity: Option<(&'static [u8], PrivateKeyDer<'static>)>,
    roots: Vec<&'static [u8]>,
    events: Vec<Event>,
    _server: Arc<Server>,
    _objects: TempDir,
    _mosquitto: Option<Mosquitto>,
}

fn certificate(pem: &str) -> &'static [u8] {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec().leak()
}

impl Fleet {
    /// At a broker in the clear, which takes anybody.
    async fn new(thing: &'static str, new: Vec<u8>) -> Self {
        let address = broker::embedded().unwrap();
        let host = address.ip().to_string().leak();
        let options = MqttOptions::new(format!("cloud-of-{thing}"), &*host, address.port());
        Self::at(Broker { scheme: Scheme::Http, host, port: address.port() }, options, thing, new).await
    }

    /// At a broker that takes who has a certificate.
    async fn with_certificates(thing: &'static str, new: Vec<u8>) -> Self {
        let mosquitto = Mosquitto::start().unwrap();
        let broker = Broker { scheme: Scheme::Https, host: "localhost", port: mosquitto.port };
        let mut fleet = Self::at(broker, mosquitto.options("iotconnect").unwrap(), thing, new).await;
        let identity = mosquitto.identity(thing).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        fleet.identity = Some((certificate(&identity.certificate), key));
        fleet.roots.push(certificate(mosquitto.root()));
        fleet._mosquitto = Some(mosquitto);
        fleet
    }

    async fn at(broker: Broker, options: MqttOptions, thing: &'static str, new: Vec<u8>) -> Self {
        let part = SimFlash::of(Part::stm32h5());
        part.load(MAP.active.start, &firmware(OLD, 20_000, MAP.addresses().start + 0x801)).unwrap();

        let objects = tempfile::tempdir().unwrap();
        let server = Arc::new(Server::start(Config::new(objects.path())).await.unwrap());
        server.put("firmware", "app.bin", new).await.unwrap();

        let cloud = IotConnect::with(thing, options).await;
        cloud.command(job(&server.presign("firmware", "app.bin", Duration::from_secs(3600))));
        Self {
            thing,
            part,
            cloud,
            broker,
            identity: None,
            roots: vec![certificate(server.ca_pem().unwrap())],
            events: Vec::new(),
            _server: server,
            _objects: objects,
            _mosquitto: None,
        }
    }

    /// A reset: the bootloader swaps or swaps back, and starts an image.
    fn boot(&self) -> Version {
        let [primary, secondary] = [MAP.active, MAP.update].map(|range| self.part.region(range));
        let mut bootloader = Bootloader::new(primary, secondary, Method::Offset);
        bootloader.settings.key = Some(image::PublicKey::Ed25519(key().verifying_key().to_bytes()));
        let image::Version { major, minor, revision, build } = bootloader.boot().expect("the device boots").running;
        Version { major, minor, revision, build }
    }

    /// How the job ended, as the cloud heard it.
    fn finals(&self) -> Vec<String> {
        self.cloud.acks().into_iter().filter(|ack| is_final(ack)).collect()
    }

    /// The firmware's life from one reset to the next; none when the job has ended before.
    async fn live(&mut self, self_test: impl AsyncFnOnce() -> bool) -> Option<Reset> {
        let (running, stack) = (self.boot(), HostStack::default());
        let flash = Flash::new(self.part.region(0..MAP.part.size()).sized::<16, ERASE>(), &MAP.part, || {});
        let region = |range| flash.region::<ERASE>(range).unwrap();
        let board = Board {
            tcp: &stack,
            dns: &stack,
            slot: region(MAP.update),
            slot_geometry: MAP.part.geometry(&MAP.update),
            slot_sectors: &[],
            journal: region(MAP.journal),
            journal_geometry: MAP.part.geometry(&MAP.journal),
            boot: McuBoot::new(region(MAP.active), region(MAP.update), MAP.mcuboot()),
            format: verify::McuBoot,
            running,
            policy: |policy| policy.linked_within(MAP.addresses()),
            random: OsRng,
            delay: TokioDelay,
            seconds: || unix_seconds() as u32,
            unix_seconds: Some(&unix_seconds),
        };
        let settings = Settings {
            broker: self.broker,
            thing: self.thing,
            login: None,
            device: self.identity.as_ref().map(|(certificate, key)| Device {
                certificate,
                key: P256IdentityKey::from_der(key.secret_der()).unwrap(),
            }),
            roots: heapless::Vec::from_slice(&self.roots).unwrap(),
            key: PublicKey::Ed25519(Ed25519Key::new(key().verifying_key().to_bytes())),
        };
        let (cloud, events) = (&self.cloud, &mut self.events);
        let life = sprag_road::run(
            &settings,
            board,
            |_: &Settings, _| Ok(IotConnectCloud::<8>::new(Conversation::new(cloud.topics()))),
            Box::leak(Box::new(Buffers::new())),
            self_test,
            |event| events.push(event.clone()),
        );
        let over = async {
            cloud.ended().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        tokio::select! {
            ended = life => Some(ended.expect("the road goes on")),
            () = over => None,
            () = tokio::time::sleep(PATIENCE) => panic!("no end in sight"),
        }
    }
}

/// From the job to the image that is confirmed.
async fn updates(mut fleet: Fleet, new: &[u8]) {
    assert_eq!(fleet.live(async || panic!("nothing to test")).await, Some(Reset));
    let mut tested = false;
    assert_eq!(
        fleet
            .live(async || {
                tested = true;
                true
            })
            .await,
        None
    );
    assert!(tested);
    assert_eq!(fleet.finals(), [ack(3, "1.1.0 runs and is confirmed")]);
    // It stays, and lies where it was swapped to.
    assert_eq!((fleet.boot(), fleet.boot()), (NEW, NEW));
    assert!(fleet.part.contents()[MAP.active.start as usize..].starts_with(new));
    assert_eq!(fleet.part.violations(), []);
    assert!(fleet.events.contains(&Event::SelfTest { passed: true }), "{:?}", fleet.events);
    let broken = |event: &Event| matches!(event, Event::Disconnected { .. });
    assert!(!fleet.events.iter().any(broken), "{:?}", fleet.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_image_by_the_firmwares_own_road() {
    let new = firmware(NEW, 300_003, MAP.addresses().start + 0x1001);
    updates(Fleet::new("road-1", new.clone()).await, &new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_image_through_a_broker_that_wants_a_certificate() {
    let new = firmware(NEW, 100_000, MAP.addresses().start + 0x1001);
    updates(Fleet::with_certificates("road-4", new.clone()).await, &new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_certificate_a_device_is_not_let_in() {
    let mut fleet = Fleet::with_certificates("road-5", firmware(NEW, 20_000, MAP.addresses().start + 0x1001)).await;
    fleet.identity = None;
    let life = fleet.live(async || panic!("nothing to test"));
    tokio::time::timeout(Duration::from_secs(3), life).await.unwrap_err();
    let refused = |event: &Event| matches!(event, Event::Disconnected { during: "connect", .. });
    assert!(!fleet.events.is_empty() && fleet.events.iter().all(refused), "{:?}", fleet.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_fails_its_self_test_is_swapped_back() {
    let new = firmware(NEW, 100_000, MAP.addresses().start + 0x1001);
    let mut fleet = Fleet::new("road-2", new).await;
    assert_eq!(fleet.live(async || panic!("nothing to test")).await, Some(Reset));
    assert_eq!(fleet.live(async || false).await, Some(Reset));
    assert_eq!(fleet.live(async || panic!("nothing to test")).await, None);
    assert_eq!((fleet.boot(), fleet.finals()), (OLD, vec![ack(4, "reverted")]));
    assert_eq!(fleet.part.violations(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_linked_for_elsewhere_is_refused() {
    let new = firmware(NEW, 100_000, MAP.addresses().end + 1);
    let mut fleet = Fleet::new("road-3", new).await;
    assert_eq!(fleet.live(async || panic!("nothing to test")).await, None);
    assert_eq!((fleet.boot(), fleet.finals()), (OLD, vec![ack(4, "wrong-slot")]));
}
