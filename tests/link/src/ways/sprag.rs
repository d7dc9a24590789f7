//! sprag-fetch into sprag-flash: in the order in which sprag's updater has them, and with their defaults.

use anyhow::{anyhow, bail};
use embassy_futures::yield_now;
use sprag_fetch::{Connector, Etag, Fetcher, Scheme, Session, Url};
use sprag_flash::{Error, FeedError, FlashGeometry, JOB, Journal, SlotWriter};
use sprag_testkit::flash::SimFlash;
use sprag_testkit::time::VirtualTime;

use crate::board::Board;
use crate::flash::TimedFlash;
use crate::object::{HOST, Object};

/// The slot writer's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// One or two.
    pub count: usize,
    /// Of each, in bytes.
    pub size: usize,
}

/// What sprag holds itself, in bytes: the writer's buffers and the journal's scratch.
pub fn ram(board: &Board, buffers: Buffers) -> usize {
    buffers.size * buffers.count + scratch(board)
}

fn scratch(board: &Board) -> usize {
    256.max(board.part.write_size as usize)
}

fn geometry(board: &Board, erase_size: u32) -> FlashGeometry {
    FlashGeometry { write_size: board.part.write_size, erase_size, erased: board.part.erased }
}

/// A journal that an earlier update has left: the first of a device's life formats it.
///
/// # Errors
/// The journal's.
pub async fn used_before(board: &Board, flash: &SimFlash) -> anyhow::Result<()> {
    let mut scratch = vec![0; scratch(board)];
    let region = flash.region(board.journal.clone());
    let mut journal = Journal::new(region, geometry(board, board.journal_sector), &mut scratch);
    journal.put(JOB, b"done").await.map_err(|error| anyhow!("{error}"))
}

/// Fetches the object into the slot, from where the journal says.
///
/// # Errors
/// What sprag-fetch and sprag-flash can't deal with.
pub async fn run<C: Connector>(
    connector: C,
    scheme: Scheme,
    time: &VirtualTime,
    flash: &SimFlash,
    board: &Board,
    buffers: Buffers,
) -> anyhow::Result<()> {
    let (mut scratch, mut page, mut second) = (vec![0; scratch(board)], vec![0; buffers.size], vec![0; buffers.size]);
    let region = |range: &std::ops::Range<u32>| TimedFlash::new(flash.region(range.clone()), time);
    let journal = Journal::new(region(&board.journal), geometry(board, board.journal_sector), &mut scratch);
    let erase_size = board.part.geometry().erase_size;
    let mut slot = SlotWriter::new(region(&board.slot), geometry(board, erase_size), journal, &mut page);
    slot = slot.sectors(board.runs);
    if buffers.count > 1 {
        slot = slot.second_buffer(&mut second);
    }
    let mut fetcher = Fetcher::new(connector, time.delay());
    let (scheme, port) = if scheme == Scheme::Https { ("https", "") } else { ("http", ":443") };
    let url = format!("{scheme}://{HOST}{port}{}", Object::target());
    loop {
        let url = Url::parse(url.bytes()).map_err(|error| anyhow!("{error}"))?;
        match fetch(&mut fetcher, url, &mut slot, board).await {
            // Erased by now: its bytes come again.
            Err(FeedError::Flash(Error::SectorLost)) => {}
            Err(FeedError::Flash(error)) => bail!("{error}"),
            Err(FeedError::Source(error)) => bail!("{}", error.reason()),
            Ok(()) => return Ok(()),
        }
    }
}

async fn fetch<C: Connector>(
    fetcher: &mut Fetcher<C, impl embedded_hal_async::delay::DelayNs>,
    url: Url<impl Iterator<Item = u8> + Clone>,
    slot: &mut SlotWriter<'_, TimedFlash, TimedFlash>,
    board: &Board,
) -> Result<(), FeedError<sprag_fetch::Error<C::Error>>> {
    let room = 0..board.slot.end - board.slot.start;
    let saved = slot.session().await?.and_then(|saved| {
        let etag = core::str::from_utf8(saved.identity).ok()?;
        Etag::try_from(etag).ok()
    });
    let (mut download, mut transfer) = match saved {
        Some(etag) => {
            let transfer = slot.resume().await?;
            let (offset, total) = (transfer.offset().into(), Some(transfer.total().into()));
            (fetcher.download(url, Session { offset, total, etag: Some(etag) }), transfer)
        }
        None => {
            let mut download = fetcher.download(url, Session::default());
            let received = download.read(slot.buffer(), &mut |_| {}).await.map_err(FeedError::Source)?;
            let session = download.session().clone();
            let identity = session.etag.as_deref().unwrap_or_default().as_bytes();
            let total = session.total.unwrap_or(u64::MAX);
            let transfer = slot.begin(identity, total, room, received).await?;
            (download, transfer)
        }
    };
    transfer
        .feed(async |room: &mut [u8]| {
            let count = download.read(room, &mut |_| {}).await?;
            yield_now().await;
            Ok(count)
        })
        .await?;
    Ok(transfer.finish()?)
}
