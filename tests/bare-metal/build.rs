//! The chip's memory for the linker, and the documents to measure with: what fuzzing starts from.

#[cfg(feature = "stack")]
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// QEMU's mps2-an385: 4 MiB of code memory, 4 MiB of RAM.
#[cfg(feature = "stack")]
const MEMORY: &str = "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 4M RAM : ORIGIN = 0x20000000, LENGTH = 4M }\n";

fn main() {
    #[cfg(feature = "stack")]
    for_stack();
}

#[cfg(feature = "stack")]
fn for_stack() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    fs::write(out.join("memory.x"), MEMORY).expect("the folder can be written");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bin=stack=-Tlink.x");
    #[cfg(feature = "cpu")]
    println!("cargo::rustc-link-arg-bin=cpu=-Tlink.x");

    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/job");
    println!("cargo::rerun-if-changed={}", seeds.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&seeds).expect("seeds").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let items: String = files.iter().map(|file| format!("include_bytes!({file:?}),\n")).collect();
    fs::write(out.join("documents.rs"), format!("&[{items}]")).expect("the folder can be written");

    let ed25519 = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let p256 = p256::ecdsa::SigningKey::from_slice(&[1; 32]).expect("a scalar");
    signed(&out, "ed25519", &(&ed25519).into());
    signed(&out, "p256", &(&p256).into());
}

/// An image behind what a server says before it, and the key that it is signed with.
#[cfg(feature = "stack")]
fn signed(out: &Path, name: &str, signer: &sprag_testkit::image::Signer) {
    use sprag_testkit::image::{Extras, McuBootImage, Version};

    let version = Version { major: 2, ..Version::default() };
    let payload: Vec<u8> = (0..20_000u32).map(|n| (n ^ n >> 8) as u8).collect();
    let image = McuBootImage { version, header_size: 512, payload: &payload };
    let image = image.sign_with(signer, &Extras::default());
    let size = image.len();
    let mut answer = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-{}/{size}\r\nContent-Length: {size}\r\nETag: \"e\"\r\n\r\n",
        size - 1
    )
    .into_bytes();
    answer.extend(image);
    fs::write(out.join(format!("answer-{name}")), answer).expect("the folder can be written");
    fs::write(out.join(format!("key-{name}")), signer.public()).expect("the folder can be written");
}
