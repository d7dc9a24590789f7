//! Updates on an ESP32 with Wi-Fi: what a firmware of yours does, too. Secrets come from the environment of the build, see
//! `sprag_road::Settings`; a build without them links, and says at its start which one is missing.
#![no_std]
#![no_main]

mod network;

use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_time::{Delay, Duration, Instant, Timer};
use esp_hal::clock::CpuClock;
use esp_hal::rng::Trng;
use esp_hal::timer::timg::TimerGroup;
use esp_println as _;
use sprag::mqtt::{Event, Reset};
use sprag::verify::{EspIdf, Policy, esp_idf};
use sprag_esp32::{Board, GEOMETRY, Watchdog};
use sprag_road::{Buffers, Settings, Stop, Wifi};
use static_cell::{ConstStaticCell, StaticCell};

// The version in the image: this package's.
esp_bootloader_esp_idf::esp_app_desc!();

/// The chip that images must be for.
const CHIP: u16 = if cfg!(feature = "esp32c3") { esp_idf::chip::ESP32C3 } else { esp_idf::chip::ESP32C6 };

/// How long nothing may run, an erase included, before the watchdog resets the chip. A new image that hangs is given up so.
const WATCHDOG: esp_hal::time::Duration = esp_hal::time::Duration::from_secs(10);

static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    // For the radio alone. The first piece is what the bootloader leaves behind.
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);

    static DOG: StaticCell<Watchdog> = StaticCell::new();
    let watchdog: &'static Watchdog = DOG.init(Watchdog::start(chip.RTC_TIMER, WATCHDOG));
    spawner.spawn(defmt::unwrap!(feed(watchdog)));

    let board = Board::new(chip.FLASH, || watchdog.feed());
    match updates(spawner, board, chip.WIFI).await {
        Ok(reset) => defmt::info!("restarts: {}", defmt::Debug2Format(&reset)),
        Err(stop) => {
            defmt::error!("{}", stop);
            Timer::after(Duration::from_secs(60)).await;
        }
    }
    // An image on trial that could not go the road is given up by this.
    sprag_esp32::reset()
}

/// While this executor gets on, the watchdog is content.
#[embassy_executor::task]
async fn feed(watchdog: &'static Watchdog) -> ! {
    loop {
        watchdog.feed();
        Timer::after(Duration::from_secs(1)).await;
    }
}

async fn updates<W: FnMut()>(
    spawner: Spawner,
    board: impl Future<Output = Result<Board<'static, W>, sprag_esp32::MapError>>,
    radio: esp_hal::peripherals::WIFI<'static>,
) -> Result<Reset, Stop> {
    let Board { flash, map } = board.await.map_err(|error| Stop::Failed(error.reason()))?;
    let flash = Mutex::<NoopRawMutex, _>::new(flash);
    let mut regions = map.regions(&flash).map_err(|error| Stop::Failed(error.reason()))?;
    let mut buffer = [0; 256];
    let running = esp_idf::version(&mut regions.app, &mut buffer).await;
    let running = running.map_err(|error| Stop::Failed(error.reason()))?;
    defmt::info!("{} runs, from {}", running, map.running());

    let (tcp, dns) = network::start(spawner, radio, Wifi::built_in()?)?;
    // With the radio on, which mixes noise into it, the generator is a true one; without, this is an error.
    let random = Trng::try_new().map_err(|_| Stop::Failed("no-randomness"))?;
    let board = sprag_road::Board {
        tcp: &tcp,
        dns: &dns,
        slot: regions.slot,
        slot_geometry: GEOMETRY,
        slot_sectors: &[],
        journal: regions.journal,
        journal_geometry: GEOMETRY,
        boot: regions.boot.keeping_the_trial(),
        format: EspIdf,
        running,
        policy: |policy: Policy<'_>| policy.for_chip(CHIP),
        random,
        delay: Delay,
        seconds: || Instant::now().as_secs() as u32,
        unix_seconds: None,
    };
    // Whatever must work before a new image may stay: your sensors, your actuators. That the broker is reached, the road sees
    // to.
    let self_test = async || true;
    let events = |event: &Event| defmt::info!("{}", event);
    sprag_road::run(&Settings::built_in()?, board, sprag_road::aws, BUFFERS.take(), self_test, events).await
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    sprag_esp32::reset()
}
