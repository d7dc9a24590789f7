//! `sprag-fetch` as a firmware uses it: the bytes of a URL, by HTTP or by TLS 1.3 too.

use core::hint::black_box;

use embassy_futures::block_on;
use sprag_fetch::{Connector, Fetcher, Session, Url};

use crate::chip::{Net, Timer};

#[cfg(not(feature = "fetch-tls-p256"))]
pub fn run(input: &[u8], out: &mut [u8]) {
    download(sprag_fetch::TcpConnector::new(&Net, &Net), input, out);
}

#[cfg(feature = "fetch-tls-p256")]
pub fn run(input: &[u8], out: &mut [u8]) {
    let unix_seconds = || black_box(1_795_764_480);
    let roots = [black_box(input)];
    let tls = sprag_fetch::Tls::new(&Net, &Net, sprag_fetch::Trust::new(&roots, &unix_seconds));
    let (read, rest) = out.split_at_mut(black_box(4096).min(out.len()));
    let (write, buffer) = rest.split_at_mut(black_box(640).min(rest.len()));
    let sessions = core::pin::pin!(tls.sessions(crate::chip::Random, read, write));
    download(sprag_fetch::TlsConnector::new(&tls, sessions), input, buffer);
}

fn download(connector: impl Connector, input: &[u8], buffer: &mut [u8]) {
    let mut fetcher = Fetcher::new(connector, Timer);
    let Ok(url) = Url::parse(input.iter().copied()) else { return };
    let session = Session::decode(input).unwrap_or_default();
    let mut download = fetcher.download(url, session);
    let on_event = &mut |event| {
        black_box(event);
    };
    while let Ok(1..) = black_box(block_on(download.read(buffer, on_event))) {
        black_box(&mut *buffer);
    }
    black_box(download.session().encode());
}
