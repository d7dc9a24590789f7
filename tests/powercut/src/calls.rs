//! Calls of the hand-over after one that was cut off.
//!
//! An updater makes the same call again after a cut. Somebody else may not: the cloud takes the job back, a newer job comes, a
//! firmware confirms at each start, its self-test fails. Here each call is cut in each of its operations, the device is reset not at all, once or
//! twice, and then every call is made that the bootloader knows: staging for a test or for good, unstaging, confirming and
//! going back. What that call promises must come true at the resets that follow.
//!
//! | device | calls that are cut |
//! |---|---|
//! | an update lies in its place | stage for a test, stage for good |
//! | it is staged for a test | stage for good, unstage |
//! | it is on trial | confirm |

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use embassy_futures::block_on;
use sprag::boot::{BootControl, Error, State, Swap};
use sprag_testkit::flash::Torn;

use crate::book::Book;
use crate::chips::ChipsSnapshot;
use crate::families::{Booted, Family};
use crate::life::{Device, Plan};

/// A call of the hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Stages for a test.
    Stage,
    /// Stages for good.
    StageForGood,
    /// Takes back.
    Unstage,
    /// Confirms.
    Confirm,
    /// Gives a trial up.
    GoBack,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Stage, Self::StageForGood, Self::Unstage, Self::Confirm, Self::GoBack];

    fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::StageForGood => "stage-for-good",
            Self::Unstage => "unstage",
            Self::Confirm => "confirm",
            Self::GoBack => "go-back",
        }
    }
}

/// Where the device stands before the call that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Before {
    /// An update lies in its place.
    Downloaded,
    /// It is staged for a test.
    Staged,
    /// It is on trial.
    Trial,
}

impl Before {
    const ALL: [Self; 3] = [Self::Downloaded, Self::Staged, Self::Trial];

    fn name(self) -> &'static str {
        match self {
            Self::Downloaded => "downloaded",
            Self::Staged => "staged",
            Self::Trial => "trial",
        }
    }

    fn calls(self) -> &'static [Call] {
        match self {
            Self::Downloaded => &[Call::Stage, Call::StageForGood],
            Self::Staged => &[Call::StageForGood, Call::Unstage],
            Self::Trial => &[Call::Confirm],
        }
    }
}

/// A call that is cut, and one that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Where the device stands.
    pub before: Before,
    /// The call that is cut.
    pub first: Call,
    /// The operation of it in which the power fails.
    pub number: u64,
    /// In which way.
    pub torn: Torn,
    /// So many resets.
    pub resets: u32,
    /// The call that follows.
    pub second: Call,
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, first, number, torn, resets, second } = self;
        write!(f, "{}/{}/{number}:{torn}/{resets}/{}", before.name(), first.name(), second.name())
    }
}

impl FromStr for Calls {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not like trial/confirm/0:half/1/stage");
        let parts: Vec<&str> = text.split('/').collect();
        let [before, first, cut, resets, second] = parts.as_slice() else { return Err(wrong()) };
        let (number, torn) = cut.split_once(':').ok_or_else(wrong)?;
        let call = |name: &str| Call::ALL.into_iter().find(|call| call.name() == name).ok_or_else(wrong);
        Ok(Self {
            before: Before::ALL.into_iter().find(|it| it.name() == *before).ok_or_else(wrong)?,
            first: call(first)?,
            number: number.parse().map_err(|_| wrong())?,
            torn: torn.parse().map_err(|_| wrong())?,
            resets: resets.parse().map_err(|_| wrong())?,
            second: call(second)?,
        })
    }
}

/// A device that stands where it is said to, and what runs on it.
fn prepare<F: Family>(plan: &Arc<Plan<F>>, before: Before) -> Result<(Device<F>, Booted), String> {
    let device = plan.downloaded()?;
    let booted = device.boot()?;
    if before == Before::Downloaded {
        return Ok((device, booted));
    }
    block_on(device.control(booted).stage(Swap::Test)).map_err(|error| format!("not staged: {error}"))?;
    if before == Before::Staged {
        return Ok((device, booted));
    }
    let booted = device.boot()?;
    Ok((device, booted))
}

fn make<F: Family>(device: &Device<F>, booted: Booted, call: Call) -> Result<(), Error> {
    let mut boot = device.control(booted);
    match call {
        Call::Stage => block_on(boot.stage(Swap::Test)),
        Call::StageForGood => block_on(boot.stage(Swap::Permanent)),
        Call::Unstage => block_on(boot.unstage()),
        Call::Confirm => block_on(boot.confirm()),
        Call::GoBack => block_on(boot.go_back()),
    }
}

/// Tries what follows a cut: the states left by it, what was tried, and the first failure.
pub(crate) fn explore<F: Family>(plan: &Arc<Plan<F>>, chosen: &dyn Fn(&Calls) -> bool) -> Result<u64, (Calls, String)> {
    let mut tried = 0;
    for before in Before::ALL {
        if before == Before::Trial && !plan.family.has_trials() {
            continue;
        }
        for first in before.calls().iter().filter(|call| is_made(plan, **call)) {
            let at = Calls { before, first: *first, number: 0, torn: Torn::Nothing, resets: 0, second: Call::Stage };
            let mut seen = HashSet::new();
            let cuts = cuts(plan, before, *first).map_err(|what| (at, what))?;
            for (number, torn, running, snapshot) in cuts {
                if !seen.insert(snapshot.digest()) {
                    continue;
                }
                for resets in 0..3 {
                    for second in Call::ALL.into_iter().filter(|call| is_made(plan, *call)) {
                        let calls = Calls { number, torn, resets, second, ..at };
                        if chosen(&calls) {
                            tried += 1;
                            follow(plan, snapshot.clone(), running, &calls).map_err(|what| (calls, what))?;
                        }
                    }
                }
            }
        }
    }
    Ok(tried)
}

/// Whether the bootloader lets a call be made.
fn is_made<F: Family>(plan: &Plan<F>, call: Call) -> bool {
    match call {
        Call::StageForGood => plan.family.has_permanent(),
        Call::GoBack => plan.family.has_trials(),
        Call::Stage | Call::Unstage | Call::Confirm => true,
    }
}

/// Plays one of them.
///
/// # Errors
/// What was found.
pub(crate) fn replay<F: Family>(plan: &Arc<Plan<F>>, calls: &Calls, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let cuts = cuts(plan, calls.before, calls.first)?;
    let found = cuts.into_iter().find(|(number, torn, ..)| (*number, *torn) == (calls.number, calls.torn));
    let (_, _, running, snapshot) = found.ok_or("there is no such operation")?;
    say(&format!("{}.0.0 runs, {:?}", running.running, calls));
    follow(plan, snapshot, running, calls)
}

type Left = (u64, Torn, Booted, ChipsSnapshot);

/// Everything that cuts in a call leave behind, with what ran at that time.
fn cuts<F: Family>(plan: &Arc<Plan<F>>, before: Before, call: Call) -> Result<Vec<Left>, String> {
    let (device, booted) = prepare(plan, before)?;
    let left = Arc::new(Mutex::new(Vec::new()));
    let (catch, ways) = (left.clone(), plan.family.ways());
    device.flash.reset_stats();
    device.flash.before_operations(move |cut| {
        let mut left = catch.lock().unwrap_or_else(PoisonError::into_inner);
        for torn in ways {
            left.push((cut.operation().number, *torn, booted, cut.leaves(*torn)));
        }
    });
    let made = make(&device, booted, call);
    device.flash.unobserved();
    made.map_err(|error| format!("undisturbed, {call:?} fails: {error}"))?;
    let left = std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(left)
}

/// Resets, makes the second call, and sees whether it keeps its promise.
fn follow<F: Family>(plan: &Arc<Plan<F>>, left: ChipsSnapshot, running: Booted, calls: &Calls) -> Result<(), String> {
    let device = Device::revive(plan, left, Book::default());
    let mut booted = running;
    // Whether an update lies where it was downloaded to.
    let mut is_in_place = booted.running == 1;
    for _ in 0..calls.resets {
        booted = device.boot()?;
        is_in_place &= booted.running == 1;
    }
    let running = booted.running;
    let other = if running == 1 { 2 } else { 1 };
    let state = |booted| block_on(device.control(booted).state()).map_err(|error| format!("no state: {error}"));
    let is_trial = state(booted)? == State::Trial;
    let stages = matches!(calls.second, Call::Stage | Call::StageForGood);
    if stages && !is_trial && !is_in_place {
        // What MCUboot swapped away does not lie where an update belongs.
        device.download(booted, plan.image(other))?;
    }
    let made = make(&device, booted, calls.second);
    match made {
        Ok(()) => {}
        Err(Error::OnTrial) if is_trial => {
            // The old image comes back, and no other.
            return expect(device.boot()?, other, "a trial was given up by a reset");
        }
        Err(Error::NotOnTrial) if !is_trial && calls.second == Call::GoBack => return device.boot().map(|_| ()),
        Err(error) => return Err(format!("{:?} fails: {error}", calls.second)),
    }
    if is_trial && !matches!(calls.second, Call::Confirm | Call::GoBack) {
        return Err(format!("{:?} is done while an image is on trial", calls.second));
    }
    match calls.second {
        Call::Stage if plan.family.has_trials() => {
            let booted = device.boot()?;
            expect(booted, other, "it was staged for a test")?;
            if state(booted)? != State::Trial {
                return Err(format!("it was staged for a test, and is {:?}", state(booted)?));
            }
            expect(device.boot()?, running, "it was staged for a test, and not confirmed")
        }
        Call::Stage | Call::StageForGood => {
            expect(device.boot()?, other, "it was staged for good")?;
            expect(device.boot()?, other, "it was staged for good")
        }
        Call::Unstage => {
            expect(device.boot()?, running, "the other image was taken back")?;
            expect(device.boot()?, running, "the other image was taken back")
        }
        Call::GoBack => {
            expect(device.boot()?, other, "it was to go back")?;
            expect(device.boot()?, other, "it was to go back")
        }
        // Another image may be staged, which confirming does not change.
        Call::Confirm if matches!(state(booted)?, State::Staged(_)) => device.boot().map(|_| ()),
        Call::Confirm => {
            if state(booted)? != State::Settled {
                return Err(format!("it was confirmed, and is {:?}", state(booted)?));
            }
            expect(device.boot()?, running, "it was confirmed")?;
            expect(device.boot()?, running, "it was confirmed")
        }
    }
}

fn expect(booted: Booted, running: u8, why: &str) -> Result<(), String> {
    if booted.running == running { Ok(()) } else { Err(format!("{why}, and {}.0.0 runs", booted.running)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        for torn in Torn::WAYS {
            let calls =
                Calls { before: Before::Trial, first: Call::Confirm, number: 7, torn, resets: 2, second: Call::Stage };
            assert_eq!(calls.to_string().parse(), Ok(calls));
        }
        for bad in ["", "trial/confirm/7/2/stage", "trial/confirm/7:half/2", "x/confirm/7:half/2/stage"] {
            assert!(bad.parse::<Calls>().is_err(), "{bad}");
        }
    }
}
