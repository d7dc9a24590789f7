//! Floors 1 and 2 as a firmware uses them: a job of IoTConnect, over HTTP, to MCUboot.

use core::hint::black_box;

use embassy_futures::block_on;
use sprag::boot::{Layout, McuBoot};
use sprag::fetch::{Fetcher, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::verify::{Policy, Version};
use sprag::{Outcome, Startup, Updater};

use crate::chip::{Flash, Net, Timer};
use crate::key::key;

pub fn run(input: &[u8], out: &mut [u8]) {
    let geometry = FlashGeometry { write_size: 8, erase_size: 4096, erased: 0xFF };
    let (scratch, rest) = out.split_at_mut(black_box(256).min(out.len()));
    let (report_to, rest) = rest.split_at_mut(black_box(256).min(rest.len()));
    let (first, second) = rest.split_at_mut(rest.len() / 2);
    let fetch = Fetcher::new(TcpConnector::new(&Net, &Net), Timer);
    let journal = Journal::new(Flash, geometry, scratch);
    let slot = SlotWriter::new(Flash, geometry, journal, first).second_buffer(second);
    let key = key();
    let running = black_box(Version::new(1, 0, 0));
    let policy = Policy::signed_by(&key).newer_than(running);
    let boot = McuBoot::new(Flash, Flash, Layout::new(geometry));
    let mut updater = Updater::new(fetch, slot, policy, boot);
    block_on(async {
        match updater.start(running).await {
            Ok(Startup::Trial) => drop(black_box(updater.confirm().await)),
            found => drop(black_box(found)),
        }
        if let Ok(Some(report)) = updater.report().await {
            let _ = black_box(report.write(black_box(""), report_to));
            let _ = black_box(updater.reported().await);
        }
        let Ok(job) = sprag::job::parse(input) else { return };
        let outcome = updater.run(&job, &mut |event| drop(black_box(event))).await;
        if let Ok(Outcome::RebootToTest) = outcome {
            black_box(());
        }
        if let Err(error) = outcome {
            black_box((error.reason(), error.is_retryable()));
        }
    });
}
