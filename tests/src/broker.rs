//! An MQTT broker in this process.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Where the broker of this process listens: `rumqttd`, MQTT 5, in the clear. It is started at the first call, and can't be
/// stopped: there is one for all.
///
/// # Errors
/// It does not come up.
pub fn embedded() -> anyhow::Result<SocketAddr> {
    static ADDRESS: OnceLock<Result<SocketAddr, String>> = OnceLock::new();
    let address = ADDRESS.get_or_init(|| start().map_err(|error| format!("{error:#}")));
    address.clone().map_err(|error| anyhow!("the broker does not come up: {error}"))
}

fn start() -> anyhow::Result<SocketAddr> {
    // The broker binds its port itself: one that is free now.
    let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let connections = ConnectionSettings {
        connection_timeout_ms: 60_000,
        max_payload_size: 256 * 1024,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings { name: "v5".into(), listen, tls: None, next_connection_delay_ms: 1, connections };
    let router = RouterConfig {
        max_connections: 1_000,
        max_outgoing_packet_count: 200,
        max_segment_size: 1024 * 1024,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let v5 = Some(HashMap::from([("1".to_owned(), server)]));
    let mut broker = Broker::new(Config { router, v5, ..Config::default() });
    thread::spawn(move || {
        let _ = broker.start();
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(listen).is_err() {
        ensure!(Instant::now() < deadline, "nothing listens at {listen}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(listen)
}
