//! The other client of the field, `edge-http`: one object, over HTTP. Nothing is resumed.

use core::hint::black_box;
use core::net::SocketAddr;

use edge_http::Method;
use edge_http::io::client::Connection;
use edge_nal::{Close, Readable, TcpConnect, TcpShutdown, TcpSplit};
use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, Read};

use crate::chip::Net;

impl TcpShutdown for Net {
    async fn close(&mut self, what: Close) -> Result<(), ErrorKind> {
        black_box(what);
        black_box(Ok(()))
    }

    async fn abort(&mut self) -> Result<(), ErrorKind> {
        black_box(Ok(()))
    }
}

impl Readable for Net {
    async fn readable(&mut self) -> Result<(), ErrorKind> {
        black_box(Ok(()))
    }
}

impl TcpSplit for Net {
    type Read<'a> = Net;
    type Write<'a> = Net;

    fn split(&mut self) -> (Net, Net) {
        (Net, Net)
    }
}

impl TcpConnect for Net {
    type Error = ErrorKind;
    type Socket<'a> = Net;

    async fn connect(&self, remote: SocketAddr) -> Result<Net, ErrorKind> {
        black_box(remote);
        black_box(Ok(Net))
    }
}

pub fn run(input: &[u8], out: &mut [u8]) {
    let (head, page) = out.split_at_mut(black_box(1024).min(out.len()));
    let Ok(target) = core::str::from_utf8(input) else { return };
    let address = black_box(SocketAddr::from(([192, 0, 2, 1], 80)));
    let mut connection: Connection<'_, _> = Connection::new(head, &Net, address);
    block_on(async {
        let headers = [("Host", "h"), ("Range", "bytes=0-")];
        if connection.initiate_request(true, Method::Get, target, &headers).await.is_err() {
            return;
        }
        if connection.initiate_response().await.is_err() {
            return;
        }
        while let Ok(1..) = connection.read(page).await {
            black_box(&mut *page);
        }
    });
}
