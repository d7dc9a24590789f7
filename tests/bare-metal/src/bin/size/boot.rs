//! `sprag-boot` as a firmware uses it: hand over, ask, confirm or go back.

use core::hint::black_box;

use embassy_futures::block_on;
use sprag_boot::{BootControl, FlashGeometry, Swap};

use crate::chip::Flash;

const GEOMETRY: FlashGeometry = FlashGeometry { write_size: 8, erase_size: 4096, erased: 0xFF };

pub fn run(_: &[u8], out: &mut [u8]) {
    let _ = &out;
    #[cfg(feature = "boot-mcuboot")]
    all(sprag_boot::McuBoot::new(Flash, Flash, sprag_boot::Layout::new(GEOMETRY)));
    #[cfg(feature = "boot-xip")]
    {
        let layout = sprag_boot::Layout::new(GEOMETRY);
        all(sprag_boot::DirectXip::new(Flash, Flash, black_box(sprag_boot::mcuboot::Slot::Primary), layout));
    }
    #[cfg(feature = "boot-cypress")]
    {
        let layout = sprag_boot::mcuboot::CypressLayout::new(black_box(32));
        all(sprag_boot::Cypress::new(Flash, Flash, Flash, layout, out));
    }
    #[cfg(feature = "boot-esp-idf")]
    {
        use sprag_boot::esp_idf::{App, Table};
        let Ok(table) = block_on(Table::read(&mut Flash, black_box(Table::OFFSET))) else { return };
        let Some(app) = table.app_at(black_box(0x1_0000)) else { return };
        black_box::<App>(app);
        if let Ok(boot) = sprag_boot::EspIdf::new(Flash, table, app) {
            all(boot);
        }
    }
    #[cfg(feature = "boot-embassy")]
    {
        let dfu = FlashGeometry { erase_size: black_box(4096), ..GEOMETRY };
        let layout = sprag_boot::embassy::Layout { active_size: black_box(0x8_0000), dfu, state: GEOMETRY };
        all(sprag_boot::EmbassyBoot::new(Flash, layout));
    }
}

fn all(mut boot: impl BootControl) {
    black_box(boot.image_region());
    let _ = black_box(block_on(boot.state()));
    let _ = black_box(block_on(boot.unstage()));
    let _ = black_box(block_on(boot.stage(black_box(Swap::Test))));
    let _ = black_box(block_on(boot.confirm()));
    let _ = black_box(block_on(boot.go_back()));
}
