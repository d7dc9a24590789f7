//! The whole road on an STM32 with Ethernet: MQTT job, TLS range fetch, slot, verify, stage, reset, self-test, confirm,
//! report. What the boards have in common is in `sprag-road`; what is this board's own, here.
#![no_std]
#![no_main]

#[cfg_attr(feature = "nucleo-f429zi", path = "board/f429zi.rs")]
#[cfg_attr(feature = "nucleo-h563zi", path = "board/h563zi.rs")]
mod board;
#[cfg_attr(feature = "mcuboot", path = "mcuboot.rs")]
#[cfg_attr(feature = "embassy-boot", path = "embassy_boot.rs")]
mod bootloader;

use cortex_m::peripheral::SCB;
use embassy_executor::Spawner;
use embassy_net::dns::DnsSocket;
use embassy_net::tcp::client::{TcpClient, TcpClientState};
use embassy_net::{Runner, StackResources};
use embassy_stm32::eth::{Ethernet, GenericPhy, Sma};
use embassy_stm32::peripherals::{ETH, ETH_SMA, IWDG};
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_time::{Delay, Instant, Timer};
use sprag::mqtt::{Event, Reset};
use sprag_road::{Board, Buffers, Settings, Stop};
use sprag_stm32::{Flash, hal};
use static_cell::{ConstStaticCell, StaticCell};
use {defmt_rtt as _, panic_probe as _};

use board::MAP;

type Device = Ethernet<'static, ETH, GenericPhy<Sma<'static, ETH_SMA>>>;

const _: () = assert!(MAP.check().is_ok());
const SLOT_ERASE: usize = MAP.part.erase_size(&MAP.update) as usize;
const JOURNAL_ERASE: usize = MAP.part.erase_size(&MAP.journal) as usize;
/// Sockets: the broker's and the image's server's.
const SEND: usize = 2048;
/// What a server may send ahead, in whole segments (see BENCHMARKS.md): over a round trip of 100 ms, 57 KiB/s.
const RECEIVE: usize = 4 * 1460;

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let mut board = board::init();
    spawner.spawn(defmt::unwrap!(watch(board.watchdog)));

    static RESOURCES: StaticCell<StackResources<5>> = StaticCell::new();
    static SOCKETS: StaticCell<TcpClientState<2, SEND, RECEIVE>> = StaticCell::new();
    static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());
    let dhcp = embassy_net::Config::dhcpv4(Default::default());
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(board.ethernet, dhcp, resources, board.random.next_u64());
    spawner.spawn(defmt::unwrap!(network(runner)));
    let tcp = TcpClient::new(stack, SOCKETS.init(TcpClientState::new()));
    let dns = DnsSocket::new(stack);

    // One flash, and who has which part of it.
    let flash = Flash::new(board.flash, &MAP.part, hal::ready);
    let slot = defmt::unwrap!(flash.region::<SLOT_ERASE>(MAP.update));
    let journal = defmt::unwrap!(flash.region::<JOURNAL_ERASE>(MAP.journal));
    let (boot, running) = bootloader::open(&flash).await;
    defmt::info!("this is {}", running);

    let board = Board {
        tcp: &tcp,
        dns: &dns,
        slot,
        slot_geometry: MAP.part.geometry(&MAP.update),
        slot_sectors: &[],
        journal,
        journal_geometry: MAP.part.geometry(&MAP.journal),
        boot,
        format: bootloader::FORMAT,
        running,
        policy: |policy| policy.linked_within(MAP.addresses()),
        random: board.random,
        delay: Delay,
        seconds: || Instant::now().as_secs() as u32,
        unix_seconds: None,
    };
    let self_test = async || {
        // Sensors and actuators of yours; here, that there is a network.
        stack.wait_config_up().await;
        true
    };
    let road = async {
        let events = |event: &Event| defmt::info!("{}", event);
        sprag_road::run(&Settings::built_in()?, board, sprag_road::aws, BUFFERS.take(), self_test, events).await
    };
    if let Err::<Reset, Stop>(stop) = road.await {
        defmt::error!("{}", stop);
        Timer::after_secs(60).await;
    }
    SCB::sys_reset();
}

/// The watchdog is fed by the executor that the update runs on: a firmware that hangs is reset, and a new image that does
/// so before it is confirmed is swapped back.
#[embassy_executor::task]
async fn watch(mut watchdog: IndependentWatchdog<'static, IWDG>) -> ! {
    watchdog.unleash();
    loop {
        watchdog.pet();
        Timer::after_secs(1).await;
    }
}

#[embassy_executor::task]
async fn network(mut runner: Runner<'static, Device>) -> ! {
    runner.run().await
}
