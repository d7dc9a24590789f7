//! An update from something else than HTTP: whatever is an `ImageSource` will do.

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use embedded_io_async::ErrorKind;
use sprag::boot::{Layout, McuBoot};
use sprag::fetch::{self, Image, ImageSource, Session, UrlError};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::job::{self};
use sprag::verify::{Ed25519Key, Policy, Version};
use sprag::{Error, Event, Outcome, Updater};
use sprag_testkit::flash::{self, SimFlash};
use sprag_testkit::image::{self, McuBootImage};

const SLOT: u32 = 8192;
const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };

/// A card with one image on it, which comes in blocks; it is pulled out before a block, once.
struct Card {
    image: Vec<u8>,
    pulled_at: Option<u64>,
    asked: Vec<String>,
}

struct Reading<'s> {
    card: &'s mut Card,
    session: Session,
}

impl ImageSource for Card {
    type Error = ErrorKind;
    type Image<'s, L: Iterator<Item = u8> + Clone> = Reading<'s>;

    fn open<L: Iterator<Item = u8> + Clone>(&mut self, location: L, session: Session) -> Result<Reading<'_>, UrlError> {
        self.asked.push(String::from_utf8(location.collect()).expect("text"));
        Ok(Reading { card: self, session })
    }
}

impl Image for Reading<'_> {
    type Error = ErrorKind;

    fn session(&self) -> &Session {
        &self.session
    }

    async fn read(
        &mut self,
        buf: &mut [u8],
        _: &mut dyn FnMut(fetch::Event),
    ) -> Result<usize, fetch::Error<ErrorKind>> {
        if self.card.pulled_at.is_some_and(|at| at <= self.session.offset) {
            self.card.pulled_at = None;
            return Err(fetch::Error::Connection(ErrorKind::NotConnected));
        }
        self.session.total = Some(self.card.image.len() as u64);
        self.session.etag.get_or_insert_with(|| "\"serial-7\"".try_into().expect("short"));
        let rest = &self.card.image[self.session.offset as usize..];
        let count = rest.len().min(buf.len()).min(100);
        buf[..count].copy_from_slice(&rest[..count]);
        self.session.offset += count as u64;
        Ok(count)
    }
}

#[test]
fn from_a_card_that_is_pulled_out_once() {
    let version = image::Version { major: 2, minor: 0, revision: 0, build: 0 };
    let image = McuBootImage { version, header_size: 32, payload: &[2; 4000] }.sign(&SigningKey::from_bytes(&[1; 32]));
    let capacity = 2 * SLOT + 2048;
    let geometry = flash::FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };
    let flash = SimFlash::in_memory(capacity, geometry);
    let (mut page, mut scratch) = ([0; 1024], [0; 256]);
    let key = Ed25519Key::new(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
    let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
    let journal = Journal::new(flash.region(2 * SLOT..2 * SLOT + 2048), GEOMETRY, &mut scratch);
    let slot = SlotWriter::new(secondary.clone(), GEOMETRY, journal, &mut page);
    let boot = McuBoot::new(
        primary,
        secondary.clone(),
        Layout::new(FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF }),
    );
    let policy = Policy::signed_by(&key).newer_than(Version::new(1, 0, 0));
    let card = Card { image: image.clone(), pulled_at: Some(2500), asked: Vec::new() };
    let mut updater = Updater::new(card, slot, policy, boot);
    let _ = block_on(updater.start(Version::new(1, 0, 0))).unwrap();

    let document = br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"1","sw":"2","urls":[{"url":"https://card/app"}]}"#;
    let job = job::parse(document).unwrap();
    let mut begun = Vec::new();
    let mut events = |event: Event| {
        if let Event::Downloading { offset } = event {
            begun.push(offset);
        }
    };
    let pulled = block_on(updater.run(&job, &mut events));
    assert_eq!(pulled, Err(Error::Fetch(fetch::Error::Connection(ErrorKind::NotConnected))));
    assert_eq!(block_on(updater.run(&job, &mut events)), Ok(Outcome::RebootToTest));
    assert_eq!(begun, [0, 2048], "it goes on behind the last whole sector");
}
