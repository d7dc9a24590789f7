//! The conversations with the two clouds.

use sprag::job::aws::{AwsJobs, Settings as Conversation};
use sprag::job::iotconnect::{IotConnect, Topics};
use sprag::mqtt::{AwsCloud, IotConnectCloud};

use crate::settings::{BadSetting, Settings};

/// AWS IoT Jobs. `first_token` is a number that differs after each start.
///
/// # Errors
/// `SPRAG_THING` can't be the name of a thing.
pub fn aws(settings: &Settings, first_token: u32) -> Result<AwsCloud<'static>, BadSetting> {
    // A device that dies in the middle of a job is not waited for for ever.
    let conversation = Conversation { first_token, step_timeout_minutes: Some(60), ..Conversation::default() };
    let jobs = AwsJobs::new(settings.thing, conversation).map_err(|_| BadSetting::Wrong("SPRAG_THING"))?;
    Ok(AwsCloud::new(jobs))
}

/// IoTConnect on AWS; on Azure, and where the patterns of its topics differ, take those of the identity reply:
/// [`Topics`].
///
/// # Errors
/// None.
pub fn iotconnect(settings: &Settings, _: u32) -> Result<IotConnectCloud<'static, 8>, BadSetting> {
    Ok(IotConnectCloud::new(IotConnect::new(Topics::Aws { client_id: settings.thing })))
}
