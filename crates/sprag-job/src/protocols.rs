//! The ways in which a cloud offers an artifact.

/// The ways in which an artifact is offered: `protocols` of `afr_ota`, `Connection` of ota-update, else that of its
/// URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Protocols {
    /// Over HTTP or HTTPS, from the artifact's [location](crate::Artifact::location).
    pub http: bool,
    /// Over MQTT: in AWS by the [stream](crate::Artifact::stream), in ota-update from the broker.
    pub mqtt: bool,
}

impl Protocols {
    pub(crate) const HTTP: Self = Self { http: true, mqtt: false };
}
