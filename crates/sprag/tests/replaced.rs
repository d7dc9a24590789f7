//! Objects that are replaced while the device fetches them, by servers with every kind of ETag: the device never ends a job
//! because it joined two of them.

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use sprag::boot::{Layout, McuBoot};
use sprag::fetch::{self, Fetcher, RetryPolicy, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::job;
use sprag::verify::{Ed25519Key, Policy, Version};
use sprag::{Event, Outcome, Updater};
use sprag_testkit::flash::{self, SimFlash};
use sprag_testkit::http::{Fault, HttpServer, Timers};
use sprag_testkit::image::{self, McuBootImage};

const SLOT: u32 = 8192;
const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };
const DOCUMENT: &[u8] = br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"1","sw":"2","urls":[{"url":"http://host/app"}]}"#;

fn image_of(key: u8, build: u32) -> Vec<u8> {
    let version = image::Version { major: 2, minor: 0, revision: 0, build };
    let payload = &[build as u8; 4000];
    McuBootImage { version, header_size: 32, payload }.sign(&SigningKey::from_bytes(&[key; 32]))
}

/// How a run over this server ends: what the slot holds then, and why it started over.
fn run(server: &HttpServer) -> (Result<Outcome, String>, Vec<u8>, Vec<&'static str>) {
    let capacity = 2 * SLOT + 2048;
    let geometry = flash::FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };
    let flash = SimFlash::in_memory(capacity, geometry);
    let (mut page, mut scratch) = ([0; 256], [0; 256]);
    let key = Ed25519Key::new(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
    let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
    let journal = Journal::new(flash.region(2 * SLOT..2 * SLOT + 2048), GEOMETRY, &mut scratch);
    let slot = SlotWriter::new(secondary.clone(), GEOMETRY, journal, &mut page);
    let boot =
        McuBoot::new(primary, secondary, Layout::new(FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF }));
    let fetcher = Fetcher::new(TcpConnector::new(server, server), Timers);
    let fetcher = fetcher.retry(RetryPolicy { attempts: 2, ..RetryPolicy::default() });
    let mut updater = Updater::new(fetcher, slot, Policy::signed_by(&key), boot);
    let _ = block_on(updater.start(Version::new(1, 0, 0))).unwrap();
    let (mut received, mut reasons) = (0, Vec::new());
    let mut events = |event: Event| match event {
        Event::Fetch(fetch::Event::Closed) if received > 0 => server.replace(image_of(1, 2)),
        Event::Progress { received: now, .. } => received = now,
        Event::StartedOver { reason } => reasons.push(reason),
        _ => {}
    };
    let outcome = block_on(updater.run(&job::parse(DOCUMENT).unwrap(), &mut events));
    let outcome = outcome.map_err(|error| error.reason().to_owned());
    let mut slot = vec![0; SLOT as usize];
    block_on(embedded_storage_async::nor_flash::ReadNorFlash::read(&mut flash.region(SLOT..2 * SLOT), 0, &mut slot))
        .unwrap();
    (outcome, slot, reasons)
}

#[test]
fn the_new_object_is_what_comes_of_it() {
    for (etag, reason) in [
        (Some("\"a\""), "digest-mismatch"), // A server that lies.
        (Some("W/\"a\""), "no-strong-etag"),
        (Some("\"\""), "no-strong-etag"),
        (None, "no-strong-etag"),
    ] {
        for cut in (300..4000).step_by(300) {
            let server = HttpServer::new(image_of(1, 1)).with_etag(etag);
            server.fault(0, Fault::Cut(cut));
            let (outcome, slot, reasons) = run(&server);
            let context = format!("{etag:?}, cut at {cut}: {reasons:?}");
            assert_eq!(outcome, Ok(Outcome::RebootToTest), "{context}");
            assert!(slot.starts_with(&image_of(1, 2)), "{context}");
            assert_eq!(reasons, [reason], "{context}");
        }
    }
    // One that says so.
    let server = HttpServer::new(image_of(1, 1));
    server.fault(0, Fault::Cut(2000));
    let (outcome, slot, reasons) = run(&server);
    assert_eq!((outcome, reasons), (Ok(Outcome::RebootToTest), vec!["object-changed"]));
    assert!(slot.starts_with(&image_of(1, 2)));
}

/// An image that is what it is, in one answer: refused at once, whatever the server says of it; and in bounds, when it came
/// in several.
#[test]
fn a_bad_image_is_fetched_in_bounds() {
    for (etag, cut, starts) in
        [(Some("\"a\""), None, 1), (None, None, 1), (Some("\"a\""), Some(2000), 2), (None, Some(2000), 2)]
    {
        let server = HttpServer::new(image_of(9, 1)).with_etag(etag);
        if let Some(at) = cut {
            server.fault(0, Fault::Cut(at));
        }
        let (outcome, _, reasons) = run(&server);
        let expected = if cut.is_some() { Ok(Outcome::RebootToTest) } else { Err("unknown-key".to_owned()) };
        // After the cut, `run` has put a good one in its place.
        assert_eq!((outcome, reasons.len()), (expected, starts - 1), "{etag:?}, cut at {cut:?}");
    }
}

/// A connection that is lost again and again, and no ETag: it ends, to be tried again later.
#[test]
fn without_an_etag_starts_are_bounded() {
    let server = HttpServer::new(image_of(1, 1)).with_etag(None);
    (0..100).for_each(|connection| server.fault(connection, Fault::Cut(2000)));
    let (outcome, _, reasons) = run(&server);
    assert_eq!((outcome, reasons), (Err("no-strong-etag".to_owned()), vec!["no-strong-etag"; 2]));
    assert_eq!(server.connections(), 3);
}
