//! The local S3 server, asked over real connections.

#[path = "s3/client.rs"]
mod client;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use client::{Client, tls};
use sprag_cli::s3::{CloseMode, Config, Credentials, Disturbance, Server};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::pki_types::ServerName;

const HOUR: Duration = Duration::from_secs(3600);

/// An empty directory of the test's own.
fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("s3").join(test);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Bytes that show where they are from.
fn image(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

async fn start(test: &str, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::new(directory(test));
    change(&mut config);
    let server = Server::start(config).await.unwrap();
    server.put("images", "app.bin", image(10_000)).await.unwrap();
    server
}

#[tokio::test]
async fn ranges_with_both_signatures() {
    let server = start("ranges", |_| {}).await;
    let v4 = server.presign("images", "app.bin", HOUR);
    assert!(v4.len() >= 1200, "{} bytes", v4.len());
    assert!(v4.contains("X-Amz-Security-Token="));
    let v2 = server.presign_v2("images", "app.bin", SystemTime::now() + HOUR);
    let mut client = Client::connect(&server).await;
    for url in [v4, v2] {
        let whole = client.get(&url, "").await;
        assert_eq!((whole.status(), &whole.body), (200, &image(10_000)));
        assert_eq!(whole.header("accept-ranges"), Some("bytes"));
        for (range, content_range, part) in [
            ("5-14", "bytes 5-14/10000", &image(10_000)[5..15]),
            ("9990-", "bytes 9990-9999/10000", &image(10_000)[9990..]),
            ("9990-20000", "bytes 9990-9999/10000", &image(10_000)[9990..]),
        ] {
            let answer = client.get(&url, &format!("Range: bytes={range}\r\n")).await;
            assert_eq!((answer.status(), answer.header("content-range")), (206, Some(content_range)));
            assert_eq!(answer.body, part);
            assert_eq!(answer.header("etag"), whole.header("etag"));
        }
        client.get(&url, "Range: bytes=10000-\r\n").await.assert_error(416, "InvalidRange");
    }
}

#[tokio::test]
async fn only_what_was_signed() {
    let server = start("signed", |_| {}).await;
    let mut client = Client::connect(&server).await;
    let v4 = server.presign("images", "app.bin", HOUR);
    let v2 = server.presign_v2("images", "app.bin", SystemTime::now() + HOUR);
    for url in [&v4, &v2] {
        client.get(&url.replacen("app.bin", "app.bit", 1), "").await.assert_error(403, "SignatureDoesNotMatch");
        client.send("HEAD", url, "").await;
        assert_eq!(client.receive(false).await.unwrap().status(), 403);
    }
    client.get(&v4[..255], "").await.assert_error(403, "AccessDenied");
    client.get(&v2.replacen("security-token=IQ", "security-token=QI", 1), "").await.assert_error(400, "InvalidToken");

    client.get(&server.presign("images", "other.bin", HOUR), "").await.assert_error(404, "NoSuchKey");
    client.get(&server.presign("nothing", "app.bin", HOUR), "").await.assert_error(404, "NoSuchBucket");
}

#[tokio::test]
async fn without_a_session_token() {
    let credentials = Credentials { session_token: None, ..Credentials::generate() };
    let server = start("tokenless", |config| config.credentials = credentials).await;
    let mut client = Client::connect(&server).await;
    let v2 = server.presign_v2("images", "app.bin", SystemTime::now() + HOUR);
    for url in [server.presign("images", "app.bin", HOUR), v2] {
        assert!(url.len() < 400);
        assert_eq!(client.get(&url, "").await.status(), 200);
    }
}

#[tokio::test]
async fn urls_expire_by_the_clock_and_on_demand() {
    let server = start("expiry", |_| {}).await;
    let mut client = Client::connect(&server).await;
    let past = SystemTime::now() - HOUR;
    let urls = [server.presign_at("images", "app.bin", past, HOUR / 2), server.presign_v2("images", "app.bin", past)];
    for url in urls {
        let answer = client.get(&url, "").await;
        answer.assert_error(403, "AccessDenied");
        assert!(String::from_utf8(answer.body).unwrap().contains("<Message>Request has expired</Message>"));
    }
    assert_eq!(client.get(&server.presign_at("images", "app.bin", past, 2 * HOUR), "").await.status(), 200);

    let start = SystemTime::now();
    let sign =
        || [server.presign_at("images", "app.bin", start, HOUR), server.presign_v2("images", "app.bin", start + HOUR)];
    let old = sign();
    server.expire_urls();
    for (old, new) in old.iter().zip(sign()) {
        client.get(old, "").await.assert_error(403, "AccessDenied");
        assert_eq!(client.get(&new, "").await.status(), 200);
    }
}

#[tokio::test]
async fn if_match_pins_the_object() {
    let server = start("if-match", |_| {}).await;
    let url = server.presign("images", "app.bin", HOUR);
    let mut client = Client::connect(&server).await;
    let etag = client.get(&url, "").await.header("etag").unwrap().to_owned();
    let pinned = format!("If-Match: {etag}\r\nRange: bytes=9000-\r\n");
    assert_eq!(client.get(&url, &pinned).await.status(), 206);
    assert_eq!(client.get(&url, "If-Match: *\r\n").await.status(), 200);
    client.get(&url, &format!("If-Match: W/{etag}\r\n")).await.assert_error(412, "PreconditionFailed");

    let new = server.put("images", "app.bin", &b"short"[..]).await.unwrap();
    client.get(&url, &pinned).await.assert_error(412, "PreconditionFailed");
    client.get(&url, "Range: bytes=9000-\r\n").await.assert_error(416, "InvalidRange");
    assert_eq!(client.get(&url, &format!("If-Match: \"{new}\"\r\n")).await.body, b"short");
}

#[tokio::test]
async fn the_hundredth_answer_is_the_last() {
    for close in [CloseMode::Announced, CloseMode::Silent] {
        let server = start(&format!("hundred-{close:?}"), |config| config.close = close).await;
        let url = server.presign("images", "app.bin", HOUR);
        let mut client = Client::connect(&server).await;
        for request in 1..=100 {
            let answer = client.get(&url, "Range: bytes=100-199\r\n").await;
            assert_eq!((answer.status(), answer.body.len()), (206, 100));
            let announced = request == 100 && close == CloseMode::Announced;
            assert_eq!(answer.header("connection"), announced.then_some("close"), "{request}");
        }
        assert!(client.is_at_end().await);
        client.send("GET", &url, "").await;
        assert!(client.receive(true).await.is_none());

        assert_eq!(Client::connect(&server).await.get(&url, "").await.status(), 200);
        let stats = server.stats();
        assert_eq!((stats.connections, stats.requests, stats.bytes_sent), (2, 101, 20_000));
        assert_eq!(stats.log.iter().filter(|record| record.connection == 1).count(), 100);
    }
}

#[tokio::test]
async fn pipelined_requests_are_cut_off_silently_too() {
    let server = start("pipelined", |config| {
        config.requests_per_connection = Some(2);
        config.close = CloseMode::Silent;
    })
    .await;
    let url = server.presign("images", "app.bin", HOUR);
    let mut client = Client::connect(&server).await;
    for _ in 0..3 {
        client.send("GET", &url, "Range: bytes=0-9\r\n").await;
    }
    assert_eq!(client.receive(true).await.unwrap().status(), 206);
    // What of the second answer arrives depends on when the third request is read; a third answer does not come.
    let _ = client.receive(true).await;
    assert!(client.is_at_end().await);
    assert_eq!(server.stats().requests, 2);
}

#[tokio::test]
async fn what_was_asked_is_on_record() {
    let server = start("record", |_| {}).await;
    let (sender, mut told) = mpsc::unbounded_channel();
    server.on_answer(move |record| sender.send(record.clone()).unwrap());
    let url = server.presign("images", "app.bin", HOUR);
    let mut client = Client::connect(&server).await;
    client.get(&url, "Range: bytes=0-99\r\n").await;
    client.get(&url, "Range: bytes=100-\r\nIf-Match: \"no\"\r\n").await;
    let mut second = Client::connect(&server).await;
    second.get(&url, "").await;

    let told = [told.recv().await.unwrap(), told.recv().await.unwrap(), told.recv().await.unwrap()];
    let stats = server.stats();
    assert_eq!((stats.connections, stats.handshakes_failed, stats.requests), (2, 0, 3));
    let [first, mismatch, whole] = &stats.log[..] else { panic!("{stats:?}") };
    assert_eq!((first.number, first.connection, &*first.method, &*first.path), (1, 1, "GET", "/images/app.bin"));
    assert_eq!((first.range.as_deref(), first.if_match.as_deref()), (Some("bytes=0-99"), None));
    assert_eq!((first.status, first.body_bytes), (Some(206), 100));
    assert_eq!((mismatch.status, mismatch.if_match.as_deref()), (Some(412), Some("\"no\"")));
    assert_eq!((whole.connection, whole.status, whole.body_bytes), (2, Some(200), 10_000));
    assert_eq!(stats.bytes_sent, 10_100 + mismatch.body_bytes);
    assert_eq!(told[..], stats.log);
}

#[tokio::test]
async fn the_certificate_holds_for_its_names_only() {
    let server = start("certificate", |config| config.host = "cloud.example".into()).await;
    let handshake = async |ca: &str, name: &str| {
        let tcp = TcpStream::connect(server.addr()).await.unwrap();
        tls(ca).connect(ServerName::try_from(name.to_owned()).unwrap(), tcp).await
    };
    let ca = server.ca_pem().unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "cloud.example"] {
        let stream = handshake(ca, name).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
    assert!(handshake(ca, "s3.example").await.is_err());
    // The server learns of it a little later.
    while server.stats().handshakes_failed == 0 {
        tokio::task::yield_now().await;
    }
    let other = start("certificate-other", |_| {}).await;
    assert!(handshake(other.ca_pem().unwrap(), "localhost").await.is_err());
    assert!(server.url_base().starts_with("https://cloud.example:"));
}

#[tokio::test]
async fn each_disturbance_at_its_request() {
    let server = start("disturbances", |config| config.tls = false).await;
    let (url, old) = (server.presign("images", "app.bin", HOUR), image(10_000));
    server.on_request(|request| match request {
        1 => Some(Disturbance::Delay(Duration::from_millis(1))),
        2 => Some(Disturbance::slow_down(Some(2))),
        3 => Some(Disturbance::IgnoreRange),
        4 => Some(Disturbance::Replace { bucket: "images".into(), key: "app.bin".into(), bytes: image(20_000) }),
        5 => Some(Disturbance::CutAfter(20_000)),
        6 => Some(Disturbance::CutAfter(12_345)),
        7 => Some(Disturbance::CutAfter(0)),
        8 => Some(Disturbance::HangUp),
        9 => Some(Disturbance::StallAfter(777)),
        _ => Some(Disturbance::ExpireUrls),
    });
    let mut client = Client::connect(&server).await;
    assert_eq!(client.get(&url, "").await.body, old);
    let busy = client.get(&url, "").await;
    busy.assert_error(503, "SlowDown");
    assert_eq!(busy.header("retry-after"), Some("2"));
    let whole = client.get(&url, "Range: bytes=5-\r\n").await;
    assert_eq!((whole.status(), whole.body), (200, old));
    assert_eq!(client.get(&url, "").await.body, image(20_000));
    assert_eq!(client.get(&url, "").await.body, image(20_000));
    assert_eq!(client.get(&url, "").await.body, &image(20_000)[..12_345]);
    assert!(client.is_at_end().await);

    let mut client = Client::connect(&server).await;
    assert_eq!(client.get(&url, "").await.body, b"");
    assert!(client.is_at_end().await);
    let mut client = Client::connect(&server).await;
    client.send("GET", &url, "").await;
    assert!(client.receive(true).await.is_none());

    // The stall lasts until the server stops.
    let mut stalled = Client::connect(&server).await;
    stalled.send("GET", &url, "").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stalled.io.read_u8().await.unwrap());
    }
    let mut body = vec![0; 777];
    stalled.io.read_exact(&mut body).await.unwrap();
    assert_eq!(body, &image(20_000)[..777]);

    Client::connect(&server).await.get(&url, "").await.assert_error(403, "AccessDenied");
    server.stop().await;
    assert!(stalled.is_at_end().await);
}

#[tokio::test]
async fn a_cut_arrives_to_the_byte_over_tls() {
    let server = start("cut", |_| {}).await;
    server.put("images", "big.bin", image(3_000_000)).await.unwrap();
    server.on_request(|_| Some(Disturbance::CutAfter(2_345_678)));
    let mut client = Client::connect(&server).await;
    client.send("GET", &server.presign("images", "big.bin", HOUR), "").await;
    let mut received = Vec::new();
    let error = client.io.read_to_end(&mut received).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "no TLS goodbye");
    assert!(received.ends_with(&image(3_000_000)[2_300_000..2_345_678]));
    assert_eq!(server.stats().bytes_sent, 2_345_678);
}

#[tokio::test]
async fn a_published_directory_stays_as_it_is() {
    let root = directory("publish").join("My_Firmware");
    std::fs::create_dir_all(root.join("v1.2/.git")).unwrap();
    for (path, content) in [("a b+ü.bin", "top"), ("v1.2/app.bin", "below"), (".hidden", "no"), ("v1.2/.git/x", "no")]
    {
        std::fs::write(root.join(path), content).unwrap();
    }
    let mut config = Config::publish(&root).unwrap();
    config.tls = false;
    let server = Server::start(config).await.unwrap();
    let objects = server.objects().unwrap();
    let expected = ["a b+ü.bin", "v1.2/app.bin"].map(|key| ("my-firmware".to_owned(), key.to_owned()));
    assert_eq!(objects, expected);

    let mut client = Client::connect(&server).await;
    for ((bucket, key), content) in objects.iter().zip(["top", "below"]) {
        let v2 = server.presign_v2(bucket, key, SystemTime::now() + HOUR);
        for url in [server.presign(bucket, key, HOUR), v2] {
            let answer = client.get(&url, "").await;
            assert_eq!((answer.status(), &*answer.body), (200, content.as_bytes()), "{key}");
        }
    }
    client.get(&server.presign("my-firmware", "v1.2", HOUR), "").await.assert_error(404, "NoSuchKey");
    client.get(&server.presign("other", "app.bin", HOUR), "").await.assert_error(404, "NoSuchBucket");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 3);
}

#[tokio::test]
async fn errors_name_what_is_in_the_way() {
    let server = start("errors", |_| {}).await;
    let start = async |root: PathBuf, bind| {
        let mut config = Config::new(root);
        config.bind = bind;
        format!("{:#}", Server::start(config).await.err().unwrap())
    };
    let free = "127.0.0.1:0".parse().unwrap();
    let taken = start(directory("errors-2"), server.addr()).await;
    assert!(taken.contains(&format!("cannot listen on {}", server.addr())), "{taken}");
    let missing = start("/no/such/directory".into(), free).await;
    assert!(missing.contains("/no/such/directory") && missing.contains("not a directory"), "{missing}");
    let missing = format!("{:#}", Config::publish("/no/such/directory").unwrap_err());
    assert!(missing.contains("/no/such/directory"), "{missing}");
    let outside = server.put("images", "../x", &b""[..]).await.unwrap_err().to_string();
    assert!(outside.contains("images/../x"), "{outside}");

    let addr = server.addr();
    server.stop().await;
    let mut config = Config::new(directory("errors-3"));
    config.bind = addr;
    Server::start(config).await.expect("the port is free again");
    assert!(
        !format!("{:?}", Credentials { secret_key: "s3cret".into(), ..Credentials::generate() }).contains("s3cret")
    );
}
