//! The grid: parts, with sectors small enough to try everything, and images that end everywhere.

use ed25519_dalek::SigningKey;
use sprag_testkit::flash::{Part, Sectors};

use crate::families::AnyFamily;

/// The key that images are signed with.
pub(crate) const KEY: [u8; 32] = [1; 32];

/// The public half of it.
pub(crate) fn public_key() -> [u8; 32] {
    SigningKey::from_bytes(&KEY).verifying_key().to_bytes()
}

/// What the job brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Its length in bytes.
    pub length: u32,
    /// It is signed by somebody else, and must never run.
    pub forged: bool,
}

/// One point of the grid.
#[derive(Debug, Clone)]
pub struct Case {
    /// The part, in its own sectors. The campaign's are smaller: see [`Case::sector`].
    pub part: Part,
    /// The index of the family.
    pub family: usize,
    /// What the job brings.
    pub image: Image,
}

impl Case {
    /// The size of the largest sector: sixteen units, and 256 bytes at least.
    pub fn sector(&self) -> u32 {
        match self.part.name {
            "psoc6" => 512,
            _ => (self.part.write_size * 16).max(256),
        }
    }

    /// The size of the writer's two buffers: what is needed to verify an image, at least.
    pub fn block(&self) -> u32 {
        (self.sector() / 4).max(128).max(self.part.write_size)
    }

    /// The sectors of a slot, from its start on, where they differ: in the proportions of the part.
    pub fn runs(&self) -> &'static [Sectors] {
        match self.part.name {
            "stm32f4" => &[Sectors { count: 4, size: 32 }, Sectors { count: 1, size: 128 }],
            _ => &[],
        }
    }
}

/// The lengths of images on a part: one that ends with a sector, one in the middle of a unit, and one a byte into a
/// sector; and a forgery. Where units are small, a sector less, for there are operations enough.
fn images(part: &Part) -> Vec<Image> {
    let sector = Case { part: part.clone(), family: 0, image: Image { length: 0, forged: false } }.sector();
    let first = if part.write_size < 8 { sector } else { 2 * sector };
    let good = [first, first + sector / 2 + 3, first + sector + 1].map(|length| Image { length, forged: false });
    let forged = Image { length: first + 5, forged: true };
    good.into_iter().chain([forged]).collect()
}

/// Every case of the grid, the largest first.
pub fn cases(families: &[Box<dyn AnyFamily>]) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in Part::all() {
        for (family, _) in families.iter().enumerate().filter(|(_, family)| family.fits(&part)) {
            cases.extend(images(&part).into_iter().map(|image| Case { part: part.clone(), family, image }));
        }
    }
    cases.sort_by_key(|case| std::cmp::Reverse(case.image.length / case.part.write_size));
    cases
}
