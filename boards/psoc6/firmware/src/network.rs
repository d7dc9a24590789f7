//! A WIZnet W5500 on SPI, where an Arduino shield has it: select on D10, clock, MISO and MOSI on D13, D12 and D11, interrupt
//! on D2, reset on D3.

use core::num::NonZeroU8;

use embassy_executor::Spawner;
use embassy_net::{Config, Stack, StackResources};
use embassy_net_wiznet::chip::W5500;
use embassy_net_wiznet::{Device, Runner, State};
use embassy_time::Delay;
use embedded_hal_bus::spi::ExclusiveDevice;
use psoc::device::Gpio;
use psoc::gpio::mode::{PullUp, Strong};
use psoc::gpio::{DriveMode, IoSelector, Pin, PinConfig, PinMode};
use psoc::regs::SCB6;
use sprag_psoc6::silicon::psoc6_02::{Spi, Trng};
use static_cell::StaticCell;

type Select = Pin<12, 3, Strong<false>>;
type Interrupt = Pin<5, 2, PullUp<true>>;
type Reset = Pin<5, 3, Strong<false>>;
type Chip = Runner<'static, W5500, ExclusiveDevice<Spi, Select, Delay>, Interrupt, Reset>;

/// A pin that a serial block drives.
#[derive(Clone, Copy, Default)]
struct SpiOut;

impl PinMode for SpiOut {
    const DRIVE_MODE: DriveMode = DriveMode::Strong;
    const INPUT_BUFFER: bool = false;
    const IO_SELECTOR: IoSelector = IoSelector::Act8;
}

/// A pin that a serial block listens to.
#[derive(Clone, Copy, Default)]
struct SpiIn;

impl PinMode for SpiIn {
    const DRIVE_MODE: DriveMode = DriveMode::HighZ;
    const INPUT_BUFFER: bool = true;
    const IO_SELECTOR: IoSelector = IoSelector::Act8;
}

/// Starts the network; its address comes by DHCP, later.
pub async fn start(spawner: Spawner, gpio: Gpio, random: &mut Trng) -> Stack<'static> {
    let high = || PinConfig { initial_output: true.into(), ..PinConfig::default() };
    let spi = gpio.12.p0(SpiOut, PinConfig::default()).p1(SpiIn, PinConfig::default()).p2(SpiOut, PinConfig::default());
    let (_, _, _, select, ..) = spi.p3(Strong::<false>, high()).initialize();
    let control = gpio.5.p2(PullUp::<true>, high()).p3(Strong::<false>, high());
    let (_, _, interrupt, reset, ..) = control.initialize();

    // SAFETY: P12.0 to P12.2 are SCB 6 on this part, and nothing else uses it or the first 8-bit divider. A quarter of the
    // peripheral clock, which is at most 100 MHz: 12.5 MHz.
    let bus = unsafe { Spi::new(SCB6, 6, 0, const { NonZeroU8::new(2).unwrap() }) };
    let Ok(spi) = ExclusiveDevice::new(bus, select, Delay);

    let (Some(seed), Some(more)) = (random.word(), random.word()) else { defmt::panic!("no random numbers") };
    static STATE: StaticCell<State<4, 4>> = StaticCell::new();
    let chip = embassy_net_wiznet::new(mac(), STATE.init(State::new()), spi, interrupt, reset).await;
    let Ok((device, chip)) = chip else { defmt::panic!("no W5500 answers") };
    spawner.spawn(ethernet(chip).unwrap());

    static RESOURCES: StaticCell<StackResources<6>> = StaticCell::new();
    let seed = u64::from(seed) << 32 | u64::from(more);
    let (stack, net) =
        embassy_net::new(device, Config::dhcpv4(Default::default()), RESOURCES.init(StackResources::new()), seed);
    spawner.spawn(run(net).unwrap());
    stack
}

/// A locally administered address of the device's name. One of your own range is better.
fn mac() -> [u8; 6] {
    let name = sprag_road::Settings::built_in().map_or("", |settings| settings.thing);
    // FNV-1a.
    let hash = name.bytes().fold(0x811C_9DC5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    [0x02, 0x53, a, b, c, d]
}

#[embassy_executor::task]
async fn ethernet(chip: Chip) {
    chip.run().await
}

#[embassy_executor::task]
async fn run(mut net: embassy_net::Runner<'static, Device<'static>>) {
    net.run().await
}
