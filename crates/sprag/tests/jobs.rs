//! What becomes of jobs that are delivered twice, overtaken, refused, or make no sense.

use ed25519_dalek::SigningKey;
use embassy_futures::block_on;
use sprag::boot::{Layout, McuBoot};
use sprag::fetch::{Connector, Fetcher, RetryPolicy, TcpConnectError, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::job::{self, Status};
use sprag::verify::{Ed25519Key, Policy, Version};
use sprag::{Error, ID_MAX, Outcome, Phase, Startup, Updater, WearLimits};
use sprag_testkit::flash::{self, Region, SimFlash};
use sprag_testkit::http::{Fault, HttpServer, Refused, Timers};
use sprag_testkit::image::{self, McuBootImage};

const SLOT: u32 = 8192;
const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };

type TestError = Error<TcpConnectError<Refused, Refused>>;
type TestUpdater<'b> =
    Updater<'b, 'b, Fetcher<TcpConnector<'b, HttpServer, HttpServer>, Timers>, Region, Region, McuBoot<Region, Region>>;

fn image_of(major: u8, payload: usize) -> Vec<u8> {
    let version = image::Version { major, minor: 0, revision: 0, build: 0 };
    McuBootImage { version, header_size: 32, payload: &vec![major; payload] }.sign(&SigningKey::from_bytes(&[1; 32]))
}

fn document(ack: &str, sw: &str, url: &str) -> String {
    format!(r#"{{"v":"2.1","ct":1,"cmd":"ota","ack":"{ack}","sw":"{sw}","urls":[{{"url":"{url}"}}]}}"#)
}

/// Hands an updater on this flash to the test: a device between two resets.
fn with<T>(flash: &SimFlash, server: &HttpServer, test: impl FnOnce(&mut TestUpdater<'_>) -> T) -> T {
    with_limits(flash, server, Some(Version::new(1, 0, 0)), WearLimits::DEFAULT, test)
}

/// The same with another policy and other limits.
fn with_limits<T>(
    flash: &SimFlash,
    server: &HttpServer,
    newer_than: Option<Version>,
    limits: WearLimits,
    test: impl FnOnce(&mut TestUpdater<'_>) -> T,
) -> T {
    let (mut page, mut scratch) = ([0; 256], [0; 256]);
    let key = Ed25519Key::new(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
    let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
    let journal = Journal::new(flash.region(2 * SLOT..2 * SLOT + 2048), GEOMETRY, &mut scratch);
    let slot = SlotWriter::new(secondary.clone(), GEOMETRY, journal, &mut page);
    let boot =
        McuBoot::new(primary, secondary, Layout::new(FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF }));
    let fetcher = Fetcher::new(TcpConnector::new(server, server), Timers);
    let fetcher = fetcher.retry(RetryPolicy { attempts: 2, ..RetryPolicy::default() });
    let policy = Policy::signed_by(&key);
    let policy = newer_than.map_or(policy, |running| policy.newer_than(running));
    let mut updater = Updater::new(fetcher, slot, policy, boot).wear_limits(limits);
    let _ = block_on(updater.start(Version::new(1, 0, 0))).unwrap();
    test(&mut updater)
}

fn device() -> SimFlash {
    let capacity = 2 * SLOT + 2048;
    let geometry = flash::FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF };
    SimFlash::in_memory(capacity, geometry)
}

fn run<C: Connector>(
    updater: &mut Updater<'_, '_, Fetcher<C, Timers>, Region, Region, McuBoot<Region, Region>>,
    document: &str,
) -> Result<Outcome, Error<C::Error>> {
    let job = job::parse(document.as_bytes()).unwrap();
    block_on(updater.run(&job, &mut |_| {}))
}

/// The final report that is owed, after which it is not.
fn report(updater: &mut TestUpdater<'_>) -> Option<(String, Status, String)> {
    let report = block_on(updater.report()).unwrap()?;
    block_on(updater.reported()).unwrap();
    assert_eq!(block_on(updater.report()), Ok(None));
    Some((report.id().to_owned(), report.status(), report.reason().to_owned()))
}

fn failed(id: &str, reason: &str) -> Option<(String, Status, String)> {
    Some((id.to_owned(), Status::Failed, reason.to_owned()))
}

fn refused(id: &str, reason: &str) -> Option<(String, Status, String)> {
    Some((id.to_owned(), Status::Refused, reason.to_owned()))
}

#[test]
fn a_job_that_is_delivered_twice_is_done_once() {
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    with(&flash, &server, |updater| {
        let document = document("a", "2", "http://h/2");
        assert_eq!(run(updater, &document), Ok(Outcome::RebootToTest));
        assert_eq!(run(updater, &document), Ok(Outcome::RebootToTest), "staged already");
        assert_eq!(server.requests().len(), 1);
        assert_eq!(block_on(updater.start(Version::new(1, 0, 0))), Ok(Startup::Staged));
    });
}

#[test]
fn a_refused_image_is_reported_once_and_not_tried_again() {
    let (flash, server) = (device(), HttpServer::new(image_of(0, 3000)));
    with(&flash, &server, |updater| {
        let document = document("a", "0", "http://h/1");
        assert!(matches!(run(updater, &document), Err(Error::Verify(_))));
        assert_eq!(run(updater, &document), Ok(Outcome::AlreadyEnded(Status::Refused)));
        assert_eq!(report(updater), refused("a", "not-newer"));
        assert_eq!(run(updater, &document), Ok(Outcome::AlreadyEnded(Status::Refused)));
        assert_eq!(server.requests().len(), 1);
    });
    with(&flash, &server, |updater| {
        assert_eq!(block_on(updater.start(Version::new(1, 0, 0))), Ok(Startup::Idle));
        assert_eq!(block_on(updater.report()), Ok(None), "across resets too");
    });
}

/// A device that lacks what the job takes could not do it: that says nothing about what the job names.
#[test]
fn a_job_that_the_device_is_not_set_up_for_has_failed() {
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    with(&flash, &server, |updater| {
        assert!(matches!(run(updater, &document("a", "2", "https://h/2")), Err(Error::Fetch(_))));
        assert_eq!(report(updater), failed("a", "connect-failed"));
    });
}

/// No job is lost: one that overtakes another waits until the other has been reported.
#[test]
fn a_job_that_is_overtaken_is_reported_before_the_next_begins() {
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    server.fault(0, Fault::Cut(2000));
    server.fault(1, Fault::Refuse);
    server.fault(2, Fault::Refuse);
    with(&flash, &server, |updater| {
        assert!(matches!(run(updater, &document("a", "2", "http://h/2")), Err(Error::Fetch(_))));
        let record = block_on(updater.job()).unwrap().unwrap();
        assert_eq!((record.id.as_str(), record.phase), ("a", Phase::Started));
    });
    with(&flash, &server, |updater| {
        assert_eq!(block_on(updater.start(Version::new(1, 0, 0))), Ok(Startup::Unfinished));
        let next = document("b", "3", "http://h/3");
        assert_eq!(run(updater, &next), Err(Error::ReportOwed));
        assert_eq!(run(updater, &next), Err(Error::ReportOwed));
        assert_eq!(report(updater), failed("a", "superseded"));
        assert_eq!(run(updater, &next), Ok(Outcome::RebootToTest));
    });
}

/// The same update under a new id and a new URL goes on where the other was.
#[test]
fn a_job_sent_again_with_a_fresh_url_goes_on() {
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    server.fault(0, Fault::Cut(2500));
    server.fault(1, Fault::Refuse);
    server.fault(2, Fault::Refuse);
    with(&flash, &server, |updater| {
        assert!(run(updater, &document("a", "2", "http://h/2?old")).unwrap_err().is_retryable());
        let again = document("b", "2", "http://h/2?new");
        assert_eq!(run(updater, &again), Err(Error::ReportOwed));
        assert_eq!(report(updater), failed("a", "superseded"));
        assert_eq!(run(updater, &again), Ok(Outcome::RebootToTest));
    });
    let last = server.requests().pop().unwrap();
    assert!(last.head.starts_with("GET /2?new "));
    assert_eq!((last.header("Range"), last.header("If-Match")), (Some("bytes=2304-"), Some("\"1\"")));
}

#[test]
fn what_makes_no_sense_is_rejected_and_nothing_is_fetched() {
    let long = "x".repeat(ID_MAX + 1);
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    let two = r#"{"v":"2.1","ct":1,"ack":"a","urls":[{"url":"http://h/1"},{"url":"http://h/2"}]}"#;
    let child = r#"{"v":"2.1","ct":1,"ack":"b","urls":[{"url":"http://h/1","tg":"child"}]}"#;
    let fragment = document("c", "2", "http://h/#2");
    for (document, error, reason) in
        [(two, Error::Artifacts { count: 2 }, "job-artifacts"), (child, Error::Artifacts { count: 0 }, "job-artifacts")]
    {
        with(&flash, &server, |updater| {
            assert_eq!(run(updater, document), Err(error));
            let (_, status, given) = report(updater).unwrap();
            assert_eq!((status, given.as_str()), (Status::Rejected, reason));
        });
    }
    with(&flash, &server, |updater| {
        assert_eq!(run(updater, &fragment).unwrap_err().reason(), "url-fragment");
        assert_eq!(report(updater).map(|(_, status, _)| status), Some(Status::Rejected));
        assert_eq!(run(updater, &document(&long, "2", "http://h/2")), Err(Error::JobId { length: ID_MAX + 1 }));
        assert_eq!(block_on(updater.report()), Ok(None));
    });
    assert_eq!(server.connections(), 0);
}

/// An overwrite-only MCUboot that was cut off behind the copy: the new image runs, and still counts as staged. It is done.
#[test]
fn an_image_that_runs_and_still_counts_as_staged_is_done() {
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    let running = Version::new(2, 0, 0);
    with(&flash, &server, |updater| {
        assert_eq!(run(updater, &document("a", "2", "http://h/2")), Ok(Outcome::RebootToTest));
        assert_eq!(block_on(updater.start(running)), Ok(Startup::Staged));
        assert_eq!(block_on(updater.start(running)), Ok(Startup::Idle));
        assert_eq!(report(updater).map(|(_, status, _)| status), Some(Status::Done));
    });
}

/// Resetting is tried once more, and then it is over.
#[test]
fn an_image_that_the_bootloader_never_takes_is_given_up() {
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    let running = Version::new(1, 0, 0);
    with(&flash, &server, |updater| {
        assert_eq!(run(updater, &document("a", "2", "http://h/2")), Ok(Outcome::RebootToTest));
        assert_eq!(block_on(updater.start(running)), Ok(Startup::Staged));
        assert_eq!(block_on(updater.start(running)), Ok(Startup::Idle));
        assert_eq!(report(updater), failed("a", "not-swapped"));
    });
    with(&flash, &server, |updater| assert_eq!(block_on(updater.start(running)), Ok(Startup::Idle)));
}

#[test]
fn a_job_can_be_abandoned() {
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    (0..9).for_each(|connection| server.fault(connection, Fault::Refuse));
    with(&flash, &server, |updater| {
        block_on(updater.abandon("nothing")).unwrap();
        assert_eq!(block_on(updater.report()), Ok(None));
        assert!(run(updater, &document("a", "2", "http://h/2")).unwrap_err().is_retryable());
        block_on(updater.abandon("no-network")).unwrap();
        assert_eq!(report(updater), failed("a", "no-network"));
        assert_eq!(run(updater, &document("a", "2", "http://h/2")), Ok(Outcome::AlreadyEnded(Status::Failed)));
    });
}

/// A job whose image has the version that runs and is confirmed is done, with a policy that wants newer ones and without.
/// What the document calls the version does not count: it need not be the image's.
#[test]
fn a_job_for_the_running_version_is_done() {
    for newer in [true, false] {
        let (flash, server) = (device(), HttpServer::new(image_of(1, 3000)));
        let than = newer.then_some(Version::new(1, 0, 0));
        with_limits(&flash, &server, than, WearLimits::DEFAULT, |updater| {
            let document = document("a", "7", "http://h/1");
            assert_eq!(run(updater, &document), Ok(Outcome::AlreadyRuns));
            assert_eq!(run(updater, &document), Ok(Outcome::AlreadyEnded(Status::Done)));
            assert_eq!(report(updater), Some(("a".to_owned(), Status::Done, "same-version".to_owned())));
        });
    }
}

/// What lies at the start of the slot, and how often that was erased.
fn erases(flash: &SimFlash) -> u32 {
    flash.stats().erases_per_sector[(SLOT / 1024) as usize]
}

/// A server that has another object at every start, and gives more of it in every run: what is thrown away is no
/// progress, within one life and over resets.
#[test]
fn an_object_that_always_changes_ends_the_job_after_ten_starts() {
    for reset_every in [1, 3, 1000] {
        let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
        let document = document("a", "2", "http://h/2");
        let mut runs = 0;
        let mut ended = false;
        while !ended {
            with(&flash, &server, |updater| {
                for _ in 0..reset_every {
                    runs += 1;
                    assert!(runs < 100, "no end in sight");
                    server.replace(image_of(2, 3000 + runs));
                    let connections = server.connections();
                    // The one that asks for the rest of the old object, and the one that begins the new one.
                    (0..2).for_each(|next| server.fault(connections + next, Fault::Cut(900 + 8 * runs)));
                    (2..4).for_each(|next| server.fault(connections + next, Fault::Refuse));
                    match run(updater, &document) {
                        Err(error) if error.is_retryable() => {}
                        Err(error) => {
                            assert!(matches!(error, Error::TooManyStarts | Error::NoProgress), "{error:?}");
                            assert_eq!(report(updater), failed("a", error.reason()));
                            ended = true;
                            return;
                        }
                        Ok(outcome) => panic!("{outcome:?}"),
                    }
                }
            });
        }
        assert!((3..=12).contains(&erases(&flash)), "{} erases", erases(&flash));
    }
}

/// Jobs whose images are refused use the starts up; then nothing is erased any more, until time gives some back.
#[test]
fn the_flash_is_not_worn_out_by_job_after_job() {
    let (flash, server) = (device(), HttpServer::new(image_of(0, 3000)));
    let limits = WearLimits { per_job: 2, total: 3 };
    let one = |id: &str| {
        with_limits(&flash, &server, Some(Version::new(1, 0, 0)), limits, |updater| {
            if id == "e" {
                block_on(updater.credit(1)).unwrap();
            }
            let result = run(updater, &document(id, "", "http://h/0").replace(r#""sw":"","#, ""));
            report(updater);
            result.map_err(|error| error.reason())
        })
    };
    assert_eq!(
        ["a", "b", "c", "d", "e"].map(one),
        [Err("not-newer"), Err("not-newer"), Err("not-newer"), Err("wear-limit"), Err("not-newer")]
    );
    assert_eq!(erases(&flash), 4);
}

/// A job that crashes the device, or is cut off, before it comes any further ends in bounds; one that comes further with
/// every start does not.
#[test]
fn a_job_that_resets_the_device_again_and_again_is_given_up() {
    let document = document("a", "2", "http://h/2");
    let (flash, server) = (device(), HttpServer::new(image_of(2, 3000)));
    server.fault(0, Fault::Cut(2000));
    (1..200).for_each(|connection| server.fault(connection, Fault::Refuse));
    let mut lives = 0;
    let end = loop {
        lives += 1;
        let result = with(&flash, &server, |updater| run(updater, &document));
        match result {
            Err(error) if error.is_retryable() => assert!(lives < 50, "no end in sight"),
            result => break result,
        }
    };
    assert_eq!((end, lives), (Err(Error::NoProgress), 19));
    with(&flash, &server, |updater| assert_eq!(report(updater), failed("a", "no-progress")));

    // A sector in each life: 40 lives and no end but the image's.
    let (flash, server) = (device(), HttpServer::new(image_of(2, 4500)));
    for life in 0..40 {
        server.fault(2 * life, Fault::Cut(700));
        server.fault(2 * life + 1, Fault::Refuse);
    }
    let mut lives = 0;
    loop {
        lives += 1;
        match with(&flash, &server, |updater| run(updater, &document)) {
            Ok(outcome) => break assert_eq!(outcome, Outcome::RebootToTest),
            Err(error) => assert!(error.is_retryable() && lives < 50, "{error:?}"),
        }
    }
}

/// Without the running version, nothing would tell whether an image came to run.
#[test]
fn an_updater_that_was_not_started_does_nothing() {
    let (flash, server) = (device(), HttpServer::new(image_of(1, 3000)));
    let (mut page, mut scratch) = ([0; 256], [0; 256]);
    let key = Ed25519Key::new(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
    let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
    let journal = Journal::new(flash.region(2 * SLOT..2 * SLOT + 2048), GEOMETRY, &mut scratch);
    let slot = SlotWriter::new(secondary.clone(), GEOMETRY, journal, &mut page);
    let boot =
        McuBoot::new(primary, secondary, Layout::new(FlashGeometry { write_size: 4, erase_size: 1024, erased: 0xFF }));
    let fetcher = Fetcher::new(TcpConnector::new(&server, &server), Timers);
    let mut updater = Updater::new(fetcher, slot, Policy::signed_by(&key), boot);
    let document = document("a", "1", "http://h/1");
    assert_eq!(run(&mut updater, &document), Err(Error::NotStarted));
    assert_eq!(server.connections(), 0);
}

/// A digest in the job must be that of the bytes in flash, however well they are signed.
#[test]
#[cfg(feature = "aws-jobs")]
fn a_digest_in_the_job_counts() {
    use sha2::Digest;
    let image = image_of(2, 3000);
    let digest = |bytes: &[u8]| sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (same, other) = (digest(&image), digest(b"other"));
    for (sha256, expected) in [(same, Ok(Outcome::RebootToTest)), (other, Err("file-digest-mismatch"))] {
        let (flash, server) = (device(), HttpServer::new(image.clone()));
        let document = format!(
            r#"{{"execution":{{"jobId":"a","status":"QUEUED","versionNumber":1,"jobDocument":{{"operation":"ota","version":"2","artifact":{{"url":"http://h/2","size":{},"sha256":"{sha256}"}}}}}}}}"#,
            image.len()
        );
        with(&flash, &server, |updater| {
            assert_eq!(run(updater, &document).map_err(|error| error.reason()), expected);
        });
    }
}

/// The image is refused for its size before a byte of it is erased or written.
#[test]
fn an_image_that_does_not_fit_changes_nothing_in_the_slot() {
    let (flash, server) = (device(), HttpServer::new(image_of(2, SLOT as usize)));
    flash.load(SLOT, &[0x5A; 100]).unwrap();
    let before = flash.contents();
    with(&flash, &server, |updater| {
        let error: TestError = run(updater, &document("a", "2", "http://h/2")).unwrap_err();
        assert_eq!(error.reason(), "image-too-large");
        assert_eq!(report(updater), refused("a", "image-too-large"));
    });
    assert_eq!(flash.contents()[..2 * SLOT as usize], before[..2 * SLOT as usize]);
}
