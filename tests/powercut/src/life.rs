//! A device, and its lives from one reset to the next.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embassy_futures::block_on;
use sprag::boot::{BootControl, Swap};
use sprag::fetch::{Fetcher, TcpConnectError, TcpConnector};
use sprag::flash::{self, FlashGeometry, Journal, SlotWriter};
use sprag::verify::{Key, Policy, Version};
use sprag::{Error, Event, Outcome, Startup, Updater};
use sprag_testkit::cancel;
use sprag_testkit::flash::{Region, Sectors};
use sprag_testkit::http::{HttpServer, NoTime, Refused};

use crate::book::{Book, Rest};
use crate::calls;
use crate::case::{Case, History, Image, Kind};
use crate::chips::{self, Chips, ChipsSnapshot};
use crate::explore::Settings;
use crate::families::{Booted, Family, Slots};
use crate::planted::{Bug, PlantedBoot, PlantedFlash};
use crate::step::Step;

/// Lives until a device must have come to its end: an update takes three, and each cut some more.
const LIVES_MAX: u32 = 12;
const JOB: &[u8] =
    br#"{"v":"2.1","ct":1,"cmd":"ota","ack":"7d","sw":"2.0.0","hw":"1","urls":[{"url":"http:\/\/h/app?a=1\u0026b=2","fileName":"app"}]}"#;

type LifeError = Error<TcpConnectError<Refused, Refused>>;

/// What all devices of a case have in common.
#[derive(Debug)]
pub(crate) struct Plan<F> {
    pub(crate) family: F,
    pub(crate) case: Case,
    pub(crate) bug: Option<Bug>,
    key: Box<dyn Key + Send + Sync>,
    /// The old image and the new one.
    images: [Vec<u8>; 2],
    slot: u32,
    state: u32,
    scratch: u32,
    journal: u32,
    /// The sectors of the slot for updates, where they differ.
    runs: Vec<flash::Sectors>,
}

impl<F: Family> Plan<F> {
    pub(crate) fn new(family: F, case: &Case, bug: Option<Bug>) -> Self {
        let sector = case.sector;
        let runs_size = case.runs_size();
        let wanted = family.slot_size(&case.part, sector, case.image.length);
        let slot = runs_size + wanted.saturating_sub(runs_size).next_multiple_of(sector);
        let journal = (16 * case.part.write_size).max(512).next_multiple_of(2 * sector);
        let old = Image { length: family.old_length().min(case.image.length), kind: Kind::Plain };
        // From the middle of a sector to the middle of the next but one.
        let blank = match case.image.kind {
            Kind::Blank => sector as usize / 2..2 * sector as usize + sector as usize / 2,
            Kind::Plain | Kind::Forged => 0..0,
        };
        let erased = case.part.erased;
        let images = [family.image(1, old, 0..0, erased), family.image(2, case.image, blank, erased)];
        let runs = case.runs().iter().map(|run| flash::Sectors { count: run.count, size: run.size }).collect();
        let state_sector = family.internal().map_or(sector, |part| part.geometry().erase_size);
        let state = family.state_sectors() * state_sector;
        let scratch = family.scratch_sectors() * sector;
        let key = family.key();
        Self { family, case: case.clone(), bug, key, images, slot, state, scratch, journal, runs }
    }

    /// Where in the slot for updates the image goes.
    fn image_range(&self) -> Range<u32> {
        let start = self.family.image_start(self.case.sector);
        start..start + self.case.image.length
    }

    /// A device that runs the old image; what was in the slot for updates before is still there.
    pub(crate) fn device(self: &Arc<Self>) -> Device<F> {
        let device = Device::on(self.clone(), self.chips(), Book::default());
        self.family.install(&device.slots);
        let histories: &[(u8, bool)] = match self.case.history {
            History::Factory => &[],
            History::Confirmed => &[(3, true)],
            History::Reverted if self.family.has_trials() => &[(1, true), (4, false)],
            History::Reverted => &[(4, true)],
            History::TwoConfirmed => &[(3, true), (4, true)],
        };
        let first = histories.first().map_or_else(|| self.images[0].clone(), |(major, _)| self.earlier(*major));
        chips::load(&device.slots.primary, &first);
        if let Some((_, earlier)) = histories.split_first() {
            for (major, keep) in earlier {
                device.update_before(&self.earlier(*major), *keep);
            }
            if !matches!(histories.last(), Some((_, false))) {
                device.update_before(&self.images[0], true);
            }
            device.flash.reset_stats();
            return device;
        }
        let stale: Vec<u8> = (0..self.case.image.length.next_multiple_of(self.case.part.write_size))
            .map(|n| (n as u8).wrapping_mul(29) & 0x7E | 1)
            .collect();
        chips::load(&device.slots.secondary, &stale);
        device
    }

    /// The erased chips: both slots, what the bootloader keeps beside them, and the journal in one, or the slot that runs and
    /// the bootloader's state in a chip of their own.
    fn chips(&self) -> Chips {
        let sector = self.case.sector;
        let mut slot = self.case.runs().to_vec();
        slot.push(Sectors { count: (self.slot - self.case.runs_size()) / sector, size: sector });
        let beside = |bytes: u32| Sectors { count: bytes / sector, size: sector };
        match self.family.internal() {
            Some(part) => {
                let size = part.geometry().erase_size;
                let internal = part.sectors(&[Sectors { count: (self.slot + self.state) / size, size }]);
                slot.push(beside(self.scratch + self.journal));
                Chips::of(vec![internal, self.case.part.clone().sectors(&slot)])
            }
            None => {
                let mut sectors = slot.repeat(2);
                sectors.push(beside(self.state + self.scratch + self.journal));
                Chips::of(vec![self.case.part.clone().sectors(&sectors)])
            }
        }
    }

    /// An image that ran before the old one did.
    fn earlier(&self, major: u8) -> Vec<u8> {
        match major {
            1 => self.images[0].clone(),
            major => {
                let length = (self.images[0].len() as u32 + 40).min(self.case.image.length);
                self.family.image(major, Image { length, kind: Kind::Plain }, 0..0, self.case.part.erased)
            }
        }
    }

    /// A device whose update is in its place, verified, and not staged.
    ///
    /// # Errors
    /// It does not boot, or has no room for an update.
    pub(crate) fn downloaded(self: &Arc<Self>) -> Result<Device<F>, String> {
        let device = self.device();
        let booted = device.boot()?;
        device.download(booted, &self.images[1])?;
        Ok(device)
    }

    /// The image whose version begins with this number.
    pub(crate) fn image(&self, major: u8) -> &[u8] {
        &self.images[usize::from(major == 2)]
    }
}

/// A device: its flash, and what the world outside has seen of it.
#[derive(Debug)]
pub struct Device<F> {
    pub(crate) plan: Arc<Plan<F>>,
    pub(crate) flash: Chips,
    slots: Slots,
    journal: Region,
    server: HttpServer,
    book: Arc<Mutex<Book>>,
    /// The slot writer left its image.
    strayed: Arc<AtomicBool>,
    /// The new image ran.
    tried: AtomicBool,
    /// Erases of each sector by the bootloader, whose wear is its own.
    boot_erases: Mutex<Vec<u32>>,
}

/// What a life led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Reset,
    Nothing,
}

impl<F: Family> Device<F> {
    fn on(plan: Arc<Plan<F>>, flash: Chips, book: Book) -> Self {
        let Plan { slot, state, scratch, journal, .. } = *plan;
        let is_one = plan.family.internal().is_none();
        // In a chip of their own, the slot for updates and what lies behind it begin at 0.
        let (secondary_at, state_at) = if is_one { (slot, 2 * slot) } else { (0, slot) };
        let scratch_at = if is_one { state_at + state } else { slot };
        let slots = Slots {
            primary: flash.first().region(0..slot),
            secondary: flash.last().region(secondary_at..secondary_at + slot),
            state: flash.first().region(state_at..state_at + state),
            scratch: flash.last().region(scratch_at..scratch_at + scratch),
            bug: plan.bug,
        };
        let journal_at = scratch_at + scratch;
        let journal = flash.last().region(journal_at..journal_at + journal);
        let server = HttpServer::new(plan.images[1].clone());
        let sectors = flash.sectors().len();
        let (book, boot_erases) = (Arc::new(Mutex::new(book)), Mutex::new(vec![0; sectors]));
        Self {
            plan,
            flash,
            slots,
            journal,
            server,
            book,
            strayed: Arc::default(),
            tried: AtomicBool::default(),
            boot_erases,
        }
    }

    /// The device on which the power comes back.
    pub(crate) fn revive(plan: &Arc<Plan<F>>, snapshot: ChipsSnapshot, book: Book) -> Self {
        Self::on(plan.clone(), snapshot.power_on(), book)
    }

    /// Makes everything pending once before it is done.
    pub(crate) fn yielding(mut self) -> Self {
        self.flash.yield_before_operations();
        self.server = self.server.yielding();
        self
    }

    /// What the world outside has seen.
    pub fn book(&self) -> Book {
        *self.pages()
    }

    /// A handle to what it has seen, for an observer of the flash.
    pub(crate) fn shared_book(&self) -> Arc<Mutex<Book>> {
        self.book.clone()
    }

    fn pages(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The firmware's side of the hand-over.
    pub(crate) fn control(&self, booted: Booted) -> PlantedBoot<F::Boot> {
        PlantedBoot::new(self.plan.family.control(&self.slots, booted), &self.slots)
    }

    /// Puts an image where updates go, as an updater does.
    ///
    /// # Errors
    /// The hand-over or the flash refuses it.
    pub(crate) fn download(&self, booted: Booted, image: &[u8]) -> Result<(), String> {
        let mut boot = self.control(booted);
        block_on(boot.unstage()).map_err(|error| format!("not ready for a download: {error}"))?;
        let room = boot.image_region();
        let target = self.plan.family.target(&self.slots);
        let unit = self.plan.case.part.write_size as usize;
        let mut bytes = image.to_vec();
        bytes.resize(image.len().next_multiple_of(unit), self.plan.case.part.erased);
        let failed = |error| format!("no room for a download: {error}");
        target.erase_now(room.start, room.end).map_err(failed)?;
        target.write_now(room.start, &bytes).map_err(failed)
    }

    /// An update before the campaign: tried, and kept or not.
    fn update_before(&self, image: &[u8], keep: bool) {
        let boot = || self.plan.family.boot(&self.slots).expect("an image boots");
        let booted = boot();
        self.download(booted, image).expect("nothing is on trial");
        block_on(self.control(booted).stage(Swap::Test)).expect("nothing is on trial");
        let booted = boot();
        if keep {
            block_on(self.control(booted).confirm()).expect("the image runs");
        } else {
            boot();
        }
    }

    /// A reset: the bootloader starts an image, which must be one that was promised, whole.
    pub(crate) fn boot(&self) -> Result<Booted, String> {
        let before = self.flash.erases_per_sector();
        let was_blank = self.is_blank();
        let boot = || self.plan.family.boot(&self.slots);
        self.pages().booting = true;
        let booted = if self.plan.family.may_be_cut() { boot() } else { self.flash.spared(boot) };
        self.pages().booting = false;
        let booted = booted.map_err(|why| format!("bricked: {why}"))?;
        self.pages().erased += u32::from(!was_blank && self.is_blank());
        let after = self.flash.erases_per_sector();
        let mut erases = self.boot_erases.lock().unwrap_or_else(PoisonError::into_inner);
        for ((sum, before), after) in erases.iter_mut().zip(before).zip(after) {
            *sum += after - before;
        }
        // Once the image was copied, an overwrite-only MCUboot that was cut off finds its trailer without an image.
        let is_done = booted.running == 2 && !self.plan.family.has_trials();
        if booted.refused && !is_done {
            return Err("the bootloader was handed an image that may not run".to_owned());
        }
        if booted.running == 2 && self.plan.case.image.is_forged() {
            return Err("a forged image runs".to_owned());
        }
        let image = booted.running.checked_sub(1).and_then(|n| self.plan.images.get(usize::from(n)));
        let image = image.ok_or_else(|| format!("{}.0.0 runs, which was never promised", booted.running))?;
        if !self.plan.family.running(&self.slots, booted).contents().starts_with(image) {
            return Err(format!("{}.0.0 runs, but not all of it lies in its slot", booted.running));
        }
        if booted.running == 2 {
            self.tried.store(true, Ordering::Relaxed);
            self.pages().tried = true;
        }
        Ok(booted)
    }

    /// Whether nothing lies where an update begins.
    fn is_blank(&self) -> bool {
        const BEGINNING: usize = 32;
        let at = self.plan.image_range().start as usize;
        let beginning = &self.slots.secondary.contents()[at..at + BEGINNING];
        beginning.iter().all(|byte| *byte == self.plan.case.part.erased)
    }

    /// From a reset to the next one. With `again`, the future of the updater's run is dropped after so many polls, and the
    /// job run again at once.
    async fn life(&self, booted: Booted, again: &mut Option<u64>) -> Result<Next, LifeError> {
        let running = Version::new(booted.running, 0, 0);
        let Case { part, .. } = &self.plan.case;
        let (sector, block) = (self.plan.case.sector, self.plan.case.block() as usize);
        let geometry = FlashGeometry { write_size: part.write_size, erase_size: sector, erased: part.erased };
        let (mut page, mut second) = (vec![0; block], vec![0; block]);
        let mut scratch = vec![0; 256.max(part.write_size as usize)];
        let bug = self.plan.bug;
        let journal = PlantedFlash::journal(self.journal.clone(), bug);
        let journal = Journal::new(journal, geometry, &mut scratch);
        let target = self.plan.family.target(&self.slots);
        let (from, image) = (self.slots.secondary.range().start - target.range().start, self.plan.image_range());
        let image = from + image.start..from + image.end;
        let slot = PlantedFlash::slot(target, bug, image, self.strayed.clone());
        let slot = SlotWriter::new(slot, geometry, journal, &mut page).second_buffer(&mut second);
        let slot = slot.sectors(&self.plan.runs).read_back(bug.is_none());
        let boot = self.control(booted);
        let fetcher = Fetcher::new(TcpConnector::new(&self.server, &self.server), NoTime);
        let policy = Policy::signed_by(self.plan.key.as_ref()).newer_than(running);
        let mut updater = Updater::new(fetcher, slot, policy, boot).format(self.plan.family.format());

        match updater.start(running).await? {
            Startup::Staged => return Ok(Next::Reset),
            Startup::Trial => updater.confirm().await?,
            Startup::Idle | Startup::Unfinished => {}
        }
        loop {
            if let Some(report) = updater.report().await? {
                self.pages().report(report.status());
                updater.reported().await?;
                self.pages().recording = false;
            }
            let job = sprag::job::parse(JOB).expect("a sound job");
            let mut offset = 0;
            let mut events = |event| match event {
                Event::Downloading { offset: from } => offset = from,
                Event::Progress { received, .. } => {
                    let received = received as u32;
                    self.pages().fetched += received - offset;
                    offset = received;
                }
                Event::Verifying if bug == Some(Bug::StagedBeforeVerified) => {
                    let mut boot = self.plan.family.control(&self.slots, booted);
                    let _ = block_on(boot.stage(sprag::boot::Swap::Test));
                }
                _ => {}
            };
            let outcome = match again.take() {
                None => updater.run(&job, &mut events).await,
                Some(mut polls) => match cancel::after(&mut polls, updater.run(&job, &mut events)).await {
                    Some(outcome) => outcome,
                    None => {
                        let mut book = self.pages();
                        *book = book.after_cut();
                        drop(book);
                        continue;
                    }
                },
            };
            match outcome {
                Ok(Outcome::RebootToTest) => return Ok(Next::Reset),
                Ok(Outcome::AlreadyEnded(_)) => return Ok(Next::Nothing),
                // It has come to its end, and is to be reported.
                Ok(Outcome::AlreadyRuns) => {}
                Err(error) if !error.is_retryable() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Lives on until there is nothing left to do: the first number of the version that runs.
    ///
    /// # Errors
    /// The device does not boot, or comes to no end, or asked something of the flash that its data sheet forbids.
    pub(crate) fn run(&self, mut again: Option<u64>, say: &mut dyn FnMut(&str)) -> Result<u8, String> {
        let mut last = String::new();
        for _ in 0..LIVES_MAX {
            let booted = self.boot()?;
            say(&format!("boots {}.0.0", booted.running));
            match block_on(self.life(booted, &mut again)) {
                Ok(Next::Reset) => say("resets"),
                Ok(Next::Nothing) => {
                    let booted = self.boot()?;
                    say(&format!("has nothing left to do: {}.0.0 runs", booted.running));
                    self.check_violations()?;
                    return Ok(booted.running);
                }
                // Whatever it is, a reset is what a watchdog does about it.
                Err(error) => {
                    last = format!(": {error}");
                    say(&format!("fails and resets{last}"));
                }
            }
        }
        self.check_violations()?;
        Err(format!("after {LIVES_MAX} lives there is no end in sight{last}"))
    }

    /// Runs until so many polls are used up, and drops the future there: whether that came to pass.
    pub(crate) fn run_polls(&self, mut polls: u64) -> Result<bool, String> {
        for _ in 0..LIVES_MAX {
            let booted = self.boot()?;
            let mut again = None;
            match block_on(cancel::after(&mut polls, self.life(booted, &mut again))) {
                None => return Ok(true),
                Some(Ok(Next::Nothing)) => return Ok(false),
                Some(Ok(Next::Reset)) => {}
                Some(Err(error)) => return Err(format!("undisturbed, and yet: {error}")),
            }
        }
        Err(format!("after {LIVES_MAX} lives there is no end in sight"))
    }

    fn check_violations(&self) -> Result<(), String> {
        if self.strayed.load(Ordering::Relaxed) {
            return Err("the slot writer left the place of its image".to_owned());
        }
        self.flash.violation().map_or(Ok(()), |first| Err(format!("it broke the part's rules: {first}")))
    }

    /// Each sector of the image was erased once, no other one of the slot that holds data, and the journal twice at most.
    pub(crate) fn check_wear(&self) -> Result<(), String> {
        let all = self.flash.erases_per_sector();
        let boot = self.boot_erases.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (image, primary, secondary) =
            (self.plan.image_range(), self.slots.primary.range(), self.slots.secondary.range());
        let image = secondary.start + image.start..secondary.start + image.end;
        let last_chip = usize::from(self.plan.family.internal().is_some());
        for (((chip, at, size), all), boot) in self.flash.sectors().into_iter().zip(all).zip(boot) {
            let erases = all - boot;
            let expected = match at {
                _ if chip == last_chip && image.contains(&at) => 1..=1,
                _ if chip == 0 && primary.contains(&at) => 0..=u32::from(at + size == primary.end),
                _ if chip == last_chip && secondary.contains(&at) => 0..=1,
                // The journal, or what stages and then confirms.
                _ => 0..=2,
            };
            if !expected.contains(&erases) {
                return Err(format!("undisturbed, the sector at {at:#x} was erased {erases} times, not {expected:?}"));
            }
        }
        Ok(())
    }

    /// What came of it between two looks at the book.
    pub(crate) fn rest(&self, before: &Book, running: u8) -> Rest {
        let after = self.book();
        Rest {
            fetched: after.fetched - before.fetched,
            done: after.done - before.done,
            failed: after.failed - before.failed,
            refused: after.refused - before.refused,
            erased: after.erased - before.erased,
            tried: self.tried.load(Ordering::Relaxed),
            running,
        }
    }
}

/// Plays a sequence of cuts and drops, and tells what happens.
///
/// # Errors
/// What was found, as in the campaign.
pub fn replay<F: Family>(
    family: F,
    case: &Case,
    steps: &[Step],
    settings: &Settings,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let plan = Arc::new(Plan::new(family, case, settings.bug));
    let mut device = plan.device();
    for step in steps {
        say(&format!("* {step}"));
        match *step {
            Step::Cut(number, torn) => {
                let caught = Arc::new(Mutex::new(None));
                let (catch, book) = (caught.clone(), device.shared_book());
                device.flash.before_operations(move |cut| {
                    if cut.operation().number == number {
                        let book = *book.lock().unwrap_or_else(PoisonError::into_inner);
                        let left = (cut.operation().clone(), cut.leaves(torn), book.after_cut());
                        *catch.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
                    }
                });
                // The run goes on behind the cut, unseen: only what was caught counts.
                let _ = device.run(None, &mut |_| {});
                device.flash.unobserved();
                let caught = caught.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (operation, snapshot, book) = caught.ok_or(format!("there is no operation {number}"))?;
                let what = if operation.program { "program" } else { "erase" };
                say(&format!(
                    "the power fails in the {what} of {:#x}..{:#x}",
                    operation.range.start, operation.range.end
                ));
                device = Device::revive(&plan, snapshot, book);
            }
            Step::Drop(polls) => {
                device = Device::revive(&plan, device.flash.snapshot(), device.book()).yielding();
                device.run_polls(polls)?;
                device = Device::revive(&plan, device.flash.snapshot(), device.book().after_cut());
            }
            Step::Again(polls) => {
                device = Device::revive(&plan, device.flash.snapshot(), device.book()).yielding();
                let running = device.run(Some(polls), say)?;
                return device.book().check(case, running);
            }
            Step::Calls(calls) => return calls::replay(&plan, &calls, say),
        }
    }
    let running = device.run(None, say)?;
    say(&format!("{:?}", device.book()));
    device.book().check(case, running)?;
    if steps.is_empty() { device.check_wear() } else { Ok(()) }
}
