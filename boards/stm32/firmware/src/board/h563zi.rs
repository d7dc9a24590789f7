//! Nucleo-H563ZI: LAN8742A over RMII, 8 MHz from the debugger.

use embassy_embedded_hal::adapter::BlockingAsync;
use embassy_stm32::eth::PacketQueue;
use embassy_stm32::flash::{Blocking, Flash};
use embassy_stm32::peripherals::{IWDG, RNG};
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllDiv, PllMul, PllPreDiv, PllSource, Sysclk, VoltageScale,
};
use embassy_stm32::rng::{self, Rng};
use embassy_stm32::time::Hertz;
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_stm32::{Config, bind_interrupts, eth, uid};
use sprag_stm32::{Map, Tolerant, hal};
use static_cell::StaticCell;

use crate::Device;

pub(crate) const MAP: Map = if cfg!(feature = "mcuboot") { Map::H563_MCUBOOT } else { Map::H563_EMBASSY };

bind_interrupts!(struct Irqs {
    ETH => eth::InterruptHandler;
    RNG => rng::InterruptHandler<RNG>;
});

pub(crate) struct Board {
    pub(crate) ethernet: Device,
    pub(crate) flash: Tolerant<BlockingAsync<Flash<'static, Blocking>>, hal::FlashMemory>,
    pub(crate) random: Rng<'static, RNG>,
    pub(crate) watchdog: IndependentWatchdog<'static, IWDG>,
}

pub(crate) fn init() -> Board {
    let mut config = Config::default();
    config.rcc.hsi = None;
    config.rcc.hsi48 = Some(Default::default()); // For the random numbers.
    config.rcc.hse = Some(Hse { freq: Hertz(8_000_000), mode: HseMode::BypassDigital });
    // 250 MHz.
    config.rcc.pll1 = Some(Pll {
        source: PllSource::HSE,
        prediv: PllPreDiv::DIV2,
        mul: PllMul::MUL125,
        divp: Some(PllDiv::DIV2),
        divq: Some(PllDiv::DIV2),
        divr: None,
    });
    config.rcc.ahb_pre = AHBPrescaler::DIV1;
    config.rcc.apb1_pre = APBPrescaler::DIV1;
    config.rcc.apb2_pre = APBPrescaler::DIV1;
    config.rcc.apb3_pre = APBPrescaler::DIV1;
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.voltage_scale = VoltageScale::Scale0;
    let p = embassy_stm32::init(config);

    static PACKETS: StaticCell<PacketQueue<4, 8>> = StaticCell::new();
    let [.., a, b, c, d, e] = uid::uid();
    let ethernet = Device::new(
        PACKETS.init(PacketQueue::new()),
        p.ETH,
        Irqs,
        p.PA1,
        p.PA7,
        p.PC4,
        p.PC5,
        p.PG13,
        p.PB15,
        p.PG11,
        // Locally administered, from the chip's own number.
        [0x02, a, b, c, d, e],
        p.ETH_SMA,
        p.PA2,
        p.PC1,
    );
    Board {
        ethernet,
        flash: Tolerant::new(BlockingAsync::new(Flash::new_blocking(p.FLASH)), hal::FlashMemory),
        random: Rng::new(p.RNG, Irqs),
        watchdog: IndependentWatchdog::new(p.IWDG, hal::WATCHDOG_US),
    }
}

/// A unit of flash that can't be read is no end: whoever read it is told.
#[cortex_m_rt::exception]
// SAFETY: an exception handler, called by the core; it shares nothing with the code that it interrupts but an atomic.
unsafe fn NonMaskableInt() {
    if !hal::on_nmi() {
        cortex_m::peripheral::SCB::sys_reset();
    }
}
