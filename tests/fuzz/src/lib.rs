//! What the fuzz targets share: everything that can be asked of what was read, asked.

pub mod job;
