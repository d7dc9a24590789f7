//! Whole images into a slot, with the power cut everywhere: nothing lost, one sector at most fetched twice, and nothing
//! touched that does not belong to the image.

mod common;

use std::collections::HashSet;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use common::{Small, small_parts};
use embassy_futures::block_on;
use sprag_flash::{Error, FeedError, FlashGeometry, JOB, Journal, SlotWriter};
use sprag_testkit::cancel;
use sprag_testkit::flash::{Disturbance, FlashError, Region, SimFlash, Snapshot, Torn};

const RESERVED: u32 = 100;

struct Device {
    slot: Region,
    journal: Region,
    geometry: FlashGeometry,
    small: Small,
}

/// How a life writes.
#[derive(Debug, Clone, Copy)]
struct How {
    /// What the source gives at once.
    chunk: usize,
    /// Sizes of the buffers; the second may be missing.
    buffers: [usize; 2],
    /// By [`Transfer::feed`](sprag_flash::Transfer::feed), or else by pushing.
    feed: bool,
    every: Option<u32>,
}

const PLAIN: How = How { chunk: 50, buffers: [140, 0], feed: false, every: None };
const OVERLAPPED: How = How { chunk: 50, buffers: [64, 140], feed: true, every: Some(1000) };

/// A slot full of an older image, up to its last byte, and a journal behind it.
fn device(small: &Small) -> Device {
    let flash = SimFlash::of(small.part.clone());
    flash.yield_before_operations();
    over(&flash, small)
}

/// What a cut left behind, powered again.
fn revived(snapshot: Snapshot, small: &Small) -> Device {
    let flash = snapshot.power_on();
    flash.yield_before_operations();
    let device = layout(&flash, small);
    assert!(flash.violations().is_empty());
    device
}

fn over(flash: &SimFlash, small: &Small) -> Device {
    let device = layout(flash, small);
    flash.load(0, &vec![0x5A; device.slot.range().end as usize]).unwrap();
    device
}

fn layout(flash: &SimFlash, small: &Small) -> Device {
    let part = &small.part;
    let end = part.capacity();
    // Two banks of at least eight units.
    let journal = (16 * part.write_size).max(1024).next_multiple_of(2 * small.erase_size);
    let split = end - journal;
    let geometry = FlashGeometry { write_size: part.write_size, erase_size: small.erase_size, erased: part.erased };
    Device { slot: flash.region(0..split), journal: flash.region(split..end), geometry, small: small.clone() }
}

fn image(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// The smallest buffer that holds a unit.
fn buffer(size: usize, device: &Device) -> Vec<u8> {
    vec![0; if size == 0 { 0 } else { size.max(device.geometry.write_size as usize) }]
}

impl Device {
    fn block(&self, how: How) -> u32 {
        let [one, two] = how.buffers.map(|size| buffer(size, self).len() as u32);
        if two == 0 { one } else { one.min(two) }
    }

    /// What of the slot is not the bootloader's.
    fn room(&self) -> Range<u32> {
        0..self.slot.range().end - RESERVED
    }

    /// The largest sector that an image of this size touches.
    fn sector(&self) -> u32 {
        self.geometry.erase_size
    }
}

/// What was fetched: each byte with how often it came. Clones are handles to the same count.
#[derive(Debug, Clone, Default)]
struct Fetched(Arc<Mutex<Vec<u8>>>);

impl Fetched {
    fn add(&self, from: usize, count: usize) {
        let mut times = self.0.lock().unwrap();
        let length = times.len().max(from + count);
        times.resize(length, 0);
        times[from..from + count].iter_mut().for_each(|times| *times += 1);
    }

    /// A count of its own that begins with this one.
    fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }

    /// Bytes that came more than once.
    fn again(&self) -> u32 {
        self.0.lock().unwrap().iter().filter(|times| **times > 1).count() as u32
    }

    fn all(&self) -> u32 {
        self.0.lock().unwrap().iter().map(|times| u32::from(*times)).sum()
    }
}

/// One life from wherever the journal says.
fn run(device: &Device, image: &[u8], how: How, fetched: &Fetched, budget: &mut u64) -> Result<(), Error> {
    let mut scratch = [0; 600];
    let [mut one, mut two] = how.buffers.map(|size| buffer(size, device));
    let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
    let mut writer = SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut one)
        .second_buffer(&mut two)
        .sectors(&device.small.slot);
    if let Some(every) = how.every.and_then(NonZeroU32::new) {
        writer = writer.record_every(every);
    }
    let total = image.len() as u64;
    let work = async {
        let session = writer.session().await?;
        let mut again = session.is_some_and(|s| s.identity == b"image" && u64::from(s.total) == total);
        loop {
            let mut transfer = if again {
                writer.resume().await?
            } else {
                let first = how.chunk.min(image.len()).min(writer.buffer().len());
                writer.buffer()[..first].copy_from_slice(&image[..first]);
                fetched.add(0, first);
                writer.begin(b"image", total, device.room(), first).await?
            };
            again = true;
            let mut offset = transfer.offset() as usize;
            let mut source = |room: &mut [u8]| {
                let count = how.chunk.min(image.len() - offset).min(room.len());
                room[..count].copy_from_slice(&image[offset..offset + count]);
                fetched.add(offset, count);
                offset += count;
                count
            };
            let fed = if how.feed {
                transfer.feed(async |room: &mut [u8]| Ok::<_, Infallible>(source(room))).await
            } else {
                loop {
                    if transfer.offset() == transfer.total() {
                        break Ok(());
                    }
                    let count = source(transfer.spare());
                    if let Err(error) = transfer.commit(count).await {
                        break Err(FeedError::Flash(error));
                    }
                }
            };
            match fed {
                Ok(()) => return transfer.finish(),
                Err(FeedError::Flash(Error::SectorLost)) => {}
                Err(FeedError::Flash(error)) => return Err(error),
                Err(FeedError::Source(never)) => match never {},
            }
        }
    };
    block_on(cancel::after(budget, work)).unwrap_or(Err(Error::Interrupted))
}

fn finish(device: &Device, image: &[u8], how: How, fetched: &Fetched) -> Result<(), Error> {
    run(device, image, how, fetched, &mut u64::MAX.clone())
}

fn check(device: &Device, image: &[u8], context: &str) {
    let slot = device.slot.contents();
    assert!(slot[..image.len()] == *image, "{context}");
    let touched = sectors(device).take_while(|(start, _)| *start < image.len()).last().map_or(0, |(_, end)| end);
    let padding = &slot[image.len()..touched];
    assert!(padding.iter().all(|byte| *byte == device.geometry.erased), "behind the image nothing is programmed");
    assert!(slot[touched..].iter().all(|byte| *byte == 0x5A), "sectors behind the image are not erased");
    assert_eq!(device.slot.flash().violations(), [], "{context}");
}

/// The sectors of the slot, one after the other.
fn sectors(device: &Device) -> impl Iterator<Item = (usize, usize)> {
    let runs = device.small.part.sectors.clone();
    let sizes = runs.into_iter().flat_map(|run| (0..run.count).map(move |_| run.size as usize));
    let end = device.slot.range().end as usize;
    sizes
        .scan(0, |at, size| {
            *at += size;
            Some((*at - size, *at))
        })
        .take_while(move |(start, _)| *start < end)
}

/// Around the ends of sectors and units.
fn lengths(device: &Device) -> Vec<u32> {
    let ends: Vec<u32> = sectors(device).map(|(_, end)| end as u32).take(4).collect();
    vec![1, ends[0], ends[1] + 1, ends[3] - 1]
}

#[test]
fn undisturbed_each_sector_is_erased_once() {
    for small in small_parts() {
        for length in lengths(&device(&small)) {
            for chunk in [1, 7, 64, 1000] {
                for how in [How { chunk, ..PLAIN }, How { chunk, ..OVERLAPPED }, How { chunk, feed: true, ..PLAIN }] {
                    let context = format!("{} {length} {how:?}", small.part.name);
                    let device = device(&small);
                    let image = image(length);
                    let fetched = Fetched::default();
                    assert_eq!(finish(&device, &image, how, &fetched), Ok(()), "{context}");
                    assert_eq!(fetched.all(), length);
                    check(&device, &image, &context);
                    let stats = device.slot.flash().stats();
                    for ((start, _), erases) in sectors(&device).zip(stats.erases_per_sector) {
                        assert_eq!(erases, u32::from(start < image.len()), "{context}");
                    }
                    assert_eq!(finish(&device, &image, how, &fetched), Ok(()));
                    assert_eq!(fetched.all(), length, "a finished image is not written again");
                }
            }
        }
    }
}

/// The flash forks at every operation in every way; each fork goes on, and forks again.
#[test]
fn cut_anywhere_and_again_one_sector_comes_again() {
    let mut tried = HashSet::new();
    for small in small_parts() {
        for (length, how) in
            lengths(&device(&small)).into_iter().flat_map(|length| [(length, PLAIN), (length, OVERLAPPED)])
        {
            let image = Arc::new(image(length));
            let device = device(&small);
            let first = forks(&device, &image, how, Fetched::default());
            for (n, (context, snapshot, fetched)) in first.into_iter().enumerate() {
                if !tried.insert((length, how.feed, small.part.name, snapshot.digest())) {
                    continue;
                }
                let device = revived(snapshot, &small);
                // Second cuts at a part of them, so that all are met over the whole run.
                if n % 67 == 0 {
                    for (n, (again, snapshot, fetched)) in forks(&device, &image, how, fetched).into_iter().enumerate()
                    {
                        if n % 7 == 0 && tried.insert((length, how.feed, small.part.name, snapshot.digest())) {
                            go_on(&revived(snapshot, &small), &image, how, fetched, 2, &format!("{context}, {again}"));
                        }
                    }
                } else {
                    go_on(&device, &image, how, fetched, 1, &context);
                }
            }
        }
    }
    println!("{} states", tried.len());
    assert!(tried.len() > 20_000, "{}", tried.len());
}

fn go_on(device: &Device, image: &[u8], how: How, fetched: Fetched, cuts: u32, context: &str) {
    assert_eq!(finish(device, image, how, &fetched), Ok(()), "{context}");
    check(device, image, context);
    let (sector, block) = (device.sector(), device.block(how));
    let again = fetched.again();
    assert!(again <= cuts * sector.max(2 * block), "{context}: {again} bytes came again, {sector}, {block}");
    let more = fetched.all() - image.len() as u32;
    assert!(more <= cuts * (sector + block), "{context}: {more} bytes more than the image");
}

/// Runs a life to its end, and gives what each cut in it leaves behind, with what had come by then.
fn forks(device: &Device, image: &[u8], how: How, fetched: Fetched) -> Vec<(String, Snapshot, Fetched)> {
    let forks = Arc::new(Mutex::new(Vec::new()));
    let flash = device.slot.flash();
    let (seen, came, name) = (forks.clone(), fetched.clone(), device.small.part.name);
    flash.before_operations(move |cut| {
        for torn in Torn::WAYS {
            let operation = cut.operation();
            let context = format!("{name} cut at {}, {torn:?}, {:?}", operation.number, operation.range);
            seen.lock().unwrap().push((context, cut.leaves(torn), came.fork()));
        }
    });
    let result = finish(device, image, how, &fetched);
    flash.unobserved();
    assert_eq!(result, Ok(()), "{how:?}");
    std::mem::take(&mut *forks.lock().unwrap())
}

#[test]
fn a_future_dropped_at_any_await_costs_no_more() {
    for small in small_parts() {
        for how in [PLAIN, OVERLAPPED] {
            let image = image(2 * small.erase_size + 1);
            for polls in 0.. {
                let (device, fetched) = (device(&small), Fetched::default());
                let result = run(&device, &image, how, &fetched, &mut polls.clone());
                go_on(&device, &image, how, fetched, 1, &format!("{} dropped at {polls}", small.part.name));
                if result.is_ok() {
                    break;
                }
            }
        }
    }
}

/// The same writer goes on after a dropped [`Transfer::feed`](sprag_flash::Transfer::feed), in whichever buffer the block was.
#[test]
fn a_dropped_feed_leaves_the_writer_fit_to_resume() {
    let small = small_parts().remove(0);
    let image = image(2 * small.erase_size + 1);
    for second in [0, 64] {
        for polls in 0.. {
            let device = device(&small);
            let (mut scratch, mut one, mut two) = ([0; 256], [0; 64], vec![0; second]);
            let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
            let mut writer =
                SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut one).second_buffer(&mut two);
            let mut budget = polls;
            let was_dropped = block_on(async {
                let mut transfer = writer.begin(b"image", image.len() as u64, device.room(), 0).await.unwrap();
                let (mut offset, mut was_dropped) = (0, false);
                loop {
                    let feed = transfer.feed(async |room: &mut [u8]| {
                        // Longer than a program takes: the future is also dropped when only the source is waited for.
                        for _ in 0..10 {
                            embassy_futures::yield_now().await;
                        }
                        let count = room.len().min(50);
                        room[..count].copy_from_slice(&image[offset..offset + count]);
                        offset += count;
                        Ok::<_, Infallible>(count)
                    });
                    let fed = cancel::after(&mut budget, feed).await;
                    was_dropped |= fed.is_none();
                    budget = u64::MAX;
                    match fed {
                        Some(Ok(())) => return was_dropped,
                        // No byte that the source gave is lost, or else the transfer is over.
                        None if transfer.commit(0).await.is_ok() => assert_eq!(transfer.offset() as usize, offset),
                        None | Some(Err(FeedError::Flash(Error::SectorLost))) => {
                            transfer = writer.resume().await.unwrap();
                            offset = transfer.offset() as usize;
                        }
                        Some(Err(error)) => panic!("{error}"),
                    }
                }
            });
            check(&device, &image, &format!("{second} {polls}"));
            if !was_dropped {
                break;
            }
        }
    }
}

/// The next bytes are read while a program is under way.
#[test]
fn bytes_arrive_while_others_are_programmed() {
    let small = small_parts().remove(0);
    for (second, expected) in [(64, true), (0, false)] {
        let device = device(&small);
        let (mut scratch, mut one, mut two) = ([0; 256], [0; 64], vec![0; second]);
        let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
        let mut writer =
            SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut one).second_buffer(&mut two);
        let flash = device.slot.flash().clone();
        let overlapped = std::cell::Cell::new(false);
        block_on(async {
            let mut transfer = writer.begin(b"image", 512, device.room(), 0).await?;
            let mut source = async |room: &mut [u8]| {
                let before = flash.stats().programs;
                // Pending a few times: a program that is under way goes on meanwhile.
                for _ in 0..10 {
                    embassy_futures::yield_now().await;
                }
                overlapped.set(overlapped.get() || flash.stats().programs > before);
                room.fill(7);
                Ok::<_, Infallible>(room.len())
            };
            transfer.feed(&mut source).await.map_err(|_| Error::Interrupted)?;
            transfer.finish()
        })
        .unwrap();
        assert_eq!(overlapped.get(), expected, "with a second buffer of {second}");
    }
}

/// A source that fails is no power cut: every block that came stays, and none comes again.
#[test]
fn a_source_that_fails_costs_nothing() {
    for small in small_parts() {
        for buffers in [[64, 64], [64, 0]] {
            let (device, image) = (device(&small), image(4 * small.erase_size + 5));
            let block = device.block(How { buffers, ..PLAIN });
            let (mut begun, mut at) = (false, 0);
            // Each life ends a block further.
            for life in 1.. {
                let mut scratch = [0; 600];
                let [mut one, mut two] = buffers.map(|size| buffer(size, &device));
                let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
                let mut writer = SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut one)
                    .second_buffer(&mut two)
                    .sectors(&device.small.slot);
                let fed = block_on(async {
                    let total = image.len() as u64;
                    let mut transfer = if begun {
                        writer.resume().await?
                    } else {
                        writer.begin(b"i", total, device.room(), 0).await?
                    };
                    assert!(
                        transfer.offset() == at as u32,
                        "{} life {life}: {} not {at}",
                        small.part.name,
                        transfer.offset()
                    );
                    begun = true;
                    let mut left = 2 * block as usize;
                    transfer
                        .feed(async |room: &mut [u8]| {
                            let count = room.len().min(image.len() - at).min(left);
                            if count == 0 {
                                return Err("no more");
                            }
                            room[..count].copy_from_slice(&image[at..at + count]);
                            (at, left) = (at + count, left - count);
                            Ok(count)
                        })
                        .await
                });
                match fed {
                    Ok(()) => break,
                    // Blocks end where sectors do: what was not whole is not in flash.
                    Err(error) => assert_eq!(error, FeedError::Source("no more")),
                }
                let written = block_on(writer.session()).unwrap().unwrap().written as usize;
                assert!(written <= at && at - written < block as usize, "{}: {written} of {at}", small.part.name);
                at = written;
            }
            check(&device, &image, small.part.name);
        }
    }
}

/// An operation that fails, or lies, is noticed and made good: the sector is erased once more, or the caller told.
#[test]
fn operations_that_fail_or_lie_are_made_good() {
    for small in small_parts() {
        let image = image(3 * small.erase_size + 5);
        let whole = device(&small);
        finish(&whole, &image, OVERLAPPED, &Fetched::default()).unwrap();
        for operation in 0..common::operations(&whole.slot) {
            for disturbance in [
                Disturbance::Fails,
                Disturbance::FailsDone,
                Disturbance::Lies(Torn::Nothing),
                Disturbance::Lies(Torn::Half),
                Disturbance::Lies(Torn::Almost(9)),
            ] {
                let context = format!("{} {operation} {disturbance:?}", small.part.name);
                let (device, fetched) = (device(&small), Fetched::default());
                let flash = device.slot.flash();
                flash.disturb(operation, disturbance);
                let mut tries = 0;
                while let Err(error) = finish(&device, &image, OVERLAPPED, &fetched) {
                    assert!(error.is_retryable() && tries < 2, "{context}: {error}");
                    tries += 1;
                }
                assert!(device.slot.contents()[..image.len()] == image, "{context}");
                // A lie leads to a program that is none of ours to blame.
                let blamed =
                    |v: &FlashError| matches!(v, FlashError::OutOfBounds { .. } | FlashError::NotAligned { .. });
                assert!(!flash.violations().iter().any(blamed), "{context}");
            }
        }
    }
}

#[test]
fn flash_that_is_worn_out_is_given_up() {
    let small = small_parts().remove(7);
    let device = device(&small);
    for operation in 0..1000 {
        device.slot.flash().disturb(operation, Disturbance::Lies(Torn::Almost(operation)));
    }
    let error = finish(&device, &image(700), PLAIN, &Fetched::default()).unwrap_err();
    assert!(matches!(error, Error::SlotWornOut { .. } | Error::JournalWornOut) && !error.is_retryable(), "{error}");
}

/// Without reading back, and with sectors that are blank taken as they are, there is less to do.
#[test]
fn what_the_part_makes_sure_of_is_not_done() {
    let small = small_parts().remove(7);
    let image = image(3 * small.erase_size);
    for (read_back, trust_blank) in [(true, false), (false, false), (true, true)] {
        let device = layout(&SimFlash::of(small.part.clone()), &small);
        let (mut scratch, mut one) = ([0; 256], [0; 64]);
        let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
        let mut writer = SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut one)
            .read_back(read_back)
            .trust_blank(trust_blank);
        block_on(async {
            let mut transfer = writer.begin(b"image", image.len() as u64, 0..u32::MAX, 0).await?;
            while transfer.offset() < transfer.total() {
                let from = transfer.offset() as usize;
                let spare = transfer.spare();
                let count = spare.len();
                spare.copy_from_slice(&image[from..from + count]);
                transfer.commit(count).await?;
            }
            transfer.finish()
        })
        .unwrap();
        assert_eq!(device.slot.contents()[..image.len()], image);
        let erases: u32 = device.slot.flash().stats().erases_per_sector[..3].iter().sum();
        assert_eq!(erases, if trust_blank { 0 } else { 3 });
        let bytes_read = device.slot.flash().stats().bytes_read;
        assert_eq!(bytes_read > image.len() as u64, read_back, "{bytes_read}");
    }
}

/// Whole sectors of an image may read as erased: they leave no trace in the slot, and yet nothing is lost.
#[test]
fn an_image_with_blank_sectors_comes_whole() {
    for small in small_parts() {
        let sector = small.erase_size;
        let mut image = image(5 * sector + 3);
        let erased = small.part.erased;
        image[sector as usize - 10..3 * sector as usize + 10].fill(erased);
        let image = Arc::new(image);
        for how in [PLAIN, OVERLAPPED] {
            let device = device(&small);
            for (context, snapshot, fetched) in forks(&device, &image, how, Fetched::default()) {
                let device = revived(snapshot, &small);
                assert_eq!(finish(&device, &image, how, &fetched), Ok(()), "{context}");
                check(&device, &image, &context);
                let more = fetched.all() - image.len() as u32;
                assert!(more <= 2 * sector + device.block(how), "{context}: {more} bytes more");
            }
        }
    }
}

#[test]
fn another_image_begins_anew_and_the_callers_record_stays() {
    let small = small_parts().remove(2);
    let device = device(&small);
    run(&device, &image(700), PLAIN, &Fetched::default(), &mut 25).unwrap_err();
    let (mut scratch, mut buf) = ([0; 256], [0; 64]);
    let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
    let mut writer = SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut buf);
    block_on(async {
        let before = writer.session().await?.unwrap();
        assert_eq!((before.identity, before.total), (&b"image"[..], 700));
        assert!(before.written > 0 && before.written < 700, "{before:?}");
        writer.journal().put(JOB, b"job").await?;
        writer.begin(b"another", 300, device.room(), 0).await?;
        let after = writer.session().await?.unwrap();
        assert_eq!((after.identity, after.total, after.written), (&b"another"[..], 300, 0));
        writer.forget().await?;
        assert_eq!(writer.session().await?, None);
        // The same image once more is another session: what was recorded of the first says nothing of it.
        writer.begin(b"another", 300, device.room(), 0).await?;
        assert_eq!(writer.session().await?.map(|session| session.written), Some(0));
        assert_eq!(writer.journal().get(JOB).await?, Some(&b"job"[..]));
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_erased() {
    for small in small_parts() {
        let device = device(&small);
        let before = device.slot.flash().contents();
        let (mut scratch, mut buf) = ([0; 600], [0; 512]);
        let journal = Journal::new(device.journal.clone(), device.geometry, &mut scratch);
        let mut writer =
            SlotWriter::new(device.slot.clone(), device.geometry, journal, &mut buf).sectors(&device.small.slot);
        let end = device.slot.range().end - RESERVED;
        let limit = sectors(&device).take_while(|(_, to)| *to <= end as usize).last().unwrap().1 as u32;
        for size in [u64::from(limit) + 1, u64::from(u32::MAX) + 1, u64::MAX] {
            let error = block_on(writer.begin(b"image", size, device.room(), 0)).unwrap_err();
            assert_eq!(error, Error::TooLarge { limit });
        }
        assert_eq!(block_on(writer.begin(&[0; 97], 10, device.room(), 0)).unwrap_err(), Error::Record);
        assert_eq!(block_on(writer.resume()).unwrap_err(), Error::NoSession);
        assert!(device.slot.flash().contents() == before);

        block_on(async {
            let mut transfer = writer.begin(b"image", 10, device.room(), 4).await?;
            assert_eq!(transfer.spare().len(), 6, "never more room than the image has bytes left");
            assert_eq!(transfer.commit(7).await, Err(Error::Length));
            let early = transfer.feed(async |_: &mut [u8]| Ok::<_, Infallible>(0)).await;
            assert_eq!(early, Err(FeedError::Flash(Error::Length)));
            transfer.finish()
        })
        .map_err(|error| assert_eq!(error, Error::Length))
        .unwrap_err();
    }
}
