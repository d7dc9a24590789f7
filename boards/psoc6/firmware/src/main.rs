//! Example firmware for a PSoC 6 with 2 MiB (CY8CKIT-062S2-43012, CY8CPROTO-062-4343W) and a WIZnet W5500 on SPI: the whole
//! road, from the broker to the confirmed image. What is needed of it in a firmware of yours: the flash, and what is in
//! `update`.
#![no_std]
#![no_main]

mod network;

use defmt::{error, info, warn};
use defmt_rtt as _;
use embassy_embedded_hal::flash::partition::Partition;
use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_net::dns::DnsSocket;
use embassy_net::tcp::client::{TcpClient, TcpClientState};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_time::{Delay, Instant, Timer};
use panic_probe as _;
use sprag::boot::Cypress;
use sprag::flash::FlashGeometry;
use sprag::mqtt::{Event, Reset};
use sprag::verify::{self, McuBoot};
use sprag_psoc6::silicon::{self, psoc6_02};
use sprag_psoc6::{Cores, ERASED, FLASH, Flash, Map, Part, ROW};
use sprag_road::{Board, Settings, Stop};
use static_cell::{ConstStaticCell, StaticCell};

type Driver = Flash<psoc6_02::Silicon, Delay>;

const MAP: Map = Map::PSOC62_2M_INT_SWAP;
/// Sockets: the broker's and the image's server's.
const SEND: usize = 2048;
/// What a server may send ahead, in whole segments (see BENCHMARKS.md): over a round trip of 100 ms, 57 KiB/s.
const RECEIVE: usize = 4 * 1460;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let mut device = psoc::Device::take();
    device.clock.configure(&Default::default(), None);
    psoc::sys::embassy_time::init(device.mcwdt.0);
    spawner.spawn(watchdog().unwrap());

    // SAFETY: this is the CM4 of a CY8C62xA. Nothing else changes flash, no DMA or crypto operation reads it, the core's
    // voltage is as MCUboot left it; what both cores execute is said below.
    let registers = unsafe { psoc6_02::Silicon::take() };
    // SAFETY: nothing else uses the crypto block.
    let random = unsafe { psoc6_02::Trng::take() };
    let (Some(registers), Some(mut random)) = (registers, random) else { defmt::panic!("taken twice") };

    // The CM0+ sleeps in MCUboot, which started this image.
    let cores = Cores { cm4: silicon::executes(), cm0p: FLASH + MAP.bootloader.start..FLASH + MAP.bootloader.end };
    static DRIVER: StaticCell<Mutex<NoopRawMutex, Driver>> = StaticCell::new();
    let flash = match Flash::new(registers, Delay, Part::CY8C6XXA, cores) {
        Ok(flash) => &*DRIVER.init(Mutex::new(flash)),
        Err(error) => defmt::panic!("flash: {}", error),
    };

    let stack = network::start(spawner, device.gpio, &mut random).await;
    let ended = update(flash, stack, random).await;
    info!("resets, because {}", ended);
    // A reset in the middle of a row would leave it half-changed.
    if flash.lock().await.idle().await.is_err() {
        warn!("the flash is still busy");
    }
    Timer::after_millis(100).await;
    silicon::reset();
}

/// From here to the next reset; why it comes.
async fn update(
    flash: &'static Mutex<NoopRawMutex, Driver>,
    stack: Stack<'static>,
    random: psoc6_02::Trng,
) -> &'static str {
    let part = |range: core::ops::Range<u32>| Partition::new(flash, range.start, range.end - range.start);
    let geometry = FlashGeometry { write_size: ROW as u32, erase_size: ROW as u32, erased: ERASED };
    let mut row = [0; ROW];
    let running = match verify::mcuboot::version(&mut part(MAP.primary), &mut row).await {
        Ok(version) => version,
        Err(_) => return "this image has no header",
    };

    static SOCKETS: StaticCell<TcpClientState<2, SEND, RECEIVE>> = StaticCell::new();
    let tcp = TcpClient::new(stack, SOCKETS.init(TcpClientState::new()));
    let dns = DnsSocket::new(stack);
    let board = Board {
        tcp: &tcp,
        dns: &dns,
        slot: part(MAP.secondary),
        slot_geometry: geometry,
        slot_sectors: &[],
        journal: part(MAP.journal),
        journal_geometry: geometry,
        boot: Cypress::new(part(MAP.primary), part(MAP.secondary), part(MAP.status), MAP.layout(), &mut row),
        format: McuBoot,
        running,
        policy: |policy| policy,
        random,
        delay: Delay,
        seconds: || Instant::now().as_secs() as u32,
        unix_seconds: None,
    };

    static BUFFERS: ConstStaticCell<sprag_road::Buffers> = ConstStaticCell::new(sprag_road::Buffers::new());
    // What shows that a new image works, here that it came this far and got an address.
    let self_test = async || {
        stack.wait_config_up().await;
        true
    };
    let road = async {
        let events = |event: &Event| info!("{}", event);
        sprag_road::run(&Settings::built_in()?, board, sprag_road::aws, BUFFERS.take(), self_test, events).await
    };
    match road.await {
        Ok::<Reset, Stop>(_) => "the update asks for it",
        Err(stop) => {
            error!("{}", stop);
            // Without settings there are no updates: the application goes on.
            if let Stop::Setting(_) = stop {
                core::future::pending::<()>().await;
            }
            "flash or bootloader fail"
        }
    }
}

/// MCUboot has started the watchdog. It bites when the executor hangs for some seconds.
#[embassy_executor::task]
async fn watchdog() {
    loop {
        psoc6_02::feed_watchdog();
        Timer::after_millis(500).await;
    }
}
