//! The flash layout of a device on the host, read from TOML and checked before anything is touched.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use sprag_testkit::flash::FlashGeometry;

use crate::loader::{Family, Loader, SwapMethod};

/// A flash part and its regions, checked: whole sectors, no overlap, and all that the bootloader and the journal need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The geometry of the part.
    pub geometry: FlashGeometry,
    /// The size of the file in bytes; a new file ends with the last region.
    pub capacity: u32,
    /// The bootloader with its slots.
    pub(crate) loader: Loader,
    /// Where progress is kept.
    pub journal: Range<u32>,
}

/// A layout as it is written, with checked units and regions; which regions there must be depends on what it is for.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) geometry: FlashGeometry,
    /// The end of the last region, in bytes.
    pub(crate) capacity: u32,
    regions: BTreeMap<String, RawRegion>,
    pub(crate) boot: Option<Family>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLayout {
    write_size: u32,
    erase_size: u32,
    erased_value: u8,
    #[serde(default)]
    regions: BTreeMap<String, RawRegion>,
    boot: Option<Family>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegion {
    offset: u32,
    size: u32,
}

impl Parts {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{}", path.display()))
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let raw: RawLayout = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            anyhow!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        let RawLayout { write_size, erase_size, erased_value: erased, regions, boot } = raw;
        ensure!(
            write_size.is_power_of_two() && write_size <= 512,
            "write_size: {write_size} is not a power of two of at most 512"
        );
        ensure!(
            erase_size >= 128 && erase_size.is_multiple_of(write_size),
            "erase_size: {erase_size} is less than 128 or no multiple of write_size, {write_size}"
        );
        ensure!(erased == 0xFF || erased == 0, "erased_value: {erased:#04x} is neither 0xFF nor 0x00");
        for (name, region) in &regions {
            check_region(name, region, erase_size)?;
        }
        check_overlaps(&regions)?;
        let capacity = regions.values().map(|region| region.offset + region.size).max().unwrap_or(0);
        Ok(Self { geometry: FlashGeometry { write_size, erase_size, erased }, capacity, regions, boot })
    }

    pub(crate) fn region(&self, name: &str) -> anyhow::Result<Range<u32>> {
        let region = self.regions.get(name).ok_or_else(|| anyhow!("regions.{name}: missing"))?;
        Ok(region.offset..region.offset + region.size)
    }

    /// Returns the name of a region that these bytes are part of.
    pub(crate) fn region_over(&self, range: &Range<u32>) -> Option<&str> {
        let over = |region: &RawRegion| region.offset < range.end && range.start < region.offset + region.size;
        self.regions.iter().find(|(_, region)| over(region)).map(|(name, _)| name.as_str())
    }

    /// Returns the two slots, which have the same size.
    pub(crate) fn slots(&self) -> anyhow::Result<[Range<u32>; 2]> {
        self.slots_for(None)
    }

    /// Returns the two slots, whose sizes suit MCUboot (`boot_slots_compatible`): the same, or one of them larger by one
    /// sector. For a swap by offset that is the secondary slot, for a swap by moving the primary one.
    pub(crate) fn slots_for(&self, method: Option<SwapMethod>) -> anyhow::Result<[Range<u32>; 2]> {
        let primary = self.region("primary")?;
        let secondary = self.region("secondary")?;
        let sector = self.geometry.erase_size as usize;
        let suits = match method {
            Some(SwapMethod::Offset) => secondary.len() == primary.len() + sector,
            Some(SwapMethod::Move) => primary.len() == secondary.len() + sector,
            _ => false,
        };
        ensure!(
            suits || primary.len() == secondary.len(),
            "regions.secondary: {:#x} bytes, but regions.primary has {:#x}: slots that are swapped are of one size",
            secondary.len(),
            primary.len()
        );
        Ok([primary, secondary])
    }

    /// The write unit is one that MCUboot's trailers can have.
    pub(crate) fn check_align(&self) -> anyhow::Result<()> {
        let write_size = self.geometry.write_size;
        ensure!(
            write_size <= 32,
            "write_size: {write_size} is not 1, 2, 4, 8, 16 or 32, the units that MCUboot's trailers can have"
        );
        Ok(())
    }
}

impl Layout {
    /// Reads a layout file.
    ///
    /// # Errors
    /// One line that names the file, the place in it and what is wrong there.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let parts = Parts::read(path)?;
        Self::of(&parts).with_context(|| format!("{}", path.display()))
    }

    /// Reads a layout.
    ///
    /// # Errors
    /// One line that names the place and what is wrong there.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Self::of(&Parts::parse(text)?)
    }

    fn of(parts: &Parts) -> anyhow::Result<Self> {
        let loader = Loader::whole(parts)?;
        let journal = parts.region("journal")?;
        let geometry = parts.geometry;
        let sector = geometry.erase_size;
        ensure!(journal.len() as u32 / sector >= 2, "regions.journal: less than two sectors of {sector} bytes");
        Ok(Self { geometry, capacity: parts.capacity, loader, journal })
    }

    /// The layout for a file of this size, which may hold more flash than the regions name.
    ///
    /// # Errors
    /// The file is too small, or no whole number of sectors.
    pub fn for_file_of(mut self, bytes: u64) -> anyhow::Result<Self> {
        self.capacity = capacity_of(self.capacity, self.geometry, bytes)?;
        Ok(self)
    }
}

/// Returns the size of the flash in a file of so many bytes, which may hold more flash than the regions name: those reach to
/// `regions_end`.
pub(crate) fn capacity_of(regions_end: u32, geometry: FlashGeometry, bytes: u64) -> anyhow::Result<u32> {
    ensure!(bytes >= regions_end.into(), "{bytes} bytes, but the layout's regions reach to {regions_end}");
    let capacity = u32::try_from(bytes).ok().context("more than 4 GiB")?;
    let sector = geometry.erase_size;
    ensure!(capacity.is_multiple_of(sector), "no whole number of sectors of {sector} bytes");
    Ok(capacity)
}

fn check_region(name: &str, region: &RawRegion, erase_size: u32) -> anyhow::Result<()> {
    for (field, value) in [("offset", region.offset), ("size", region.size)] {
        ensure!(
            value.is_multiple_of(erase_size),
            "regions.{name}.{field}: {value:#x} is not aligned to a sector of {erase_size} bytes"
        );
    }
    ensure!(region.size > 0, "regions.{name}.size: zero");
    ensure!(region.offset.checked_add(region.size).is_some(), "regions.{name}: reaches past 4 GiB");
    Ok(())
}

fn check_overlaps(regions: &BTreeMap<String, RawRegion>) -> anyhow::Result<()> {
    let mut sorted: Vec<_> = regions.iter().collect();
    sorted.sort_by_key(|(_, region)| region.offset);
    for pair in sorted.windows(2) {
        let [(name, region), (next_name, next)] = pair else { continue };
        ensure!(
            region.offset + region.size <= next.offset,
            "regions.{next_name}: begins at {:#x}, within regions.{name} ({})",
            next.offset,
            Span(region)
        );
    }
    Ok(())
}

struct Span<'a>(&'a RawRegion);

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.0.offset, self.0.offset + self.0.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "write_size = 8\nerase_size = 4096\nerased_value = 0xFF\n\
        [regions.primary]\noffset = 0x0\nsize = 0x8000\n\
        [regions.secondary]\noffset = 0x8000\nsize = 0x8000\n\
        [regions.journal]\noffset = 0x10000\nsize = 0x2000\n";

    #[test]
    fn a_good_layout_is_taken() {
        let layout = Layout::parse(GOOD).unwrap();
        assert_eq!((layout.journal.clone(), layout.capacity), (0x10000..0x12000, 0x12000));
        assert_eq!(layout.clone().for_file_of(0x20000).unwrap().capacity, 0x20000);
        assert!(layout.for_file_of(0x11000).is_err());
    }

    #[test]
    fn a_bad_one_is_refused_by_name() {
        for (from, to, message) in [
            ("write_size = 8", "write_size = 3", "write_size: 3 is not a power"),
            ("write_size = 8", "", "missing field `write_size`"),
            ("write_size = 8", "write_size = 'x'", "line 1: invalid type"),
            ("write_size = 8", "write_size = 8\nfoo = 1", "line 2: unknown field `foo`"),
            ("erased_value = 0xFF", "erased_value = 1", "erased_value: 0x01 is neither"),
            ("offset = 0x8000", "offset = 0x7000", "regions.secondary: begins at 0x7000, within regions.primary"),
            ("offset = 0x8000", "offset = 0x8001", "regions.secondary.offset: 0x8001 is not aligned"),
            ("size = 0x2000", "size = 0x1000", "regions.journal: less than two sectors"),
            ("size = 0x2000", "size = 0", "regions.journal.size: zero"),
            ("[regions.journal]", "[regions.jurnal]", "regions.journal: missing"),
            ("size = 0x8000\n[regions.s", "size = 0x7000\n[regions.s", "regions.secondary: 0x8000 bytes, but"),
            ("offset = 0x10000", "offset = 0xFFFFF000", "regions.journal: reaches past 4 GiB"),
        ] {
            let error = format!("{:#}", Layout::parse(&GOOD.replace(from, to)).unwrap_err());
            assert!(error.contains(message) && !error.contains('\n'), "{to}: {error}");
        }
    }
}
