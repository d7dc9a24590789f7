//! ESP-IDF images: any bytes as a slot, as segments behind a good header, and as a signature sector.

#![no_main]

use embassy_futures::block_on;
use libfuzzer_sys::fuzz_target;
use sprag_testkit::flash::{FlashGeometry, SimFlash};
use sprag_testkit::image::{EspIdfImage, Signer};
use sprag_verify::{Ed25519Key, Error, Image, Key, P256Key, Policy, Promised, Signature, esp_idf};

const SLOT: u32 = 16384;

fn signer() -> Signer {
    Signer::from(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]))
}

fn verify(bytes: &[u8], promised: Promised<'_>) -> Result<Image, Error> {
    let flash = SimFlash::in_memory(SLOT, FlashGeometry { write_size: 1, erase_size: 4096, erased: 0xFF });
    flash.load(0, bytes).unwrap();
    let eddsa = Ed25519Key::new(signer().public().try_into().unwrap());
    let ecdsa = P256Key::new([4; 65]);
    let keys: [&dyn Key; 2] = [&ecdsa, &eddsa];
    let policy = Policy::signed_by_any(&keys).for_chip(5).chip_revision(3);
    block_on(esp_idf::verify(&mut flash.region(0..SLOT), promised, &policy, &mut [0; 512]))
}

fuzz_target!(|data: &[u8]| {
    let data = &data[..data.len().min(4096)];
    let image = EspIdfImage {
        chip: 5,
        revisions: [3, 199],
        version: "1.2.3",
        secure_version: 7,
        project: "board-a",
        data: &[],
        program: &[],
    };
    let image = image.build();

    // As they come, signed as they are: whatever is taken is an image of exactly this size.
    let signed = |bytes: &[u8]| {
        let signature = Signature::ed25519(signer().sign(bytes).try_into().unwrap());
        if let Ok(taken) = verify(bytes, Promised::size(bytes.len() as u32).signature(signature)) {
            assert_eq!(taken.size as usize, bytes.len());
        }
    };
    signed(data);
    // Behind a good header, and behind the description.
    signed(&[&image[..24], data].concat());
    signed(&[&image[..32 + 256], data].concat());

    // As a signature sector: nobody signed this.
    let mut sector = data.to_vec();
    sector.resize(4096, 0xFF);
    let mut padded = image.clone();
    padded.resize(4096, 0xFF);
    padded.extend(&sector);
    assert!(verify(&padded, Promised::size(8192)).is_err());
    // With the checksums of its blocks right, too.
    for block in 0..3 {
        let at = 4096 + block * 1216;
        padded[at..at + 3].copy_from_slice(&[0xE7, 3, 0]);
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&padded[at..at + 1196]);
        padded[at + 1196..at + 1200].copy_from_slice(&crc.to_le_bytes());
    }
    assert!(verify(&padded, Promised::size(8192)).is_err());
});
