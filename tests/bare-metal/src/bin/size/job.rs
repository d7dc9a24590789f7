//! `sprag-job` as a firmware uses it: read a job, take all of it, report on it.

use core::hint::black_box;

use sprag_job::{ParseError, Status, parse};

pub fn run(input: &[u8], out: &mut [u8]) {
    match parse(input) {
        Ok(job) => {
            black_box(&(job.dialect(), job.id(), job.version(), job.hardware(), job.identity()));
            for artifact in job.artifacts() {
                if let Some(location) = artifact.location() {
                    location.bytes().for_each(|byte| {
                        black_box(byte);
                    });
                }
                black_box(&artifact);
            }
            if let Err(error) = job.require_https() {
                refuse(&error, out);
            }
            let _ = black_box(job.report(black_box(Status::Done), black_box(""), out));
        }
        Err(error) => refuse(&error, out),
    }
    #[cfg(feature = "job-aws-conversation")]
    aws(input, out);
    #[cfg(feature = "job-iotconnect-conversation")]
    iotconnect(input, out);
}

fn refuse(error: &ParseError<'_>, out: &mut [u8]) {
    black_box(&(error.kind(), error.offset()));
    let _ = black_box(error.rejection(error.reason(), out));
    #[cfg(feature = "job-display")]
    {
        /// Where a log line goes.
        struct Log;
        impl core::fmt::Write for Log {
            fn write_str(&mut self, text: &str) -> core::fmt::Result {
                let _ = black_box(text);
                Ok(())
            }
        }
        let _ = core::fmt::Write::write_fmt(&mut Log, format_args!("{error}"));
    }
}

#[cfg(feature = "job-aws-conversation")]
fn aws(input: &[u8], payload: &mut [u8]) {
    use sprag_job::aws::{AwsJobs, Event, SelfTest, Settings, TOPIC_MAX, Verdict};

    let mut topic = [0; TOPIC_MAX];
    let Ok(mut jobs) = AwsJobs::new(black_box("thing"), Settings::default()) else { return };
    if let Some(saved) = jobs.saved() {
        let Ok(restored) = AwsJobs::restore(black_box("thing"), Settings::default(), black_box(saved)) else { return };
        jobs = restored;
    }
    for index in 0..AwsJobs::FILTERS {
        let _ = black_box(jobs.filter(index, &mut topic));
    }
    jobs.connected();
    loop {
        let _ = black_box(jobs.next_request(&mut topic, payload));
        match jobs.arrived(black_box("topic"), input) {
            Event::Job(execution) | Event::Again(execution) | Event::Replaced(execution) | Event::Fresh(execution) => {
                black_box(&(execution.job_id(), execution.document(), SelfTest::of(&execution)));
                match execution.job() {
                    Ok(job) => {
                        black_box(&job);
                    }
                    Err(error) => refuse(&error, payload),
                }
            }
            event => {
                black_box(&event);
            }
        }
        jobs.refresh();
        let now = black_box(0);
        let _ = black_box(jobs.progress(now, black_box(1), black_box(2), &mut topic, payload));
        let _ = black_box(jobs.self_test(now, SelfTest::Ready, black_box("1"), &mut topic, payload));
        let _ = black_box(jobs.finish(now, black_box(Verdict::Failed), black_box("why"), None, &mut topic, payload));
        if black_box(false) {
            return;
        }
    }
}

#[cfg(feature = "job-iotconnect-conversation")]
fn iotconnect(input: &[u8], payload: &mut [u8]) {
    use sprag_job::iotconnect::{Event, IotConnect, Topics};

    let mut topic = [0; 128];
    let mut cloud = IotConnect::<8>::restore(Topics::Aws { client_id: black_box("d") }, black_box([0; 8]));
    let _ = black_box(cloud.topics().command(&mut topic));
    let _ = black_box(cloud.pending(&mut topic, payload));
    match cloud.arrived(black_box("topic"), input) {
        Event::Job(job) => {
            cloud.remember(&job);
            let _ = black_box(cloud.seen());
            let _ = black_box(cloud.ack(&job, black_box(Status::Done), black_box(""), &mut topic, payload));
        }
        event => {
            black_box(&event);
        }
    }
}
