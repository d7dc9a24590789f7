//! The end of the wire at a TCP stack: packets in, packets out.

use std::collections::VecDeque;

/// The largest IP packet, as on Ethernet.
pub const MTU: usize = 1500;
/// IP and TCP headers without options.
pub const HEADERS: usize = 40;

/// Packets that have arrived, and those that are to be sent.
#[derive(Debug, Default)]
pub struct Port {
    /// From the wire.
    pub incoming: VecDeque<Vec<u8>>,
    /// For the wire.
    pub outgoing: Vec<Vec<u8>>,
}

/// A packet that was received.
#[derive(Debug)]
pub struct Received(Vec<u8>);

/// Room for a packet to send.
#[derive(Debug)]
pub struct Room<'p>(&'p mut Vec<Vec<u8>>);

/// The same for both releases of smoltcp.
macro_rules! port {
    ($smoltcp:ident) => {
        impl $smoltcp::phy::Device for Port {
            type RxToken<'a> = Received;
            type TxToken<'a> = Room<'a>;

            fn receive(&mut self, _: $smoltcp::time::Instant) -> Option<(Received, Room<'_>)> {
                let packet = self.incoming.pop_front()?;
                Some((Received(packet), Room(&mut self.outgoing)))
            }

            fn transmit(&mut self, _: $smoltcp::time::Instant) -> Option<Room<'_>> {
                Some(Room(&mut self.outgoing))
            }

            fn capabilities(&self) -> $smoltcp::phy::DeviceCapabilities {
                let mut capabilities = $smoltcp::phy::DeviceCapabilities::default();
                capabilities.medium = $smoltcp::phy::Medium::Ip;
                capabilities.max_transmission_unit = MTU;
                capabilities
            }
        }

        impl $smoltcp::phy::RxToken for Received {
            fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
                f(&self.0)
            }
        }

        impl $smoltcp::phy::TxToken for Room<'_> {
            fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
                let mut packet = vec![0; length];
                let result = f(&mut packet);
                self.0.push(packet);
                result
            }
        }
    };
}

port!(smoltcp_device);
port!(smoltcp_server);
