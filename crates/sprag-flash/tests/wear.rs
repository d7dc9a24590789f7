//! What the journal costs: at most two erases of each of its sectors for an image of 1,024 sectors, at every write unit.

use embassy_futures::block_on;
use sprag_flash::{Error, FlashGeometry, JOB, Journal, SlotWriter};
use sprag_testkit::flash::{Part, Sectors, SimFlash};

const SECTORS: u32 = 1024;
/// What an updater records of a job on its way: started, staging, staged, done, reported.
const RECORD: usize = 100;

/// One update: the erases of the journal's sectors.
fn update(flash: &SimFlash, geometry: FlashGeometry, journal_sector: u32, n: u8) -> Vec<u32> {
    let slot = flash.region(0..SECTORS * geometry.erase_size);
    let region = flash.region(slot.range().end..flash.capacity());
    let journal_geometry = FlashGeometry { erase_size: journal_sector, ..geometry };
    flash.reset_stats();
    let (mut scratch, mut page) = ([0; 512], [0; 512]);
    let journal = Journal::new(region, journal_geometry, &mut scratch);
    let mut writer = SlotWriter::new(slot.clone(), geometry, journal, &mut page);
    block_on(async {
        let mut record = [n; RECORD];
        writer.journal().put(JOB, &record).await?;
        let total = u64::from(slot.range().end);
        let mut transfer = writer.begin(b"an identity of a job and an ETag", total, 0..u32::MAX, 0).await?;
        while transfer.offset() < transfer.total() {
            let spare = transfer.spare();
            spare.fill(n | 1);
            let count = spare.len();
            transfer.commit(count).await?;
        }
        transfer.finish()?;
        for step in 1..=4 {
            record[0] = n.wrapping_add(step);
            writer.journal().put(JOB, &record).await?;
            if step == 2 {
                writer.forget().await?;
            }
        }
        Ok::<(), Error>(())
    })
    .unwrap();
    let erases = flash.stats().erases_per_sector;
    assert!(erases[..SECTORS as usize].iter().all(|erases| *erases == 1), "each sector of the slot once");
    erases[SECTORS as usize..].to_vec()
}

#[test]
fn two_erases_at_most_for_1024_sectors_at_every_write_unit() {
    for write_size in (0..10).map(|n| 1u32 << n) {
        // Sectors of the common size; or rows that are a sector each, as many as make two banks of eight.
        for (journal_sector, count) in
            [(4096, 2), (write_size.max(256), 2 * (8 * write_size).max(1024) / write_size.max(256))]
        {
            let erase_size = write_size.max(64);
            let sectors = [Sectors { count: SECTORS, size: erase_size }, Sectors { count, size: journal_sector }];
            let part = Part { write_size, ..Part::stm32f4() };
            let flash = SimFlash::of(part.sectors(&sectors));
            flash.program_once();
            let geometry = FlashGeometry { write_size, erase_size, erased: 0xFF };
            for n in 0..6 {
                let erases = update(&flash, geometry, journal_sector, n);
                // The sectors of a bank are erased together.
                let banks = erases.chunks(erases.len() / 2);
                let all: u32 = banks.map(|bank| bank.iter().copied().max().unwrap_or(0)).sum();
                assert!(all <= 2, "unit {write_size}, sectors of {journal_sector}, update {n}: {erases:?}");
            }
        }
    }
}
