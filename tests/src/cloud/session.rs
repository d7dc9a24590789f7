//! A cloud's connection to its broker, by another MQTT client than the device's.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

/// How long to wait before a lost broker is tried again.
const RECONNECT: Duration = Duration::from_millis(100);

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A connection that comes back by itself.
#[allow(missing_debug_implementations)] // The client has none.
pub struct Session {
    client: AsyncClient,
    events: EventLoop,
    filters: Vec<String>,
}

impl Session {
    /// Connects as these options say, and listens to these filters.
    pub fn new(mut options: MqttOptions, filters: Vec<String>) -> Self {
        options.set_keep_alive(Duration::from_secs(30)).set_clean_start(true);
        options.set_max_packet_size(Some(256 * 1024));
        let (client, events) = AsyncClient::new(options, 100);
        Self { client, events, filters }
    }

    /// Publishes, at QoS 1, with the next call of [`next`](Self::next).
    ///
    /// # Errors
    /// There is no room for it.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        Ok(self.client.try_publish(topic, QoS::AtLeastOnce, false, payload.into())?)
    }

    /// The next message; `None` when it is listening (again).
    ///
    /// # Cancellation safety
    /// May be dropped and called again.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match self.events.poll().await {
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                    return Some(Message { topic, payload: publish.payload.to_vec() });
                }
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    for filter in &self.filters {
                        // There is room for far more than a cloud listens to.
                        let _ = self.client.try_subscribe(filter, QoS::AtLeastOnce);
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => return None,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(RECONNECT).await,
            }
        }
    }
}
