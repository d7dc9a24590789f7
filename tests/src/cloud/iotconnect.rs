//! IoTConnect's side: gives a device its OTA when the device asks whether it missed one, and takes the acks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rumqttc::v5::MqttOptions;
use sprag::job::iotconnect::Topics;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::session::Session;

/// IoTConnect, as one device sees it.
#[derive(Debug)]
pub struct IotConnect {
    device: String,
    topics: [String; 3],
    state: Arc<Mutex<State>>,
    /// How many acks came.
    acked: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// OTA commands to give out, one each time the device asks; the last one stays.
    commands: VecDeque<String>,
    acks: Vec<String>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an ack is a final one.
pub fn is_final(ack: &str) -> bool {
    !ack.contains(r#""st":2"#)
}

impl IotConnect {
    /// Comes up for the device of that name, at the broker there, and listens when this returns.
    pub async fn new(device: &str, host: &str, port: u16) -> Self {
        Self::with(device, MqttOptions::new(format!("cloud-of-{device}"), host, port)).await
    }

    /// As [`new`](Self::new), at the broker that these options say.
    pub async fn with(device: &str, options: MqttOptions) -> Self {
        let topics = ["cmd", "ack", "di"].map(|name| format!("iot/{device}/{name}"));
        let [command, ack, identity] = topics.clone();
        let mut session = Session::new(options, vec![ack.clone(), identity.clone()]);
        // One answer for each filter.
        for _ in 0..2 {
            while session.next().await.is_some() {}
        }
        let state = Arc::new(Mutex::new(State::default()));
        let (told, acked) = watch::channel(0);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let Some(message) = session.next().await else { continue };
                let mut state = lock(&shared);
                if message.topic == ack {
                    state.acks.push(String::from_utf8_lossy(&message.payload).into_owned());
                    let _ = told.send(state.acks.len());
                } else if message.topic == identity && message.payload == br#"{"mt":205}"# {
                    let ended = state.acks.iter().any(|ack| is_final(ack));
                    let given = if state.commands.len() > 1 {
                        state.commands.pop_front()
                    } else {
                        state.commands.front().cloned()
                    };
                    let answer = given.filter(|_| !ended).unwrap_or_else(|| r#"{"d":{"ct":205,"ec":0}}"#.to_owned());
                    // Without room for it, the device asks again.
                    let _ = session.publish(&command, answer);
                }
            }
        });
        Self { device: device.to_owned(), topics, state, acked, task }
    }

    /// The device's name, which is its client id as well.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The topics, as the identity reply would give them.
    pub fn topics(&self) -> Topics<'_> {
        let [command, ack, identity] = &self.topics;
        Topics::Given { command, ack, identity }
    }

    /// An OTA command that the device has missed, so far.
    pub fn command(&self, document: String) {
        lock(&self.state).commands.push_back(document);
    }

    /// The acks that came so far.
    pub fn acks(&self) -> Vec<String> {
        lock(&self.state).acks.clone()
    }

    /// Changes when another ack has come.
    pub fn acked(&self) -> watch::Receiver<usize> {
        let mut acked = self.acked.clone();
        acked.mark_unchanged();
        acked
    }

    /// Waits until a final ack has come.
    pub async fn ended(&self) {
        let mut acked = self.acked.clone();
        while !self.acks().iter().any(|ack| is_final(ack)) {
            if acked.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for IotConnect {
    fn drop(&mut self) {
        self.task.abort();
    }
}
