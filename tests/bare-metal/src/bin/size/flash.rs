//! `sprag-flash` as a firmware uses it: a stream into a slot, with a journal behind it.

use core::convert::Infallible;
use core::hint::black_box;

use embassy_futures::block_on;
use sprag_flash::{FeedError, FlashGeometry, Journal, SlotWriter};

use crate::chip::Flash;

pub fn run(input: &[u8], out: &mut [u8]) {
    let geometry = FlashGeometry { write_size: 8, erase_size: 4096, erased: 0xFF };
    let (scratch, rest) = out.split_at_mut(black_box(256).min(out.len()));
    let (first, second) = rest.split_at_mut(rest.len() / 2);
    let journal = Journal::new(Flash, geometry, scratch);
    let mut writer = SlotWriter::new(Flash, geometry, journal, first).second_buffer(second);
    let result: Result<(), FeedError<Infallible>> = block_on(async {
        let known = writer.session().await?.is_some_and(|session| session.identity == input);
        let mut transfer = match known {
            true => writer.resume().await?,
            false => writer.begin(input, black_box(10_000), 0..black_box(53_248), 0).await?,
        };
        let mut offset = transfer.offset();
        transfer
            .feed(async |room: &mut [u8]| {
                offset += room.len() as u32;
                black_box((offset, &room));
                Ok(black_box(room.len()))
            })
            .await?;
        transfer.finish()?;
        Ok(())
    });
    let _ = black_box(result);
}
