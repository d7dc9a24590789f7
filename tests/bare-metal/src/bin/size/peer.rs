//! What a firmware has without Sprag: `reqwless` streams an object into embassy-boot's own updater, over HTTP. One request,
//! one buffer; nothing is resumed, verified or reported.

use core::hint::black_box;

use embassy_boot::{FirmwareUpdater, FirmwareUpdaterConfig};
use embassy_futures::block_on;
use embedded_io_async::Read;
use reqwless::client::HttpClient;
use reqwless::request::Method;

use crate::chip::{Flash, Net};

pub fn run(input: &[u8], out: &mut [u8]) {
    let (aligned, rest) = out.split_at_mut(black_box(8).min(out.len()));
    let (head, page) = rest.split_at_mut(black_box(1024).min(rest.len()));
    let Ok(url) = core::str::from_utf8(input) else { return };
    let mut updater = FirmwareUpdater::new(FirmwareUpdaterConfig { dfu: Flash, state: Flash }, aligned);
    block_on(async {
        let mut client = HttpClient::new(&Net, &Net);
        let Ok(mut request) = client.request(Method::GET, url).await else { return };
        let Ok(response) = request.send(head).await else { return };
        if !response.status.is_successful() {
            return;
        }
        let (mut body, mut offset) = (response.body().reader(), 0);
        while let Ok(count @ 1..) = body.read(page).await {
            let Some(piece) = page.get(..count) else { return };
            if updater.write_firmware(offset, piece).await.is_err() {
                return;
            }
            offset += count;
        }
        let _ = black_box(updater.mark_updated().await);
    });
}
