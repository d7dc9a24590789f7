//! Counting what an update costs.

use serde::Serialize;

use crate::device::Happening;

/// What an update cost so far, over any number of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Requests sent.
    pub requests: u64,
    /// Connections made.
    pub connections: u64,
    /// Failures that were followed by another try.
    pub retries: u64,
    /// Redirects followed.
    pub redirects: u64,
    /// Bytes of the image that arrived, those that arrived twice counted twice.
    pub bytes: u64,
    /// What the storage service called its last refusal of a URL; empty when it did not say.
    #[serde(skip)]
    pub refusal: String,
    /// Where the next byte is expected.
    #[serde(skip)]
    offset: u64,
}

impl Tally {
    /// Counts what happened on a device.
    pub fn count(&mut self, happening: &Happening) {
        match happening {
            Happening::Update(sprag::Event::Fetch(event)) => self.count_fetch(event),
            Happening::Update(sprag::Event::Downloading { offset }) => self.begin((*offset).into()),
            Happening::Update(sprag::Event::Progress { received, .. }) => self.arrived(*received),
            _ => {}
        }
    }

    /// Counts what happened on the network.
    pub fn count_fetch(&mut self, event: &sprag::fetch::Event) {
        match event {
            sprag::fetch::Event::Connected => self.connections += 1,
            sprag::fetch::Event::Requested(_) => {
                self.requests += 1;
                self.refusal.clear();
            }
            sprag::fetch::Event::Retrying { .. } => self.retries += 1,
            sprag::fetch::Event::Redirected { .. } => self.redirects += 1,
            sprag::fetch::Event::Refused { code, .. } => code.as_str().clone_into(&mut self.refusal),
            sprag::fetch::Event::OtherRegion { region } => {
                let separator = if self.refusal.is_empty() { "" } else { ", " };
                self.refusal += &format!("{separator}the bucket is in {region}");
            }
            sprag::fetch::Event::Skipping { bytes } => self.bytes += bytes,
            _ => {}
        }
    }

    /// A download begins, or goes on, at this byte.
    pub fn begin(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The download came up to this byte.
    pub fn arrived(&mut self, received: u64) {
        self.bytes += received.saturating_sub(self.offset);
        self.offset = received;
    }
}
