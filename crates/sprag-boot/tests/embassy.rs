//! embassy-boot's own bootloader over the flash that was staged, with the power cut in calls and in its swaps.

mod common;

/// Version 0.7.
mod erased_to_ff {
    use embassy_boot_loader as embassy_boot;
    const ERASED: u8 = 0xFF;
    include!("embassy/calls.rs");
}

/// Version 0.6.1 with `flash-erase-zero`: the same bootloader, as one build can't have one version in both ways.
mod erased_to_zero {
    use embassy_boot_loader_zero as embassy_boot;
    const ERASED: u8 = 0x00;
    include!("embassy/calls.rs");
}
