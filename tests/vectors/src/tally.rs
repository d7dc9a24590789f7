//! How many vectors of a file were reproduced, left out and wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use anyhow::Result;

use crate::file::read;
use crate::keys::Keys;
use crate::{Outcome, judge};

/// The results of some vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Vectors that were reproduced.
    pub reproduced: usize,
    /// Vectors that were left out on purpose, by what it is that was left out.
    pub left_out: BTreeMap<&'static str, usize>,
    /// Vectors that were not reproduced: id, and what was different.
    pub wrong: Vec<(String, String)>,
}

impl Tally {
    /// Judges all vectors of a file, on all cores. The keys are read from the file's folder.
    ///
    /// # Errors
    /// The file or its keys cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let keys = Keys::read(path.parent().unwrap_or(Path::new("")))?;
        let lines = Mutex::new(read(path)?);
        let next = || lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
        let count = || -> Result<Self> {
            let mut tally = Self::default();
            while let Some(line) = next() {
                tally.add(judge(&line?, &keys));
            }
            Ok(tally)
        };
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let mut whole = Self::default();
        thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(count)).collect();
            for thread in threads {
                let part = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                whole += part;
            }
            Ok(())
        })?;
        whole.wrong.sort();
        Ok(whole)
    }

    /// Returns the number of vectors.
    pub fn total(&self) -> usize {
        self.reproduced + self.left_out.values().sum::<usize>() + self.wrong.len()
    }

    fn add(&mut self, (id, outcome): (String, Outcome)) {
        match outcome {
            Outcome::Reproduced => self.reproduced += 1,
            Outcome::LeftOut(what) => *self.left_out.entry(what).or_default() += 1,
            Outcome::Wrong(why) => self.wrong.push((id, why)),
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.reproduced += other.reproduced;
        for (what, count) in other.left_out {
            *self.left_out.entry(what).or_default() += count;
        }
        self.wrong.extend(other.wrong);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_out = self.left_out.values().sum::<usize>();
        write!(f, "{} reproduced, {left_out} left out, {} wrong", self.reproduced, self.wrong.len())
    }
}
