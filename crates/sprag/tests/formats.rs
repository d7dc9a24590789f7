//! Images of other formats than MCUboot's, and what the job has to say of them.
#![cfg(all(feature = "afr-ota", feature = "aws-jobs", feature = "iotconnect"))]

use base64ct::{Base64, Encoding};
use embassy_futures::block_on;
use p256::ecdsa::SigningKey;
use sprag::boot::{Layout, McuBoot};
use sprag::fetch::{Fetcher, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::job;
use sprag::verify::{EspIdf, Format, P256Key, Policy, Raw, Version, VersionAt};
use sprag::{Event, Outcome, Updater};
use sprag_testkit::flash::{self, SimFlash};
use sprag_testkit::http::{HttpServer, Timers};
use sprag_testkit::image::{EspIdfImage, Signer, sign_secure_boot};

const SLOT: u32 = 32768;
const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF };
const RUNNING: Version = Version::new(1, 4, 2);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

/// A whole run for one job, on a device that takes images of this format; the version that was verified, or the reason.
fn run<F: Format>(
    format: F,
    image: &[u8],
    document: &str,
    policy: impl FnOnce(Policy<'_>) -> Policy<'_>,
) -> Result<Version, &'static str> {
    let capacity = 2 * SLOT + 8192;
    let flash = flash::FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF };
    let flash = SimFlash::in_memory(capacity, flash);
    let server = HttpServer::new(image.to_vec());
    let (mut page, mut scratch) = ([0; 256], [0; 256]);
    let public = P256Key::new(Signer::from(&key(1)).public().try_into().unwrap());
    let (primary, secondary) = (flash.region(0..SLOT), flash.region(SLOT..2 * SLOT));
    let journal = Journal::new(flash.region(2 * SLOT..2 * SLOT + 8192), GEOMETRY, &mut scratch);
    let slot = SlotWriter::new(secondary.clone(), GEOMETRY, journal, &mut page);
    let boot =
        McuBoot::new(primary, secondary, Layout::new(FlashGeometry { write_size: 4, erase_size: 4096, erased: 0xFF }));
    let fetcher = Fetcher::new(TcpConnector::new(&server, &server), Timers);
    let policy = policy(Policy::signed_by(&public).newer_than(RUNNING));
    let mut updater = Updater::new(fetcher, slot, policy, boot).format(format);
    let job = job::parse(document.as_bytes()).unwrap();
    let mut verified = None;
    let outcome = block_on(async {
        let _ = updater.start(RUNNING).await.unwrap();
        updater
            .run(&job, &mut |event| {
                if let Event::Verified { version } = event {
                    verified = Some(version);
                }
            })
            .await
    });
    match outcome {
        Ok(outcome) => {
            assert_eq!(outcome, Outcome::RebootToTest);
            Ok(verified.expect("verified before it was staged"))
        }
        Err(error) => Err(error.reason()),
    }
}

fn same(policy: Policy<'_>) -> Policy<'_> {
    policy
}

/// A job as AWS's CreateOTAUpdate makes it, with a code signature by this key.
fn afr_ota(image: &[u8], signature: &str) -> String {
    format!(
        r#"{{"execution":{{"jobId":"AFR_OTA-a","status":"QUEUED","versionNumber":1,"jobDocument":{{"afr_ota":{{"protocols":["HTTP"],"files":[{{"filepath":"/device","filesize":{},"fileid":0,"certfile":"/c.pem","update_data_url":"http://h/2","auth_scheme":"aws.s3.presigned","sig-sha256-ecdsa":"{signature}"}}]}}}}}}}}"#,
        image.len()
    )
}

fn signature(image: &[u8], seed: u8) -> String {
    Base64::encode_string(&Signer::from(&key(seed)).sign(image))
}

#[test]
fn a_raw_image_is_vouched_for_by_its_job() {
    let mut image = vec![7; 5000];
    image[512..520].copy_from_slice(&Version::new(1, 5, 0).to_bytes());
    let raw = || Raw(VersionAt::Offset(512));
    assert_eq!(run(raw(), &image, &afr_ota(&image, &signature(&image, 1)), same), Ok(Version::new(1, 5, 0)));
    // JSON may escape a slash, and base64 has many.
    let escaped = signature(&image, 1).replace('/', r"\/");
    assert_eq!(run(raw(), &image, &afr_ota(&image, &escaped), same), Ok(Version::new(1, 5, 0)));
    assert_eq!(run(raw(), &image, &afr_ota(&image, &signature(&image, 2)), same), Err("bad-signature"));
    assert_eq!(run(raw(), &image, &afr_ota(&image, "MEUCIQ=="), same), Err("signature-encoding"));
    let long = "MEUC".repeat(30);
    assert_eq!(run(raw(), &image, &afr_ota(&image, &long), same), Err("signature-encoding"));
    let by_job = Raw(VersionAt::Job);
    assert_eq!(run(by_job, &image, &afr_ota(&image, &signature(&image, 1)), same), Err("version-missing"));
    image[512] = 0;
    assert_eq!(run(raw(), &image, &afr_ota(&image, &signature(&image, 1)), same), Err("not-newer"));
}

#[test]
fn a_job_may_say_version_and_board_of_a_raw_image() {
    let image = vec![7; 5000];
    let signature = signature(&image, 1);
    let document = format!(
        r#"{{"execution":{{"jobId":"a","status":"QUEUED","versionNumber":1,"jobDocument":{{"operation":"ota","version":"v2.0.1","artifact":{{"url":"http://h/2","size":{},"signature":{{"algorithm":"sig-sha256-ecdsa","value":"{signature}"}}}}}}}}}}"#,
        image.len()
    );
    let by_job = || Raw(VersionAt::Job);
    fn trusting(policy: Policy<'_>) -> Policy<'_> {
        policy.trusting_the_job()
    }
    assert_eq!(run(by_job(), &image, &document, trusting), Ok(Version::new(2, 0, 1)));
    let boardless = run(by_job(), &image, &document, |policy| policy.trusting_the_job().for_board("board-a"));
    assert_eq!(boardless, Err("board-missing"));
    assert_eq!(run(by_job(), &image, &document.replace("v2.0.1", "latest"), trusting), Err("version-format"));
    let long = "1".repeat(30);
    assert_eq!(run(by_job(), &image, &document.replace("v2.0.1", &long), trusting), Err("version-format"));
    let without = document.replace(r#""version":"v2.0.1","#, "");
    assert_eq!(run(by_job(), &image, &without, trusting), Err("version-missing"));
    let board = |name: &str| document.replace("\"version\"", &format!(r#""hardware":"{name}","version""#));
    fn for_board(policy: Policy<'_>) -> Policy<'_> {
        policy.trusting_the_job().for_board("board-a")
    }
    assert_eq!(run(by_job(), &image, &board("board-a"), for_board), Ok(Version::new(2, 0, 1)));
    assert_eq!(run(by_job(), &image, &board("board-b"), for_board), Err("wrong-board"));
    assert_eq!(run(by_job(), &image, &board(&"b".repeat(65)), for_board), Err("board-too-long"));
    assert_eq!(run(by_job(), &image, &document, same), Err("version-missing"), "nobody signed it");
}

/// A signature that can't be verified is not as good as none: the cloud hears which of the two it is. It does no harm beside an
/// image that carries its own.
#[test]
fn a_signature_of_another_algorithm_is_named() {
    let mut image = vec![7; 5000];
    image[512..520].copy_from_slice(&Version::new(1, 5, 0).to_bytes());
    let raw = || Raw(VersionAt::Offset(512));
    let signed = afr_ota(&image, &signature(&image, 1));
    for algorithm in ["sig-sha256-rsa", "sig-sha1-rsa", "sig-sha1-ecdsa"] {
        let document = afr_ota(&image, &"AAAA".repeat(86)).replace("sig-sha256-ecdsa", algorithm);
        assert_eq!(run(raw(), &image, &document, same), Err("signature-algorithm"), "{algorithm}");
    }
    let unsigned = signed.replace(&signature(&image, 1), "N/A");
    assert_eq!(run(raw(), &image, &unsigned, same), Err("unsigned"));
    let data = [1; 64];
    let program = [2; 5000];
    let esp = EspIdfImage {
        chip: 5,
        revisions: [0, 199],
        version: "1.5.0",
        secure_version: 3,
        project: "board-a",
        data: &data,
        program: &program,
    };
    let rsa = |image: &[u8]| afr_ota(image, &"AAAA".repeat(86)).replace("sig-sha256-ecdsa", "sig-sha256-rsa");
    let carried = sign_secure_boot(esp.build(), &[&key(1)]);
    assert_eq!(run(EspIdf, &carried, &rsa(&carried), same), Ok(Version::new(1, 5, 0)));
    assert_eq!(run(EspIdf, &esp.build(), &rsa(&esp.build()), same), Err("signature-algorithm"));
}

#[test]
fn an_esp_idf_image_says_it_all_itself() {
    let image = EspIdfImage {
        chip: 5,
        revisions: [0, 199],
        version: "1.5.0",
        secure_version: 3,
        project: "board-a",
        data: &[1; 64],
        program: &[2; 5000],
    };
    let signed = sign_secure_boot(image.build(), &[&key(1)]);
    let document = r#"{"v":"2.1","ct":1,"cmd":"ota","ack":"a","sw":"9","urls":[{"url":"http://h/2"}]}"#;
    assert_eq!(run(EspIdf, &signed, document, same), Ok(Version::new(1, 5, 0)));
    assert_eq!(run(EspIdf, &signed, document, |policy| policy.for_chip(9)), Err("wrong-chip"));
    assert_eq!(run(EspIdf, &image.build(), document, same), Err("unsigned"));
    assert_eq!(run(Raw(VersionAt::Job), &signed, document, same), Err("unsigned"));
}
