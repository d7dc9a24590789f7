//! Slots whose sectors differ in size.

/// A run of sectors of one size, for parts whose sectors differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sectors {
    /// The number of sectors in the run.
    pub count: u32,
    /// The size of each in bytes; a multiple of the write size.
    pub size: u32,
}

/// A sector, in bytes from the start of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sector {
    /// The offset of its first byte.
    pub start: u32,
    /// The offset of the first byte behind it.
    pub end: u32,
}

/// The sectors of a slot: some runs, and sectors of one size behind them.
#[derive(Debug, Clone, Copy)]
pub struct SectorMap<'b> {
    /// The runs, from the start of the slot on.
    pub runs: &'b [Sectors],
    /// The size of the sectors behind the runs, in bytes.
    pub erase_size: u32,
}

impl SectorMap<'_> {
    /// Returns the sector that a byte lies in.
    pub fn of(&self, offset: u32) -> Sector {
        let (mut from, mut size) = (0u32, self.erase_size);
        for run in self.runs {
            let end = from.saturating_add(run.count.saturating_mul(run.size));
            if offset < end {
                size = run.size;
                break;
            }
            from = end;
        }
        let into = offset.saturating_sub(from).checked_rem(size).unwrap_or(0);
        let start = offset.saturating_sub(into);
        Sector { start, end: start.saturating_add(size) }
    }

    /// Returns the size of the smallest sector in bytes.
    pub fn smallest(&self) -> u32 {
        self.runs.iter().map(|run| run.size).fold(self.erase_size, u32::min)
    }

    /// Returns whether every sector is a whole number of write units.
    pub fn is_valid(&self, write_size: u32) -> bool {
        let whole = |size: u32| size > 0 && size.is_multiple_of(write_size);
        whole(self.erase_size) && self.runs.iter().all(|run| whole(run.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_of_three_sizes() {
        let runs = [Sectors { count: 4, size: 16 }, Sectors { count: 1, size: 64 }];
        let map = SectorMap { runs: &runs, erase_size: 128 };
        for (offset, start, end) in
            [(0, 0, 16), (15, 0, 16), (16, 16, 32), (63, 48, 64), (64, 64, 128), (128, 128, 256), (400, 384, 512)]
        {
            assert_eq!(map.of(offset), Sector { start, end });
        }
    }
}
