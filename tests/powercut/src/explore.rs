//! Every cut of a case, and every cut of what follows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sprag_testkit::flash::Torn;

use crate::book::{Book, Rest};
use crate::calls::{self, Call, Calls};
use crate::case::Case;
use crate::chips::ChipsSnapshot;
use crate::families::Family;
use crate::life::{Device, Plan};
use crate::planted::Bug;
use crate::step::Step;

/// How far the second cuts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// A second cut in every operation of every recovery, in every way.
    Full,
    /// A sample of them, drawn from the seed.
    Sample {
        /// The seed.
        seed: u64,
        /// About how many in each case.
        cuts: u64,
    },
}

/// How a campaign is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How far the second cuts go.
    pub depth: Depth,
    /// What is wrong with the writer or the hand-over, for testing the campaign itself.
    pub bug: Option<Bug>,
    /// States tried so far, over all cases.
    pub states: Arc<AtomicU64>,
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Flash operations of the undisturbed update, the bootloader's own aside.
    pub operations: u64,
    /// Polls of the undisturbed update: places to drop a future at.
    pub polls: u64,
    /// Cuts and drops.
    pub cuts: u64,
    /// Contents of the flash that were left by them, each tried once.
    pub states: u64,
    /// Calls of the hand-over after one that was cut off.
    pub calls: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.polls += other.polls;
        self.cuts += other.cuts;
        self.states += other.states;
        self.calls += other.calls;
    }
}

/// What was found, and how to see it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The part, the family and the image.
    pub case: [String; 3],
    /// The board, if its parameters were tried.
    pub board: Option<&'static str>,
    /// What went wrong in the run, by our hand.
    pub steps: Vec<Step>,
    /// What went wrong then, by itself.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [part, family, image] = &self.case;
        write!(f, "{part}, {family}, {image}: {}\nsee it again: {}", self.what, self.command())
    }
}

impl Failure {
    /// The command that plays it.
    pub fn command(&self) -> String {
        let [part, family, image] = &self.case;
        let steps: String = self.steps.iter().map(|step| format!(" --step {step}")).collect();
        let board = self.board.map(|board| format!(" --board {board}")).unwrap_or_default();
        format!("cargo xtask powercut{board} --part {part} --family {family} --image {image}{steps}")
    }
}

/// The operations of a short run, as those of the grid are.
const RUN: u64 = 200;
/// The fewest cuts of a sample.
const FEWEST: u64 = 50;

/// The calls after cuts of a case, roughly.
const CALLS: u64 = 30_000;

/// FNV-1a, for a sample.
fn fnv(seed: u64, text: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = text.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, hash);
    hash ^ (hash >> 32)
}

struct Explorer<F> {
    plan: Arc<Plan<F>>,
    settings: Settings,
    /// What flash contents lead to, and whether every cut in that was tried.
    memo: Mutex<HashMap<u64, (Rest, bool)>>,
    /// One in so many first and second cuts is tried.
    one_in: [AtomicU64; 2],
    counts: Mutex<Counts>,
    failure: Mutex<Option<Box<Failure>>>,
}

/// Tries every cut of a case.
///
/// # Errors
/// The first failure.
pub fn explore<F: Family>(family: F, case: &Case, settings: &Settings) -> Result<Counts, Box<Failure>> {
    let explorer = Arc::new(Explorer {
        plan: Arc::new(Plan::new(family, case, settings.bug)),
        settings: settings.clone(),
        memo: Mutex::default(),
        one_in: [AtomicU64::new(1), AtomicU64::new(1)],
        counts: Mutex::default(),
        failure: Mutex::default(),
    });
    explorer.cuts();
    if explorer.failure().is_none() {
        explorer.drops();
    }
    if explorer.failure().is_none() && family.swaps() && !case.image.is_forged() {
        explorer.calls();
    }
    match explorer.failure().take() {
        Some(failure) => Err(failure),
        None => Ok(*explorer.counts()),
    }
}

impl<F: Family> Explorer<F> {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<Box<Failure>>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memo(&self) -> MutexGuard<'_, HashMap<u64, (Rest, bool)>> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, steps: &[Step], what: String) {
        let case = &self.plan.case;
        let case = [case.part.name.to_owned(), self.plan.family.name().to_owned(), case.image.to_string()];
        let board = self.plan.case.board;
        self.failure().get_or_insert_with(|| Box::new(Failure { case, board, steps: steps.to_vec(), what }));
    }

    /// Whether a run is as long as a board's real sectors make it, or the operations of a bootloader that swaps.
    fn is_long(&self, operations: u64) -> bool {
        (self.plan.case.board.is_some() || self.plan.family.swaps()) && operations > RUN
    }

    /// Undisturbed first, then cut in every operation of that.
    fn cuts(self: &Arc<Self>) {
        let device = self.plan.device();
        let operations = Arc::new(AtomicU64::new(0));
        let count = operations.clone();
        device.flash.before_operations(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let result = device.run(None, &mut |_| {}).and_then(|running| {
            device.book().check(&self.plan.case, running)?;
            device.check_wear()
        });
        if let Err(what) = result {
            return self.fail(&[], what);
        }
        let operations = operations.load(Ordering::Relaxed);
        self.counts().operations = operations;
        if let Depth::Sample { cuts, .. } = self.settings.depth {
            let all = operations * self.plan.family.ways().len() as u64;
            // So many fewer of long runs, and not even every first cut.
            let (first, second) = if self.is_long(operations) {
                let fewer = (cuts * RUN / operations).max(FEWEST);
                (fewer.min(all), fewer)
            } else {
                (all, cuts.max(1))
            };
            let [one_in_first, one_in_second] = &self.one_in;
            one_in_first.store((all / first).max(1), Ordering::Relaxed);
            // A recovery has half as many operations as the whole, in the middle.
            one_in_second.store((first * all / 2 / second).max(1), Ordering::Relaxed);
        }
        let device = self.plan.device();
        self.observe(&device, &[], 2);
        if let Err(what) = device.run(None, &mut |_| {}) {
            self.fail(&[], what);
        }
    }

    /// Forks the flash at each operation that is to come, and tries each fork.
    fn observe(self: &Arc<Self>, device: &Device<F>, steps: &[Step], depth: u32) {
        let (explorer, book, steps) = (self.clone(), device.shared_book(), steps.to_vec());
        device.flash.before_operations(move |cut| {
            let Plan { family, case, .. } = &*explorer.plan;
            let book = *book.lock().unwrap_or_else(PoisonError::into_inner);
            for torn in family.ways().iter().copied() {
                let step = Step::Cut(cut.operation().number, torn);
                let survives = !book.booting || family.survives(&case.part, torn, !steps.is_empty());
                if !survives || !explorer.chosen(&steps, step) {
                    continue;
                }
                let steps: Vec<Step> = steps.iter().copied().chain([step]).collect();
                explorer.visit(cut.leaves(torn), book.after_cut(), &steps, depth - 1);
            }
        });
    }

    /// Whether a cut is one of the sample.
    fn chosen(&self, steps: &[Step], step: Step) -> bool {
        let Depth::Sample { seed, .. } = self.settings.depth else { return true };
        let mut hash = seed ^ 0x9e37_79b9_7f4a_7c15;
        for step in steps.iter().chain([&step]) {
            if let Step::Cut(number, torn) = step {
                let way = Torn::WAYS.iter().position(|way| way == torn).unwrap_or(Torn::WAYS.len()) as u64;
                hash = (hash ^ (number << 8 | way)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                hash ^= hash >> 29;
            }
        }
        let one_in = self.one_in.get(steps.len().min(1));
        one_in.is_none_or(|one_in| hash.is_multiple_of(one_in.load(Ordering::Relaxed)))
    }

    /// Lets a device go on from what a cut left, unless that was seen before; with `depth`, cuts that too.
    fn visit(self: &Arc<Self>, snapshot: ChipsSnapshot, book: Book, steps: &[Step], depth: u32) {
        if self.failure().is_some() {
            return;
        }
        self.counts().cuts += 1;
        let digest = snapshot.digest();
        let known = self.memo().get(&digest).copied();
        let rest = match known {
            Some((rest, cut)) if cut || depth == 0 => rest,
            known => {
                let device = Device::revive(&self.plan, snapshot, book);
                if depth > 0 {
                    self.observe(&device, steps, depth);
                }
                let running = match device.run(None, &mut |_| {}) {
                    Ok(running) => running,
                    Err(what) => return self.fail(steps, what),
                };
                device.flash.unobserved();
                let rest = device.rest(&book, running);
                if known.is_none() {
                    self.counts().states += 1;
                    self.settings.states.fetch_add(1, Ordering::Relaxed);
                }
                match self.memo().entry(digest) {
                    Entry::Occupied(mut entry) => entry.get_mut().1 |= depth > 0,
                    Entry::Vacant(entry) => drop(entry.insert((rest, depth > 0))),
                }
                rest
            }
        };
        if let Err(what) = book.then(&rest).check(&self.plan.case, rest.running) {
            self.fail(steps, what);
        }
    }

    /// Every call after every other one that was cut off; a sample of them.
    fn calls(self: &Arc<Self>) {
        let one_in = match self.settings.depth {
            Depth::Full => 1,
            Depth::Sample { cuts, .. } => (CALLS / cuts.max(1)).max(1),
        };
        let chosen = |calls: &Calls| {
            let Depth::Sample { seed, .. } = self.settings.depth else { return true };
            // Confirming is one operation: all that follows it is tried.
            calls.first == Call::Confirm || fnv(seed, &calls.to_string()).is_multiple_of(one_in)
        };
        match calls::explore(&self.plan, &chosen) {
            Ok(tried) => self.counts().calls = tried,
            Err((calls, what)) => self.fail(&[Step::Calls(calls)], what),
        }
    }

    /// Every future dropped at every await: the device is reset then, or the job is run again by the same updater.
    fn drops(self: &Arc<Self>) {
        // Of a board's long runs, some of the places.
        let step = if self.is_long(self.counts().operations) { 29 } else { 1 };
        for polls in (0..).step_by(step) {
            let device = self.plan.device().yielding();
            match device.run_polls(polls) {
                Ok(true) => {}
                Ok(false) => {
                    self.counts().polls = polls;
                    break;
                }
                Err(what) => return self.fail(&[Step::Drop(polls)], what),
            }
            self.visit(device.flash.snapshot(), device.book().after_cut(), &[Step::Drop(polls)], 0);
        }
        for polls in (0..).step_by(step) {
            let device = self.plan.device().yielding();
            let result = device.run(Some(polls), &mut |_| {}).and_then(|running| {
                device.book().check(&self.plan.case, running)?;
                Ok(device.book().cuts)
            });
            match result {
                Ok(0) => break,
                Ok(_) => self.counts().cuts += 1,
                Err(what) => return self.fail(&[Step::Again(polls)], what),
            }
            if self.failure().is_some() {
                return;
            }
        }
    }
}
