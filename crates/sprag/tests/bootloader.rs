//! What the updater asks of a bootloader, in which order, and what it does when the bootloader fails.

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use embedded_storage_async::nor_flash::NorFlashErrorKind;
use mockall::{Sequence, mock};
use sprag::boot::{Area, BootControl, Error as BootError, ImageRegion, State, Swap};
use sprag::fetch::{Fetcher, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::verify::{Ed25519Key, Policy, Version};
use sprag::{Error, Outcome, Startup, Updater};
use sprag_testkit::flash::{self, SimFlash};
use sprag_testkit::http::{HttpServer, Timers};
use sprag_testkit::image::{self, McuBootImage};

mock! {
    Boot {}
    impl BootControl for Boot {
        fn image_region(&self) -> ImageRegion;
        async fn state(&mut self) -> Result<State, BootError>;
        async fn stage(&mut self, swap: Swap) -> Result<(), BootError>;
        async fn unstage(&mut self) -> Result<(), BootError>;
        async fn confirm(&mut self) -> Result<(), BootError>;
        async fn go_back(&mut self) -> Result<(), BootError>;
    }
}

const JOB: &[u8] = br#"{"v":"2.1","ct":1,"ack":"a","sw":"2","urls":[{"url":"http://h/2"}]}"#;
const FAILED: BootError = BootError::Flash { area: Area::Secondary, kind: NorFlashErrorKind::Other };

/// A bootloader on which nothing is under way: asked for its state and its image region any number of times.
fn settled() -> MockBoot {
    let mut boot = MockBoot::new();
    boot.expect_state().returning(|| Ok(State::Settled));
    let geometry = FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };
    boot.expect_image_region().return_const(ImageRegion { start: 0, end: 7168, geometry });
    boot
}

/// Starts a device with this bootloader and runs the job as often as there are outcomes expected.
fn run(boot: MockBoot, expected: &[Result<Outcome, BootError>]) {
    let capacity = 8192 + 2048;
    let geometry = flash::FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };
    let part = SimFlash::in_memory(capacity, geometry);
    let signing = SigningKey::from_bytes(&[1; 32]);
    let version = image::Version { major: 2, minor: 0, revision: 0, build: 0 };
    let server = HttpServer::new(McuBootImage { version, header_size: 32, payload: &[2; 3000] }.sign(&signing));
    let (mut page, mut scratch) = ([0; 256], [0; 256]);
    let geometry = FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };
    let journal = Journal::new(part.region(8192..8192 + 2048), geometry, &mut scratch);
    let slot = SlotWriter::new(part.region(0..8192), geometry, journal, &mut page);
    let key = Ed25519Key::new(signing.verifying_key().to_bytes());
    let fetcher = Fetcher::new(TcpConnector::new(&server, &server), Timers);
    let mut updater = Updater::new(fetcher, slot, Policy::signed_by(&key), boot);
    assert_eq!(block_on(updater.start(Version::new(1, 0, 0))), Ok(Startup::Idle));
    let job = sprag::job::parse(JOB).unwrap();
    for expected in expected {
        let outcome = block_on(updater.run(&job, &mut |_| {}));
        assert_eq!(outcome, expected.map_err(Error::Boot));
    }
    assert_eq!(server.requests().len(), 1, "what came once is not fetched again");
}

#[test]
fn it_is_cleaned_before_the_slot_is_written_and_told_last() {
    let mut boot = settled();
    let mut order = Sequence::new();
    boot.expect_unstage().times(1).in_sequence(&mut order).returning(|| Ok(()));
    boot.expect_stage().withf(|swap| *swap == Swap::Test).times(1).in_sequence(&mut order).returning(|_| Ok(()));
    run(boot, &[Ok(Outcome::RebootToTest)]);
}

#[test]
fn a_bootloader_that_fails_is_told_again_and_nothing_is_lost() {
    let mut boot = settled();
    let mut order = Sequence::new();
    boot.expect_unstage().times(1).in_sequence(&mut order).returning(|| Ok(()));
    boot.expect_stage().times(1).in_sequence(&mut order).returning(|_| Err(FAILED));
    boot.expect_unstage().times(1).in_sequence(&mut order).returning(|| Ok(()));
    boot.expect_stage().times(1).in_sequence(&mut order).returning(|_| Ok(()));
    run(boot, &[Err(FAILED), Ok(Outcome::RebootToTest)]);
}
