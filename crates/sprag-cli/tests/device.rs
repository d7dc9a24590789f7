//! `sprag device` against the local S3 over TLS: updates, kills, and bad input.

mod common;

#[path = "device/bench.rs"]
mod bench;
#[path = "device/cloud.rs"]
mod cloud;
#[path = "device/cuts.rs"]
mod cuts;
#[path = "device/documents.rs"]
mod documents;
#[path = "device/families.rs"]
mod families;
#[path = "device/files.rs"]
mod files;
#[path = "device/kills.rs"]
mod kills;
#[path = "device/road.rs"]
mod road;
