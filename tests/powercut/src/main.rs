//! `cargo xtask powercut`: the campaign against power cuts.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sprag_powercut::families::{self, AnyFamily};
use sprag_powercut::report::{Row, as_json, table, total};
use sprag_powercut::{Bug, Case, Counts, Depth, Settings, Step, boards, cases};

/// Whole updates with the power cut in every flash operation, in every way, and again in the recovery.
///
/// Every part, bootloader family and kind of image; with --part, --family and --image those only. Exits with 0 only if
/// every device booted an intact image at any time, every update came to its end, and the cloud heard of it once.
#[derive(Debug, Parser)]
#[command(name = "powercut", bin_name = "cargo xtask powercut", max_term_width = 100)]
struct Cli {
    /// Cut every operation of every recovery, too, instead of a sample of them.
    #[arg(long)]
    full: bool,
    /// The seed of the sample.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// About how many second cuts are in the sample of each case.
    #[arg(long, value_name = "CUTS", default_value_t = 4000)]
    sample: u64,
    /// Print the result as a JSON object on the last line, and everything else on stderr.
    #[arg(long)]
    json: bool,
    /// The parameters that this board crate has for its firmwares, with their real sectors, in the place of the grid's:
    /// stm32, esp32 or psoc6. Cuts are a sample there.
    #[arg(long, value_name = "BOARD", value_parser = sprag_powercut::boards::NAMES)]
    board: Option<String>,
    /// This part only.
    #[arg(long)]
    part: Option<String>,
    /// This family of bootloaders only.
    #[arg(long)]
    family: Option<String>,
    /// This image only: its length in bytes, with `:blank` or `:forged` behind it for one that reads as erased in
    /// part, or is signed by somebody else.
    #[arg(long)]
    image: Option<String>,
    /// Play one run instead, in which this goes wrong, and tell what happens: N:before, N:began, N:half, N:bits=SEED,
    /// N:almost=SEED, N:whole, N:unreadable=SEED, N:preprogrammed=SEED for the Nth operation since the power came; N:drop,
    /// N:again for the Nth poll. May be given more than once, for one after the other.
    #[arg(long = "step", value_name = "STEP")]
    steps: Vec<Step>,
    /// Make the writer wrong in one way, to see that it is found.
    #[arg(long, value_name = "BUG", value_parser = bug, hide = true)]
    planted: Option<Bug>,
}

fn bug(name: &str) -> Result<Bug, String> {
    let names = Bug::ALL.map(Bug::name).join(", ");
    Bug::ALL.into_iter().find(|bug| bug.name() == name).ok_or(format!("one of {names}"))
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("powercut: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let families = families::all();
    let depth = if cli.full { Depth::Full } else { Depth::Sample { seed: cli.seed, cuts: cli.sample } };
    let settings = Settings { depth, bug: cli.planted, states: Default::default() };
    let all = match &cli.board {
        Some(board) => boards::cases(board, &families),
        None => cases(&families),
    };
    let chosen: Vec<Case> = all.iter().filter(|case| cli.takes(case, &families)).cloned().collect();
    if chosen.is_empty() {
        bail!("no case of the grid is meant: it has {}", names(&all, &families));
    }
    if !cli.steps.is_empty() {
        let [case] = chosen.as_slice() else { bail!("--step needs one --part, one --family and one --image") };
        let family = families.get(case.family).context("no such family")?;
        let played = family.replay(case, &cli.steps, &settings, &mut |line| println!("  {line}"));
        println!("{}", played.as_ref().map_or_else(|what| format!("= {what}"), |()| "= as it should".to_owned()));
        return Ok(played.is_ok());
    }
    let begin = Instant::now();
    let (results, failure) = try_all(&chosen, &families, &settings, cli.json);
    let seconds = begin.elapsed().as_secs_f64();
    let rows = rows(&chosen, &results, &families);
    let text = table(&rows);
    let (_, sum) = total(&rows);
    let closing = format!("{} cuts left {} different states in {seconds:.0} s", sum.cuts, sum.states);
    if cli.json {
        eprintln!("{text}{closing}");
        println!("{}", as_json(&rows, seconds, failure.as_deref()));
    } else {
        println!("{text}{closing}");
    }
    if let Some(failure) = &failure {
        eprintln!("{failure}");
    }
    Ok(failure.is_none())
}

impl Cli {
    fn takes(&self, case: &Case, families: &[Box<dyn AnyFamily>]) -> bool {
        let family = families.get(case.family).map_or("", |family| family.name());
        let image = case.image.to_string();
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&self.part, case.part.name) && is(&self.family, family) && is(&self.image, &image)
    }
}

fn names(cases: &[Case], families: &[Box<dyn AnyFamily>]) -> String {
    let mut parts: Vec<&str> = cases.iter().map(|case| case.part.name).collect();
    parts.sort_unstable();
    parts.dedup();
    let families: Vec<&str> = families.iter().map(|family| family.name()).collect();
    format!("the parts {} and the families {}", parts.join(", "), families.join(", "))
}

/// Tries the cases on all cores, with a progress bar where somebody looks; the counts of each, and the first failure.
fn try_all(
    cases: &[Case],
    families: &[Box<dyn AnyFamily>],
    settings: &Settings,
    quiet: bool,
) -> (Vec<Option<Counts>>, Option<String>) {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cases, {msg}, {elapsed_precise}");
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(cases.len() as u64) };
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (next, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Vec<Mutex<Option<Counts>>> = cases.iter().map(|_| Mutex::default()).collect();
    let failure = Mutex::new(None);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let locked = |failure: &Mutex<Option<String>>| failure.lock().unwrap_or_else(|e| e.into_inner()).clone();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    while locked(&failure).is_none()
                        && let Some((case, result)) = {
                            let n = next.fetch_add(1, Ordering::Relaxed);
                            cases.get(n).zip(results.get(n))
                        }
                    {
                        let Some(family) = families.get(case.family) else { break };
                        match family.explore(case, settings) {
                            Ok(counts) => *result.lock().unwrap_or_else(|e| e.into_inner()) = Some(counts),
                            Err(found) => *failure.lock().unwrap_or_else(|e| e.into_inner()) = Some(found.to_string()),
                        }
                        bar.inc(1);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                bar.set_message(format!("{} states", settings.states.load(Ordering::Relaxed)));
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        for worker in workers {
            if worker.join().is_err() {
                *failure.lock().unwrap_or_else(|e| e.into_inner()) = Some("the campaign itself panicked".to_owned());
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    bar.finish_and_clear();
    let results = results.into_iter().map(|result| result.into_inner().unwrap_or_else(|e| e.into_inner())).collect();
    (results, locked(&failure))
}

/// One row for each part and family, in the order of the grid.
fn rows(cases: &[Case], results: &[Option<Counts>], families: &[Box<dyn AnyFamily>]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (case, counts) in cases.iter().zip(results).filter_map(|(case, counts)| Some((case, (*counts)?))) {
        let family = families.get(case.family).map_or("", |family| family.name());
        match rows.iter_mut().find(|row| row.part == case.part.name && row.family == family) {
            Some(row) => {
                row.images += 1;
                row.counts += counts;
            }
            None => rows.push(Row { part: case.part.name.to_owned(), family: family.to_owned(), images: 1, counts }),
        }
    }
    rows.sort_by(|a, b| (&a.part, &a.family).cmp(&(&b.part, &b.family)));
    rows
}
