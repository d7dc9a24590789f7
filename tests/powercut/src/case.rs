//! The grid: parts, with sectors small enough to try everything, and images that end everywhere.

use std::fmt;

use sprag_testkit::flash::{Part, Sectors};

use crate::families::AnyFamily;

/// What the job brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Its length in bytes.
    pub length: u32,
    /// What is special about it.
    pub kind: Kind,
}

/// What is special about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// More than a sector of it reads as erased.
    Blank,
    /// It is signed by somebody else, and must never run.
    Forged,
}

impl Image {
    /// Whether it must never run.
    pub fn is_forged(self) -> bool {
        self.kind == Kind::Forged
    }
}

/// As it is given on the command line: the length, with `:blank` or `:forged` behind it.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Plain => "",
            Kind::Blank => ":blank",
            Kind::Forged => ":forged",
        };
        write!(f, "{}{kind}", self.length)
    }
}

/// What became of a device before the update in which the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum History {
    /// It came from the factory.
    #[default]
    Factory,
    /// One update was tried and confirmed.
    Confirmed,
    /// One update was tried and given up; where there are no trials, confirmed.
    Reverted,
    /// Two updates were confirmed, one after the other.
    TwoConfirmed,
}

impl History {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Confirmed, Self::Reverted, Self::TwoConfirmed, Self::Factory];

    /// The history of the device for the image of this number: one after the other.
    pub(crate) fn of(family: &dyn AnyFamily, number: usize) -> Self {
        if family.swaps() { Self::ALL[number % Self::ALL.len()] } else { Self::Factory }
    }
}

/// One point of the grid.
#[derive(Debug, Clone)]
pub struct Case {
    /// The part, in its own sectors.
    pub part: Part,
    /// The size of the largest sector in the campaign: smaller than the part's, so that everything can be tried.
    pub sector: u32,
    /// The index of the family.
    pub family: usize,
    /// What the job brings.
    pub image: Image,
    /// What became of the device before.
    pub history: History,
    /// Whether the sectors of its slots are of one size on every part.
    pub is_even: bool,
    /// The board whose parameters these are. There, the first cuts are a sample, too.
    pub board: Option<&'static str>,
}

impl Case {
    /// The size of the writer's two buffers: what is needed to verify an image, at least.
    pub fn block(&self) -> u32 {
        // The TLVs of an image must lie in it as one.
        (self.sector / 4).clamp(160, 1024).next_multiple_of(self.part.write_size)
    }

    /// The sectors of a slot, from its start on, where they differ: in the proportions of the part.
    pub fn runs(&self) -> &'static [Sectors] {
        match self.part.name {
            // The slots of the boards' maps are of one size of sectors.
            _ if self.board.is_some() || self.is_even => &[],
            "stm32f4" => &[Sectors { count: 4, size: 32 }, Sectors { count: 1, size: 128 }],
            _ => &[],
        }
    }

    /// How many bytes those take.
    pub fn runs_size(&self) -> u32 {
        self.runs().iter().map(|run| run.count * run.size).sum()
    }
}

/// The images for a part: they end with a sector, in the middle of a unit, a byte into a sector and a byte before its end;
/// one reads as erased over more than a sector, and one is a forgery. Where units are small, they are a sector shorter, for
/// there are operations enough.
pub(crate) fn images(part: &Part, sector: u32) -> Vec<Image> {
    let first = if part.write_size < 8 { sector } else { 2 * sector };
    let plain = [0, sector / 2 + 3, sector + 1, 2 * sector - 1].map(|more| (first + more, Kind::Plain));
    let special = [(first + 2 * sector + 7, Kind::Blank), (first + 5, Kind::Forged)];
    plain.into_iter().chain(special).map(|(length, kind)| Image { length, kind }).collect()
}

/// Sixteen units, and 256 bytes at least.
pub(crate) fn sector(part: &Part) -> u32 {
    match part.name {
        "psoc6" => 512,
        _ => (part.write_size * 16).max(256),
    }
}

/// Every case of the grid, the largest first.
pub fn cases(families: &[Box<dyn AnyFamily>]) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in Part::all() {
        for (index, family) in families.iter().enumerate().filter(|(_, family)| family.fits(&part)) {
            let sector = family.sector(&part);
            let case = |(n, image)| {
                let history = History::of(family.as_ref(), n);
                Case {
                    part: part.clone(),
                    sector,
                    family: index,
                    image,
                    history,
                    is_even: family.needs_even_sectors(),
                    board: None,
                }
            };
            cases.extend(family.images(&part).into_iter().enumerate().map(case));
        }
    }
    cases.sort_by_key(|case| std::cmp::Reverse(case.image.length / case.part.write_size));
    cases
}
