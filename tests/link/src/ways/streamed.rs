//! One stream by reqwless, over the same sockets and the same TLS as the others.

use anyhow::{anyhow, bail, ensure};
use embedded_io_async::{Error as _, Read};
use reqwless::client::HttpConnection;
use reqwless::request::{Request, RequestBuilder};
use sprag_fetch::{Connector, Scheme};

use super::plain::PlainSlot;
use crate::object::{HOST, Object};
use crate::server::ADDRESS;

/// What reqwless has for the head of an answer, and to send a request from.
pub const BUFFERS: usize = 1024 + 1024;
/// How much is read before it is written, one thing after the other.
pub const PIECE: usize = 4096;

/// Fetches all of the object in one answer, and writes it in pieces.
///
/// # Errors
/// When the connection fails: it is not tried again here.
pub async fn run<C: Connector>(connector: &C, scheme: Scheme, slot: &mut PlainSlot<'_>) -> anyhow::Result<()> {
    let target = Object::target();
    let (mut head, mut send) = ([0; BUFFERS / 2], [0; BUFFERS / 2]);
    let link = connector.connect(scheme, HOST, ADDRESS.port()).await.map_err(|error| anyhow!("{:?}", error.kind()))?;
    let mut connection = HttpConnection::Plain(link).into_buffered(&mut send);
    let request = Request::get(&target).host(HOST).build();
    let response = connection.send(request, &mut head).await.map_err(|error| anyhow!("{error:?}"))?;
    ensure!(response.status.0 == 200, "status {}", response.status.0);
    let mut left = response.content_length.unwrap_or(0);
    let mut body = response.body().reader();
    while left > 0 {
        let mut piece = vec![0; PIECE.min(left)];
        let mut filled = 0;
        while filled < piece.len() {
            match body.read(&mut piece[filled..]).await {
                Ok(0) => bail!("the connection ended"),
                Ok(count) => filled += count,
                Err(error) => bail!("the connection failed: {:?}", error.kind()),
            }
        }
        left -= piece.len();
        slot.write(&mut piece).await?;
    }
    Ok(())
}
