//! The MQTT client behind the seam, over TCP: connect, subscribe, publish, ping, and take what arrives.

use core::hint::black_box;

use embassy_futures::block_on;
use sprag::fetch::TcpConnector;
use sprag::mqtt::{Account, Broker, Client, Incoming, MqttBroker, MqttVersion};

use crate::chip::Net;

pub fn run(input: &[u8], out: &mut [u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    let account = Account::plain(text, text).login(text, input);
    let (incoming, outgoing) = out.split_at_mut(out.len() / 2);
    let version = if black_box(true) { MqttVersion::V5 } else { MqttVersion::V3_1_1 };
    let broker = MqttBroker::new(TcpConnector::new(&Net, &Net), account, incoming, outgoing).version(version);
    let _ = black_box(block_on(converse(broker, text, input)));
}

async fn converse<B: Broker>(mut broker: B, topic: &str, payload: &[u8]) -> Result<(), B::Error> {
    let mut client = broker.connect().await?;
    client.subscribe(black_box(topic)).await?;
    client.publish(black_box(topic), black_box(payload)).await?;
    loop {
        client.ping().await?;
        client.ready().await?;
        match client.receive().await? {
            Incoming::Message { topic, payload } => drop(black_box((topic, payload))),
            other => drop(black_box(other)),
        }
    }
}
