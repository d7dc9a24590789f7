//! `sprag fetch` from the local S3, by the desk's TLS and by the device's: URLs that expire in mid-transfer, connections that
//! end without a word, a service that is busy, and one that sends elsewhere.

mod common;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::{Ran, bytes, sprag};
use serde_json::json;
use sprag_cli::s3::{CloseMode, Config, Disturbance, Server};

const WHOSE: [&str; 2] = ["rustls", "embedded"];
const SIZE: usize = 300_000;
const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    server: Server,
    content: Vec<u8>,
    dir: tempfile::TempDir,
    tls: &'static str,
}

impl Bench {
    async fn new(tls: &'static str) -> Self {
        Self::with(tls, |_| {}).await
    }

    async fn with(tls: &'static str, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::new(dir.path());
        change(&mut config);
        let server = Server::start(config).await.expect("a server");
        let content = bytes(1, SIZE);
        server.put("images", "app.bin", content.clone()).await.expect("an object");
        std::fs::write(dir.path().join("ca.pem"), server.ca_pem().expect("a certificate")).expect("a file");
        Self { server, content, dir, tls }
    }

    /// A fresh URL, by either signature.
    fn url(&self, v2: bool) -> String {
        if v2 {
            self.server.presign_v2("images", "app.bin", SystemTime::now() + HOUR)
        } else {
            self.server.presign("images", "app.bin", HOUR)
        }
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("fetched.bin")
    }

    async fn fetch(&self, url: &str, more: &[&str]) -> Ran {
        let ca = self.dir.path().join("ca.pem");
        let mut command = sprag(["fetch", url, "--tls", self.tls, "--json"]);
        command.arg("-o").arg(self.output()).arg("--cacert").arg(ca).args(more);
        tokio::task::spawn_blocking(move || Ran::of(&mut command)).await.expect("a run")
    }

    #[track_caller]
    fn assert_fetched(&self) {
        assert!(std::fs::read(self.output()).expect("a file") == self.content, "other bytes than were served");
    }
}

/// In small ranges each request is checked: it stops at the byte where the URL expired, and a fresh one goes on there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_ranges() {
    for (tls, v2) in WHOSE.into_iter().flat_map(|tls| [(tls, false), (tls, true)]) {
        let bench = Bench::new(tls).await;
        bench.server.on_request(|request| (request == 30).then_some(Disturbance::ExpireUrls));
        let ran = bench.fetch(&bench.url(v2), &["--range-size", "4096"]).await;
        assert_eq!(ran.json()["reason"], "url-refused");
        ran.refused(3, &["(403)", "fresh URL", "(AccessDenied)"]);

        let cost = bench.fetch(&bench.url(!v2), &["--range-size", "4096"]).await.succeeded().json();
        assert_eq!((&cost["resumed_from"], &cost["bytes_twice"]), (&json!(29 * 4096), &json!(0)), "{tls}");
        bench.assert_fetched();
    }
}

/// By the clock, while the second of the ranges is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_time_goes_by() {
    for (tls, v2) in [("rustls", true), ("embedded", false)] {
        let bench = Bench::new(tls).await;
        bench.server.on_request(|request| (request == 2).then_some(Disturbance::Delay(Duration::from_secs(5))));
        let (now, valid) = (SystemTime::now(), Duration::from_secs(3));
        let url = if v2 {
            bench.server.presign_v2("images", "app.bin", now + valid)
        } else {
            bench.server.presign_at("images", "app.bin", now, valid)
        };
        let ran = bench.fetch(&url, &["--range-size", "100000"]).await;
        ran.refused(3, &["(403)", "fresh URL", "(AccessDenied)"]);
        let cost = bench.fetch(&bench.url(v2), &[]).await.succeeded().json();
        assert_eq!((&cost["resumed_from"], &cost["bytes_twice"]), (&json!(100_000), &json!(0)), "{tls}");
        bench.assert_fetched();
    }
}

/// One open range is checked once, and then only after the connection was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_an_open_range() {
    for (tls, v2) in WHOSE.into_iter().flat_map(|tls| [(tls, false), (tls, true)]) {
        let bench = Bench::new(tls).await;
        let url = bench.url(v2);
        bench.server.on_request(|request| match request {
            1 => Some(Disturbance::CutAfter(123_456)),
            2 => Some(Disturbance::ExpireUrls),
            _ => None,
        });
        let ran = bench.fetch(&url, &[]).await;
        assert_eq!(ran.json()["retries"], 1);
        ran.refused(3, &["(403)", "fresh URL", "(AccessDenied)"]);
        let cost = bench.fetch(&bench.url(v2), &[]).await.succeeded().json();
        assert_eq!((&cost["resumed_from"], &cost["bytes_twice"]), (&json!(123_456), &json!(0)), "{tls}");
        bench.assert_fetched();
    }
}

/// Connections that end without a word, between answers and within them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_ends() {
    for tls in WHOSE {
        let bench = Bench::with(tls, |config| {
            config.requests_per_connection = Some(10);
            config.close = CloseMode::Silent;
        })
        .await;
        bench.server.on_request(|request| match request {
            13 => Some(Disturbance::HangUp),
            25 => Some(Disturbance::CutAfter(0)),
            37 => Some(Disturbance::CutAfter(4095)),
            _ => None,
        });
        let cost = bench.fetch(&bench.url(false), &["--range-size", "4096"]).await.succeeded().json();
        assert_eq!((&cost["bytes_fetched"], &cost["bytes_twice"]), (&json!(SIZE), &json!(0)), "{tls}: {cost}");
        bench.assert_fetched();
        let stats = bench.server.stats();
        assert!(stats.connections > 8, "{tls}: {cost}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_and_elsewhere() {
    for tls in WHOSE {
        let bench = Bench::new(tls).await;
        let elsewhere = bench.url(false);
        bench.server.on_request(move |request| match request {
            1 => Some(Disturbance::slow_down(Some(1))),
            2 => Some(Disturbance::Answer {
                status: 307,
                code: "TemporaryRedirect".into(),
                headers: vec![("Location".into(), elsewhere.clone())],
            }),
            _ => None,
        });
        let cost = bench.fetch(&bench.url(true), &[]).await.succeeded().json();
        let expected = json!([3, 3, 1, 1]);
        let counted = json!([cost["requests"], cost["connections"], cost["retries"], cost["redirects"]]);
        assert_eq!(counted, expected, "{tls}: {cost}");
        bench.assert_fetched();
    }
}
