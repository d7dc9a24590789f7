//! A download through TLS may be dropped at every await: what is lost is the connection, and no byte.

use std::pin::pin;
use std::sync::Arc;

use embassy_futures::select::{Either, select};
use sprag_fetch::{Fetcher, READ_BUFFER_FULL, Session, Tls, TlsConnector, Trust, Url, WRITE_BUFFER_MIN};
use sprag_link_bench::authority::{Authority, NOW};
use sprag_link_bench::device::Sockets;
use sprag_link_bench::net::Net;
use sprag_link_bench::object::{HOST, Object};
use sprag_link_bench::random::Random;
use sprag_link_bench::server::Manners;
use sprag_link_bench::wire::Link;
use sprag_testkit::cancel;
use sprag_testkit::time::VirtualTime;

/// What is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    /// The future of a read; the download goes on.
    Read,
    /// The download with everything below it; a new one goes on from its session, as after a reset.
    Device,
}

/// From the session on, until the end or until something is dropped; whether something was.
async fn device(
    net: &Net,
    time: &VirtualTime,
    authority: &Authority,
    what: Dropped,
    left: &mut u64,
    session: &mut Session,
    bytes: &mut Vec<u8>,
) -> bool {
    let (clock, roots) = (|| NOW, [&*authority.root]);
    let tls = Tls::new(&net.stack, &net.stack, Trust::new(&roots, &clock));
    let (mut read, mut write) = (vec![0; READ_BUFFER_FULL], vec![0; WRITE_BUFFER_MIN]);
    let sessions = pin!(tls.sessions(Random::new(1), &mut read, &mut write));
    let mut fetcher = Fetcher::new(TlsConnector::new(&tls, sessions), time.delay());
    let url = format!("https://{HOST}{}", Object::target());
    let url = Url::parse(url.bytes()).expect("a sound URL");
    let mut download = fetcher.download(url, session.clone());
    let (mut buffer, mut dropped) = ([0; 1000], false);
    loop {
        let count = match cancel::after(left, download.read(&mut buffer, &mut |_| {})).await {
            Some(count) => count.expect("nothing but what was dropped"),
            None => {
                *left = u64::MAX;
                dropped = true;
                if what == Dropped::Device {
                    *session = download.session().clone();
                    return true;
                }
                continue;
            }
        };
        bytes.extend(&buffer[..count]);
        if count == 0 {
            return dropped;
        }
    }
}

#[test]
fn through_tls_at_every_await() {
    let authority = Authority::new(HOST).unwrap();
    let object = Object::new(6 << 10, 1);
    let link = Link { rtt_ms: 5, rate: 2_000_000, loss_permille: 0 };
    for what in [Dropped::Read, Dropped::Device] {
        for polls in 0.. {
            let time = VirtualTime::new();
            let manners = Manners::new(object.clone(), Some(Arc::clone(&authority.config)));
            let net = Net::new(&time, link, Sockets { receive: 5840, send: 2048, nagle: true }, manners, 1);
            let (mut session, mut bytes, mut left) = (Session::default(), Vec::new(), polls);
            let lives = async {
                let mut dropped = device(&net, &time, &authority, what, &mut left, &mut session, &mut bytes).await;
                if dropped && what == Dropped::Device {
                    dropped |= device(&net, &time, &authority, what, &mut left, &mut session, &mut bytes).await;
                }
                dropped
            };
            let dropped = match time.block_on(select(net.run(), lives)) {
                Either::First(never) => match never {},
                Either::Second(dropped) => dropped,
            };
            assert_eq!(bytes, object.0[..], "{what:?} dropped after {polls} polls");
            if !dropped {
                assert!(polls > 20, "only {polls} awaits");
                println!("{what:?}: {polls} places");
                break;
            }
        }
    }
}
