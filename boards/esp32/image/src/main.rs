//! The ESP-IDF image of a firmware's ELF file, by `espflash`: what is downloaded as an update, and what `espflash
//! write-bin` puts into a slot.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use espflash::flasher::{FlashData, FlashSettings};
use espflash::image_format::Metadata;
use espflash::image_format::idf::IdfBootloaderFormat;
use espflash::target::Chip;

#[derive(Parser)]
#[command(name = "sprag-esp32-image", about = "Makes the ESP-IDF image of a firmware's ELF file")]
struct Cli {
    /// The ELF file; it says itself which chip it is for
    elf: PathBuf,
    /// Where the image goes
    #[arg(short, long)]
    output: PathBuf,
    /// The partition table that the image has to fit, as CSV or binary
    #[arg(long)]
    partition_table: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sprag-esp32-image: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let elf = fs::read(&cli.elf).with_context(|| format!("{}", cli.elf.display()))?;
    let metadata = Metadata::from_bytes(Some(&elf));
    let chip = metadata.chip_name().context("the ELF file does not name its chip: it is not linked with esp-hal")?;
    let chip = Chip::from_str(chip).with_context(|| format!("the chip {chip}"))?;

    // Mode, speed and size of the flash are for the bootloader's own header: an app's are not looked at. The page of the MMU
    // is 64 KiB where the bootloader is not built otherwise.
    let flash = FlashData::new(FlashSettings::default(), 0, None, chip, chip.default_xtal_frequency());
    let format = IdfBootloaderFormat::new(&elf, &flash, Some(&cli.partition_table), None, None, None)?;
    let mut segments = format.ota_segments();
    let image = segments.next().context("the ELF file has nothing to load")?;
    ensure!(segments.next().is_none(), "the image is in pieces");
    fs::write(&cli.output, image.data()).with_context(|| format!("{}", cli.output.display()))?;
    println!("{}: {chip}, {} bytes", cli.output.display(), image.size());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_no_chip_is_refused_and_leaves_no_image() {
        let output = std::env::temp_dir().join(format!("sprag-esp32-image-{}.bin", std::process::id()));
        let partition_table = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../partitions.csv"));
        // This test itself, and something that is no program.
        for elf in [std::env::current_exe().unwrap(), partition_table.clone()] {
            let error =
                run(&Cli { elf, output: output.clone(), partition_table: partition_table.clone() }).unwrap_err();
            assert!(error.to_string().contains("does not name its chip"), "{error:#}");
        }
        assert!(!output.exists());
    }
}
