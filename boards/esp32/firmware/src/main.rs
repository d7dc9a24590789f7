#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_net::{Config, Runner, StackResources};
use embassy_time::{Duration, Timer};
use esp_hal::rng::Rng;
use esp_hal::timer::timg::TimerGroup;
use esp_println as _;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{AuthenticationMethodConfig, ControllerConfig, Interface, WifiController};
use static_cell::StaticCell;

esp_bootloader_esp_idf::esp_app_desc!();

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    esp_hal::system::software_reset()
}

#[embassy_executor::task]
async fn run(mut runner: Runner<'static, Interface>) -> ! {
    runner.run().await
}

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let peripherals = esp_hal::init(esp_hal::Config::default());
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: 64 * 1024);
    let timers = TimerGroup::new(peripherals.TIMG0);
    esp_rtos::start(timers.timer0, peripherals.FROM_CPU_INTR0);
    let config = StationConfig::default()
        .with_ssid("x".try_into().unwrap())
        .with_authentication(AuthenticationMethodConfig::Wpa2Personal("yyyyyyyy".try_into().unwrap()));
    let config = ControllerConfig::default().with_initial_config(esp_radio::wifi::Config::Station(config));
    let mut controller = WifiController::new(peripherals.WIFI, config).unwrap();
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();
    let rng = Rng::new();
    let (stack, runner) = embassy_net::new(
        Interface::station(),
        Config::dhcpv4(Default::default()),
        RESOURCES.init(StackResources::new()),
        (u64::from(rng.random()) << 32) | u64::from(rng.random()),
    );
    spawner.spawn(run(runner).unwrap());
    let _ = controller.connect_async().await;
    stack.wait_config_up().await;
    loop {
        Timer::after(Duration::from_secs(1)).await;
    }
}
