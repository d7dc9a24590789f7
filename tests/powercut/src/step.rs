//! What goes wrong in a run, as it is written on the command line.

use std::fmt;
use std::str::FromStr;

use sprag_testkit::flash::Torn;

use crate::calls::Calls;

/// Something that goes wrong, in the life that begins behind the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The power fails in this operation, counted from the last time it came on.
    Cut(u64, Torn),
    /// The firmware's future is dropped after so many polls, and the device reset.
    Drop(u64),
    /// The future of the updater's run is dropped after so many polls, and the job run again by the same updater.
    Again(u64),
    /// No update, but calls of the hand-over, of which the first one is cut off.
    Calls(Calls),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(operation, torn) => write!(f, "{operation}:{torn}"),
            Self::Drop(polls) => write!(f, "{polls}:drop"),
            Self::Again(polls) => write!(f, "{polls}:again"),
            Self::Calls(calls) => calls.fmt(f),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse().map(Self::Calls);
        }
        let wrong = || format!("{text:?} is none of N:before, N:half, N:bits=SEED and so on");
        let (number, way) = text.split_once(':').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        match way {
            "drop" => Ok(Self::Drop(number)),
            "again" => Ok(Self::Again(number)),
            way => way.parse().map(|torn| Self::Cut(number, torn)).map_err(|_| wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let steps = Torn::WAYS.map(|torn| Step::Cut(7, torn)).into_iter().chain([Step::Drop(1), Step::Again(2)]);
        for step in steps {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        for bad in ["", "7", "7:", "x:half", "7:bits", "7:none"] {
            assert!(bad.parse::<Step>().is_err(), "{bad}");
        }
    }
}
