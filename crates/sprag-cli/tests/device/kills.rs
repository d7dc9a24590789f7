//! The process is killed anywhere, and started again, until the job is done.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use sprag_cli::s3::Disturbance;

use crate::bench::{Bench, LARGE, NEW, OLD, seed};
use crate::common::{Running, wait_until};

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the start.
    After(Duration),
    /// When the image has come so far.
    At(usize),
    /// So long after the image's last byte came.
    Behind(Duration),
}

#[test]
fn killed_anywhere_it_goes_on_to_the_end() {
    let mut random = fastrand::Rng::with_seed(seed());
    let bench = Bench::large();
    let images = [bench.image(OLD, 10_000), bench.image(NEW, LARGE)];
    bench.publish(images[1].clone());
    bench.order(&bench.presign());
    // Each answer is cut, so that the download takes its time, and is cut off in all states of a connection.
    let mut lots = random.fork();
    bench.server().on_request(move |_| Some(Disturbance::CutAfter(lots.u64(5_000..40_000))));

    let (mut kills, mut on_trial, mut jobs) = (0, false, 1);
    // A device that is reset before the new image is confirmed goes back to the old one, and that job has failed. It
    // takes another job to try again.
    let mut another_job = |said: &str| {
        assert!(said.contains("reverted") || said.contains("failed before"), "{said}");
        bench.assert_old_runs();
        bench.order_as(&format!("job-{jobs}"), &bench.presign());
        jobs += 1;
    };
    for moment in moments(&mut random) {
        let said = File::create(bench.path("said")).expect("a file");
        let mut process = Running::start(bench.run_command().stdout(Stdio::null()).stderr(said));
        let said = || fs::read_to_string(bench.path("said")).expect("a text");
        moment.wait(&bench, &mut process, images[1].len());
        match process.ended().map(|status| status.code()) {
            None => process.kill(),
            Some(Some(1)) if std::mem::take(&mut on_trial) => {
                another_job(&said());
                continue;
            }
            Some(code) => {
                assert_eq!(code, Some(0), "{moment:?}: {}", said());
                break;
            }
        }
        kills += 1;
        let found = bench.show();
        println!("killed {moment:?}: {found}");
        on_trial |= found["boot"] == "on trial";
        let (primary, running) = (bench.primary(), &found["primary"]["version"]);
        let intact = images.iter().position(|image| primary.starts_with(image));
        assert_eq!(intact.map(|n| ["1.0.0", "1.1.0"][n]), running.as_str(), "{moment:?}: {found}");
    }
    assert!(kills >= 9, "killed {kills} times only: the download was over before");
    if on_trial {
        another_job(&bench.run().refused(1, &[]).stderr);
    }
    let result = bench.run_json().succeeded().json()["result"].clone();
    assert!(result == "updated" || result == "already-done", "{result}");
    bench.assert_updated(&images[1]);
}

/// Before the download, all over it, behind it; then whenever there is something left to do.
fn moments(random: &mut fastrand::Rng) -> Vec<Moment> {
    let micros = |random: &mut fastrand::Rng, most| Duration::from_micros(random.u64(..most));
    let mut offsets = [(); 6].map(|()| random.usize(..LARGE));
    offsets.sort_unstable();
    let mut moments = [(); 3].map(|()| Moment::After(micros(random, 40_000))).to_vec();
    moments.extend(offsets.map(Moment::At));
    moments.extend([(); 2].map(|()| Moment::Behind(micros(random, 15_000))));
    moments.extend([(); 5].map(|()| Moment::After(micros(random, 60_000))));
    moments
}

impl Moment {
    /// Comes back earlier when the process ends by itself.
    fn wait(self, bench: &Bench, process: &mut Running, size: usize) {
        let mut reached = |offset| {
            wait_until("the image comes", || process.ended().is_some() || bench.is_programmed(offset));
        };
        match self {
            Self::After(time) => std::thread::sleep(time),
            Self::At(offset) => reached(offset),
            Self::Behind(time) => {
                reached(size - 1);
                std::thread::sleep(time);
            }
        }
    }
}
