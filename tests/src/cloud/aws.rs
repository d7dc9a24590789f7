//! AWS IoT Jobs' side, over a real broker: the test kit's service, and the time that it goes by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rumqttc::v5::MqttOptions;
use sprag_testkit::aws_jobs::Service;
use tokio::task::JoinHandle;

use super::session::Session;

/// How often the service looks for what it has to say by itself.
const TICK: Duration = Duration::from_millis(50);

/// The service for one thing.
#[derive(Debug)]
pub struct AwsJobs {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    service: Service,
    start: Instant,
    /// Seconds that have passed without passing.
    leap: u64,
    /// Operations that were asked for so far, `start-next` or `{jobId}/update` say.
    operations: Vec<String>,
}

impl State {
    fn now(&self) -> u64 {
        self.start.elapsed().as_secs() + self.leap
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AwsJobs {
    /// Comes up for the thing of that name, and listens when this returns.
    pub async fn new(thing: &str, options: MqttOptions, service: Service) -> Self {
        let jobs = format!("$aws/things/{thing}/jobs/");
        let filters = ["start-next", "get", "+/get", "+/update"].map(|operation| format!("{jobs}{operation}"));
        let count = filters.len();
        let mut session = Session::new(options, filters.into());
        for _ in 0..count {
            while session.next().await.is_some() {}
        }
        let state = State { service, start: Instant::now(), leap: 0, operations: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let message = tokio::time::timeout(TICK, session.next()).await.ok().flatten();
                let mut state = lock(&shared);
                let now = state.now();
                let mut said = Vec::new();
                if let Some(message) = message {
                    state.operations.extend(message.topic.strip_prefix(&jobs).map(str::to_owned));
                    said.extend(state.service.answer(now, &message.topic, &message.payload));
                }
                said.extend(state.service.notices(now));
                for message in said {
                    // Without room for it, the device asks again.
                    let _ = session.publish(&message.topic, message.payload);
                }
            }
        });
        Self { state, task }
    }

    /// Looks into the service, or changes something in it.
    pub fn with<R>(&self, look: impl FnOnce(&mut Service) -> R) -> R {
        look(&mut lock(&self.state).service)
    }

    /// Lets time pass for the service.
    pub fn leap(&self, seconds: u64) {
        lock(&self.state).leap += seconds;
    }

    /// How often an operation was asked for.
    pub fn asked(&self, operation: &str) -> usize {
        lock(&self.state).operations.iter().filter(|asked| *asked == operation).count()
    }

    /// Waits until every job has ended.
    pub async fn ended(&self) {
        while !self.with(|service| service.jobs().iter().all(sprag_testkit::aws_jobs::Execution::has_ended)) {
            tokio::time::sleep(TICK).await;
        }
    }

    /// The final statuses of a job that came from the device.
    pub fn finals(&self, id: &str) -> Vec<String> {
        self.with(|service| service.job(id).map(|job| job.finals.clone()).unwrap_or_default())
    }
}

impl Drop for AwsJobs {
    fn drop(&mut self) {
        self.task.abort();
    }
}
