//! Ranges of one size, one after the other on a kept connection; a new one where the server has closed it.

use anyhow::{Context, anyhow, bail, ensure};
use embedded_io_async::{Error as _, Read, Write};
use sprag_fetch::{Connector, Scheme};

use super::plain::PlainSlot;
use crate::object::{HOST, Object};
use crate::server::ADDRESS;

/// What an HTTP client of this kind has for the head of an answer.
pub const HEAD_BUFFER: usize = 1024;

/// Fetches `range` bytes a request, and writes them in pieces of `piece`, each as soon as it is whole; nothing is read
/// meanwhile. Infineon's ota-update has ranges and pieces of 4096 bytes, ESP-IDF's `esp_https_ota` with partial download
/// ranges of 64 KiB here and pieces of 1024.
///
/// # Errors
/// When the connection fails: it is not tried again here.
pub async fn run<C: Connector>(
    connector: &C,
    scheme: Scheme,
    slot: &mut PlainSlot<'_>,
    range: usize,
    piece: usize,
) -> anyhow::Result<()> {
    let target = Object::target();
    let (mut connection, mut at, mut total) = (None, 0, None);
    while total.is_none_or(|total| at < total) {
        let mut link = match connection.take() {
            Some(link) => link,
            None => {
                connector.connect(scheme, HOST, ADDRESS.port()).await.map_err(|error| anyhow!("{:?}", error.kind()))?
            }
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nRange: bytes={at}-{}\r\n\r\n", at + range - 1);
        write(&mut link, request.as_bytes()).await?;
        let (head, mut early) = head(&mut link).await?;
        ensure!(head.starts_with("HTTP/1.1 206"), "no partial content");
        let (span, size) =
            header(&head, "Content-Range").and_then(|range| range.split_once('/')).context("no range")?;
        ensure!(span.starts_with(&format!("bytes {at}-")), "another range");
        total = Some(size.parse()?);
        let mut left: usize = header(&head, "Content-Length").context("no length")?.parse()?;
        at += left;
        while left > 0 {
            let wanted = left.min(piece);
            let mut bytes: Vec<u8> = early.drain(..early.len().min(wanted)).collect();
            while bytes.len() < wanted {
                let from = bytes.len();
                bytes.resize(wanted, 0);
                let count = read(&mut link, &mut bytes[from..]).await?;
                bytes.truncate(from + count);
            }
            slot.write(&mut bytes).await?;
            left -= wanted;
        }
        if !header(&head, "Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            connection = Some(link);
        }
    }
    Ok(())
}

async fn write<T: Write>(link: &mut T, bytes: &[u8]) -> anyhow::Result<()> {
    link.write_all(bytes).await.map_err(|error| anyhow!("{:?}", error.kind()))?;
    link.flush().await.map_err(|error| anyhow!("{:?}", error.kind()))
}

async fn read<T: Read>(link: &mut T, bytes: &mut [u8]) -> anyhow::Result<usize> {
    match link.read(bytes).await {
        Ok(0) => bail!("the connection ended"),
        Ok(count) => Ok(count),
        Err(error) => bail!("the connection failed: {:?}", error.kind()),
    }
}

/// The head of an answer, and what has come of its body.
async fn head<T: Read>(link: &mut T) -> anyhow::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 256];
        ensure!(bytes.len() + more.len() <= HEAD_BUFFER, "the head is too long");
        let count = read(link, &mut more).await?;
        bytes.extend(&more[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Ok((String::from_utf8(bytes)?, body));
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
