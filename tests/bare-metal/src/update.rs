//! Floors 1 and 2 at work: a whole update, from its document to the staged image, in flash that is RAM here.

use core::hint::black_box;
use core::mem::size_of_val;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::pin::pin;

use embassy_futures::block_on;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use embedded_storage_async::nor_flash::{self, NorFlash, NorFlashErrorKind, ReadNorFlash};
use sprag::boot::{Layout, McuBoot};
use sprag::fetch::{Fetcher, TcpConnector};
use sprag::flash::{FlashGeometry, Journal, SlotWriter};
use sprag::verify::{Algorithm, Key, Policy, Version};
use sprag::{Outcome, Startup, Updater};

/// The image's version is 2.0.0.
const JOB: &[u8] = br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"7d","sw":"2.0.0","urls":[{"url":"http:\/\/h/app?a=1"}]}"#;

const SECTOR: u32 = 4096;
const SLOT: u32 = 16 * SECTOR;
const JOURNAL: u32 = 2 * SECTOR;
const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 8, erase_size: SECTOR, erased: 0xFF };
const RUNNING: Version = Version::new(1, 0, 0);

/// What is pinned while an update runs, beside the stack and the caller's buffers.
pub struct Sizes {
    pub updater: usize,
    pub future: usize,
}

/// An image as its server sends it, and the key that it is signed with.
pub struct Signed {
    pub answer: &'static [u8],
    pub key: &'static [u8],
}

impl Signed {
    /// Of the answer, image and head, in bytes.
    #[allow(dead_code)] // Where speed is measured.
    pub fn length(&self) -> usize {
        self.answer.len()
    }
}

/// With Ed25519.
pub const ED25519: Signed = Signed {
    answer: include_bytes!(concat!(env!("OUT_DIR"), "/answer-ed25519")),
    key: include_bytes!(concat!(env!("OUT_DIR"), "/key-ed25519")),
};

/// Does an update with the image, from its document to the staged image: `around` calls what it is given, once, and may
/// look at what that takes.
pub fn run(image: &Signed, key: &dyn Key, around: &mut dyn FnMut(&mut dyn FnMut())) -> Sizes {
    // Filled anew for each run.
    static mut FLASH: [u8; (2 * SLOT + JOURNAL) as usize] = [0; (2 * SLOT + JOURNAL) as usize];
    // SAFETY: nothing else in this program has it, and the last run's parts of it are gone.
    let flash: &'static mut [u8] = unsafe { &mut *(&raw mut FLASH) };
    flash.fill(GEOMETRY.erased);
    let (secondary, rest) = flash.split_at_mut(SLOT as usize);
    let (primary, journal) = rest.split_at_mut(SLOT as usize);
    // The hand-over looks at the slot that the writer has: both are one region of the chip.
    let secondary = Ram { start: secondary.as_mut_ptr(), size: SLOT };

    let (mut page, mut second, mut scratch) = ([0; 512], [0; 512], [0; 256]);
    let net = Net(image.answer);
    let fetch = Fetcher::new(TcpConnector::new(&net, &net), Never);
    let journal = Journal::new(Ram { start: journal.as_mut_ptr(), size: JOURNAL }, GEOMETRY, &mut scratch);
    let slot = SlotWriter::new(secondary, GEOMETRY, journal, &mut page).second_buffer(&mut second);
    let policy = Policy::signed_by(key).newer_than(RUNNING);
    let boot = McuBoot::new(Ram { start: primary.as_mut_ptr(), size: SLOT }, secondary, Layout::new(GEOMETRY));
    let mut updater = Updater::new(fetch, slot, policy, boot);
    let mut sizes = Sizes { updater: size_of_val(&updater), future: 0 };
    let startup = block_on(updater.start(RUNNING));
    assert!(matches!(startup, Ok(Startup::Idle)));
    let Ok(job) = sprag::job::parse(JOB) else { unreachable!("a sound job") };
    let mut events = |event| {
        black_box(event);
    };
    let mut future = pin!(updater.run(&job, &mut events));
    sizes.future = size_of_val(&*future);
    let mut outcome = None;
    around(&mut || outcome = Some(block_on(future.as_mut()).is_ok_and(|it| it == Outcome::RebootToTest)));
    assert!(outcome == Some(true), "the update came to nothing");
    sizes
}

/// A key whose arithmetic is done elsewhere, and comes out well.
#[derive(Debug)]
pub struct Elsewhere;

impl Key for Elsewhere {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Ed25519
    }

    fn bytes(&self) -> &[u8] {
        ED25519.key
    }

    fn has_signed(&self, hash: &[u8], signature: &[u8; 64]) -> bool {
        black_box((hash, signature));
        true
    }
}

/// A region of the chip's flash.
#[derive(Clone, Copy)]
struct Ram {
    start: *mut u8,
    size: u32,
}

impl Ram {
    fn bytes(&mut self, offset: u32, length: usize) -> Result<&mut [u8], NorFlashErrorKind> {
        if offset as usize + length > self.size as usize {
            return Err(NorFlashErrorKind::OutOfBounds);
        }
        // SAFETY: within the region, of which a slice exists only while one of these calls runs, and they take turns.
        Ok(unsafe { core::slice::from_raw_parts_mut(self.start.add(offset as usize), length) })
    }
}

impl nor_flash::ErrorType for Ram {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.copy_from_slice(self.bytes(offset, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.size as usize
    }
}

impl NorFlash for Ram {
    const WRITE_SIZE: usize = GEOMETRY.write_size as usize;
    const ERASE_SIZE: usize = SECTOR as usize;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.bytes(from, (to - from) as usize)?.fill(GEOMETRY.erased);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.bytes(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
}

/// A network with one server.
struct Net(&'static [u8]);

struct Socket {
    asked: bool,
    left: &'static [u8],
}

impl ErrorType for Socket {
    type Error = ErrorKind;
}

impl Read for Socket {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        // As a network brings them: in segments.
        let count = if self.asked { bytes.len().min(self.left.len()).min(1460) } else { 0 };
        let (now, later) = self.left.split_at(count);
        bytes[..count].copy_from_slice(now);
        self.left = later;
        Ok(count)
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.asked |= bytes.ends_with(b"\r\n\r\n");
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl TcpConnect for Net {
    type Error = ErrorKind;
    type Connection<'a> = Socket;

    async fn connect(&self, _: SocketAddr) -> Result<Socket, ErrorKind> {
        Ok(Socket { asked: false, left: self.0 })
    }
}

impl Dns for Net {
    type Error = ErrorKind;

    async fn get_host_by_name(&self, _: &str, _: AddrType) -> Result<IpAddr, ErrorKind> {
        Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, ErrorKind> {
        Err(ErrorKind::Unsupported)
    }
}

/// Time that does not run out.
struct Never;

impl DelayNs for Never {
    async fn delay_ns(&mut self, _: u32) {
        core::future::pending::<()>().await;
    }
}
