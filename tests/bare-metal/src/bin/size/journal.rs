//! One record to be kept and one to be found, by `sprag-flash`'s journal and by `sequential-storage`.

use core::hint::black_box;

use embassy_futures::block_on;

use crate::chip::Flash;

#[cfg(feature = "journal")]
pub fn run(input: &[u8], out: &mut [u8]) {
    use sprag_flash::{FlashGeometry, Journal};

    let geometry = FlashGeometry { write_size: 8, erase_size: 4096, erased: 0xFF };
    let mut journal = Journal::new(Flash, geometry, out);
    let _ = black_box(block_on(journal.put(black_box(1), input)));
    let _ = black_box(block_on(journal.get(black_box(1))));
}

#[cfg(feature = "sequential-storage")]
pub fn run(input: &[u8], out: &mut [u8]) {
    use sequential_storage::cache::Cache;
    use sequential_storage::map::{MapConfig, MapStorage};

    let Ok(config) = MapConfig::try_new(0..8192) else { return };
    let mut map = MapStorage::<u8, _, _>::new(Flash, config, Cache::new_uncached());
    let _ = black_box(block_on(map.store_item(out, &black_box(1), &input)));
    let _ = black_box(block_on(map.fetch_item::<&[u8]>(out, &black_box(1))));
}
