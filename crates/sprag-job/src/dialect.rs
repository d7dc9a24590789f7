//! The dialects and their names.

use core::fmt;

/// The language of a job document and of the reports about it. There is one variant for each dialect that is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Dialect {
    /// IoTConnect device message 2.1 on AWS or Azure: OTA commands (`ct` = 1) and the answer to a request for a pending
    /// OTA (`mt` 205). Feature `iotconnect`.
    #[cfg(feature = "iotconnect")]
    IotConnect21,
    /// IoTConnect device message 2.0 and its older forms: `cmdType` "0x02". Feature `iotconnect-20`.
    #[cfg(feature = "iotconnect-20")]
    IotConnect20,
    /// The crate's own job document for AWS IoT Jobs: `"operation":"ota"`. Feature `aws-jobs`.
    #[cfg(feature = "aws-jobs")]
    AwsJobs,
    /// The job document of AWS's CreateOTAUpdate: `afr_ota`. Feature `afr-ota`.
    #[cfg(feature = "afr-ota")]
    AfrOta,
    /// The job of Infineon's ota-update. Feature `ota-update`.
    #[cfg(feature = "ota-update")]
    OtaUpdate,
}

impl Dialect {
    /// Every dialect that is enabled.
    pub const ALL: &'static [Self] = &[
        #[cfg(feature = "iotconnect")]
        Self::IotConnect21,
        #[cfg(feature = "iotconnect-20")]
        Self::IotConnect20,
        #[cfg(feature = "aws-jobs")]
        Self::AwsJobs,
        #[cfg(feature = "afr-ota")]
        Self::AfrOta,
        #[cfg(feature = "ota-update")]
        Self::OtaUpdate,
    ];

    /// Its name, which `Display` shows too: `iotconnect-2.1`, `iotconnect-2.0`, `aws-jobs`, `afr-ota` or `ota-update`.
    /// It does not change between releases and may be stored.
    pub fn name(&self) -> &'static str {
        match *self {
            #[cfg(feature = "iotconnect")]
            Self::IotConnect21 => "iotconnect-2.1",
            #[cfg(feature = "iotconnect-20")]
            Self::IotConnect20 => "iotconnect-2.0",
            #[cfg(feature = "aws-jobs")]
            Self::AwsJobs => "aws-jobs",
            #[cfg(feature = "afr-ota")]
            Self::AfrOta => "afr-ota",
            #[cfg(feature = "ota-update")]
            Self::OtaUpdate => "ota-update",
        }
    }

    /// Whether its jobs come as executions of AWS IoT Jobs.
    pub fn is_aws(&self) -> bool {
        #[cfg(feature = "aws")]
        return crate::aws::document::has(*self);
        #[cfg(not(feature = "aws"))]
        false
    }

    /// The dialect of that [`name`](Self::name), if it is enabled.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dialect| dialect.name() == name)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
