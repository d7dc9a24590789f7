//! Nucleo-F429ZI: LAN8742A over RMII, 8 MHz from the debugger.

use embassy_stm32::eth::PacketQueue;
use embassy_stm32::flash::{self, Flash};
use embassy_stm32::peripherals::{IWDG, RNG};
use embassy_stm32::rcc::{
    AHBPrescaler, APBPrescaler, Hse, HseMode, Pll, PllMul, PllPDiv, PllPreDiv, PllQDiv, PllSource, Sysclk,
};
use embassy_stm32::rng::{self, Rng};
use embassy_stm32::time::Hertz;
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_stm32::{Config, bind_interrupts, eth, uid};
use sprag_stm32::{Map, hal};
use static_cell::StaticCell;

use crate::Device;

pub(crate) const MAP: Map = if cfg!(feature = "mcuboot") { Map::F429_MCUBOOT } else { Map::F429_EMBASSY };

bind_interrupts!(struct Irqs {
    ETH => eth::InterruptHandler;
    FLASH => flash::InterruptHandler;
    HASH_RNG => rng::InterruptHandler<RNG>;
});

pub(crate) struct Board {
    pub(crate) ethernet: Device,
    pub(crate) flash: Flash<'static, flash::Async>,
    pub(crate) random: Rng<'static, RNG>,
    pub(crate) watchdog: IndependentWatchdog<'static, IWDG>,
}

pub(crate) fn init() -> Board {
    let mut config = Config::default();
    config.rcc.hse = Some(Hse { freq: Hertz(8_000_000), mode: HseMode::Bypass });
    config.rcc.pll_src = PllSource::HSE;
    // 168 MHz, and 48 MHz for the random numbers.
    config.rcc.pll = Some(Pll {
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL168,
        divp: Some(PllPDiv::DIV2),
        divq: Some(PllQDiv::DIV7),
        divr: None,
    });
    config.rcc.ahb_pre = AHBPrescaler::DIV1;
    config.rcc.apb1_pre = APBPrescaler::DIV4;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config.rcc.sys = Sysclk::PLL1_P;
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
        p.PB13,
        p.PG11,
        // Locally administered, from the chip's own number.
        [0x02, a, b, c, d, e],
        p.ETH_SMA,
        p.PA2,
        p.PC1,
    );
    Board {
        ethernet,
        flash: Flash::new(p.FLASH, Irqs),
        random: Rng::new(p.RNG, Irqs),
        watchdog: IndependentWatchdog::new(p.IWDG, hal::WATCHDOG_US),
    }
}
