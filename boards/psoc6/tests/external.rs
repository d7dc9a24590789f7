//! Infineon's external maps, whose secondary slot begins or ends within a sector of 256 KiB: a whole update through slot
//! writer and hand-over, with the test kit's model of Infineon's MCUboot on the same flash.

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use sprag::boot::mcuboot::WholeSectors;
use sprag::boot::{BootControl, Cypress, State, Swap};
use sprag::fetch::{Fetcher, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, Sectors, SlotWriter};
use sprag::verify::{Ed25519Key, Policy, mcuboot};
use sprag::{Outcome, Startup, Updater};
use sprag_psoc6::{ERASED, Map, Part, ROW};
use sprag_testkit::flash::{self, Region, SimFlash};
use sprag_testkit::http::{HttpServer, Timers};
use sprag_testkit::image::{self, McuBootImage};
use sprag_testkit::mcuboot::{Boot, Cypress as Bootloader, Swap as Did};

/// What fills the serial flash beside the sectors of slot and scratch.
const NEIGHBOUR: u8 = 0x5A;
const MAPS: [Map; 2] = [Map::PSOC6_SWAP_SINGLE_SMIF, Map::PSOC62_2M_EXT_SWAP_SINGLE];

struct Device {
    map: Map,
    internal: SimFlash,
    serial: SimFlash,
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn image(map: &Map, major: u8, length: usize) -> Vec<u8> {
    let version = image::Version { major, minor: 0, revision: 0, build: 0 };
    McuBootImage { version, header_size: map.header as u16, payload: &vec![major; length] }.sign(&key())
}

impl Device {
    fn new(map: Map) -> Self {
        let units = map.serial.unwrap();
        let capacity = Part::CY8C6XXA.flash;
        let (write_size, erase_size) = (ROW as u32, ROW as u32);
        let internal = SimFlash::in_memory(capacity, flash::FlashGeometry { write_size, erase_size, erased: ERASED });
        let capacity = map.scratch.end + 2 * units.erase_size;
        let (write_size, erase_size) = (units.write_size, units.erase_size);
        let serial =
            SimFlash::in_memory(capacity, flash::FlashGeometry { write_size, erase_size, erased: units.erased });
        serial.load(0, &vec![NEIGHBOUR; capacity as usize]).unwrap();
        internal.load(map.primary.start, &image(&map, 1, 20_000)).unwrap();
        Self { map, internal, serial }
    }

    fn slot(&self) -> WholeSectors<Region> {
        let sector = self.map.serial.unwrap().erase_size;
        WholeSectors::new(self.serial.region(0..self.serial.capacity()), self.map.secondary.clone(), sector)
    }

    fn reset(&self) -> Boot {
        let Map { primary, secondary, status, scratch, .. } = self.map.clone();
        let [primary, status] = [primary, status].map(|range| self.internal.region(range));
        let [secondary, scratch] = [secondary, scratch].map(|range| self.serial.region(range));
        Bootloader::new(primary, secondary, status, scratch, self.map.layout().max_sectors).boot().unwrap()
    }

    /// One life of the device, from a start to the next reset.
    async fn live(&self, server: &HttpServer, life: u32) {
        let Map { primary, status, journal, .. } = self.map.clone();
        let units = self.map.serial.unwrap();
        let geometry = FlashGeometry { write_size: ROW as u32, erase_size: ROW as u32, erased: ERASED };
        let (mut page, mut record, mut row) = ([0; 1024], [0; ROW], [0; ROW]);
        let running = mcuboot::version(&mut self.internal.region(primary.clone()), &mut page).await.unwrap();
        let journal = Journal::new(self.internal.region(journal), geometry, &mut record);
        let geometry =
            FlashGeometry { write_size: units.write_size, erase_size: units.erase_size, erased: units.erased };
        let sectors = [Sectors { count: 1, size: self.map.first_sector() }];
        let slot = SlotWriter::new(self.slot(), geometry, journal, &mut page).sectors(&sectors);
        let [primary, status] = [primary, status].map(|range| self.internal.region(range));
        let boot = Cypress::new(primary, self.slot(), status, self.map.layout(), &mut row);
        let fetch = Fetcher::new(TcpConnector::new(server, server), Timers);
        let public = Ed25519Key::new(key().verifying_key().to_bytes());
        let mut updater = Updater::new(fetch, slot, Policy::signed_by(&public).newer_than(running), boot);
        match (life, updater.start(running).await.unwrap()) {
            (0, Startup::Idle) => {
                let document = br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"7d","sw":"2.0","urls":[{"url":"http://h/a"}]}"#;
                let job = sprag::job::parse(document).unwrap();
                assert_eq!(updater.run(&job, &mut |_| {}).await, Ok(Outcome::RebootToTest));
            }
            (1, Startup::Trial) => updater.confirm().await.unwrap(),
            (2, Startup::Idle) => {}
            (life, startup) => panic!("life {life}: {startup:?}"),
        }
    }

    fn call<T>(&self, call: impl AsyncFnOnce(&mut Cypress<'_, Region, WholeSectors<Region>, Region>) -> T) -> T {
        let mut row = [0; ROW];
        let [primary, status] = [&self.map.primary, &self.map.status].map(|range| self.internal.region(range.clone()));
        block_on(call(&mut Cypress::new(primary, self.slot(), status, self.map.layout(), &mut row)))
    }

    /// Neither part was asked for what it can't do, and what lies in other sectors of the serial flash is as it was.
    fn check(&self) {
        assert_eq!((self.internal.violations(), self.serial.violations()), (vec![], vec![]));
        let sector = self.map.serial.unwrap().erase_size;
        let contents = self.serial.contents();
        let taken = self.map.secondary.end.next_multiple_of(sector);
        for beside in [taken..self.map.scratch.start, self.map.scratch.end..contents.len() as u32] {
            let beside = &contents[beside.start as usize..beside.end as usize];
            assert!(beside.iter().all(|byte| *byte == NEIGHBOUR));
        }
    }
}

#[test]
fn a_whole_update_on_infineons_external_maps() {
    for map in MAPS {
        // As large as the room takes, and one that ends in the second of the short sector's neighbours.
        let device = Device::new(map.clone());
        let room = device.call(async |boot| boot.image_region());
        let overhead = image(&map, 2, 0).len();
        for length in [(room.end - room.start) as usize - overhead, 200_000] {
            let device = Device::new(map.clone());
            let server = HttpServer::new(image(&map, 2, length));
            for life in 0..3 {
                block_on(device.live(&server, life));
                let boot = device.reset();
                assert_eq!(boot.running.major, 2);
                assert_eq!(boot.swap, if life == 0 { Did::Test } else { Did::None });
            }
            device.check();
        }
    }
}

#[test]
fn an_update_on_infineons_external_maps_is_reverted_and_made_again_for_good() {
    for map in MAPS {
        let device = Device::new(map.clone());
        let server = HttpServer::new(image(&map, 2, 20_000));
        block_on(device.live(&server, 0));
        assert_eq!(device.reset().swap, Did::Test);
        device.call(async |boot| boot.go_back().await).unwrap();
        let boot = device.reset();
        assert_eq!((boot.swap, boot.running.major), (Did::Revert, 1));
        assert_eq!(device.call(async |boot| boot.state().await), Ok(State::Settled));
        device.call(async |boot| boot.stage(Swap::Permanent).await).unwrap();
        let boot = device.reset();
        assert_eq!((boot.swap, boot.running.major), (Did::Permanent, 2));
        assert_eq!(device.reset().swap, Did::None);
        device.check();
    }
}
