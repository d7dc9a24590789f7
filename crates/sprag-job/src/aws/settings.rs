//! How a conversation with AWS IoT Jobs is held.

use crate::thinning::Pace;

/// How `expectedVersion` is written. The service takes both; the documentation of its MQTT operations and AWS's C
/// library quote it, the service model has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ExpectedVersion {
    /// `"expectedVersion":"3"`, as in the field for years.
    #[default]
    Quoted,
    /// `"expectedVersion":3`.
    Number,
}

/// How a conversation is held. Start from [`Settings::default`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings {
    /// Progress is reported when it has grown by this many percent …
    pub progress_percent: u8,
    /// … and this many seconds have passed since the last report.
    pub progress_seconds: u32,
    /// The step timeout to ask for with every `IN_PROGRESS`, which starts it anew, in minutes (1 to 10080). It does not go
    /// out with start-next, which may give the job of another agent. Without growth, progress is reported when half of it
    /// has passed: a download that waits for its network is alive.
    pub step_timeout_minutes: Option<u16>,
    /// How `expectedVersion` is written.
    pub expected_version: ExpectedVersion,
    /// What `clientToken` counts from. Another number after each start keeps answers to requests from before apart.
    pub first_token: u32,
}

impl Settings {
    pub(crate) fn pace(&self) -> Pace {
        let half = self.step_timeout_minutes.map(|minutes| u32::from(minutes).saturating_mul(30));
        Pace { percent: self.progress_percent, seconds: self.progress_seconds, at_least: half }
    }
}

impl Default for Settings {
    /// Every 10 percent and 30 seconds; no step timeout; quoted versions; tokens from 0.
    fn default() -> Self {
        Self {
            progress_percent: 10,
            progress_seconds: 30,
            step_timeout_minutes: None,
            expected_version: ExpectedVersion::Quoted,
            first_token: 0,
        }
    }
}
