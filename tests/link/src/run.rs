//! One download, from the first packet to the last byte in flash, by virtual time.

use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use embassy_futures::select::{Either, select};
use sprag_fetch::{Connector, Scheme, TcpConnector, Tls, TlsConnector, Trust, WRITE_BUFFER_MIN};
use sprag_testkit::flash::SimFlash;
use sprag_testkit::time::VirtualTime;

use crate::authority::{Authority, NOW};
use crate::board::Board;
use crate::clock::sleep;
use crate::device::Sockets;
use crate::flash::TimedFlash;
use crate::limit;
use crate::net::Net;
use crate::object::Object;
use crate::random::Random;
use crate::server::{Counts, Manners};
use crate::ways::plain::PlainSlot;
use crate::ways::sprag::Buffers;
use crate::ways::{Way, ranged, sprag, streamed};
use crate::wire::Link;

/// Between a power cut and the first instruction that can send something.
const BOOT_NS: u64 = 1_000_000_000;
/// Everything that a download depends on.
#[derive(Debug, Clone)]
pub struct Case<'c> {
    /// The link.
    pub link: Link,
    /// The device.
    pub board: &'c Board,
    /// How its sockets are set.
    pub sockets: Sockets,
    /// The image.
    pub object: Object,
    /// The server's certificates, where the download goes through TLS.
    pub tls: Option<&'c Authority>,
    /// The longest TLS record that the server sends.
    pub record: usize,
    /// The device's buffer for one of them: with less than `READ_BUFFER_FULL`, it asks for shorter ones.
    pub record_buffer: usize,
    /// What the server sends before anything is acknowledged.
    pub server_window: usize,
    /// Who fetches.
    pub way: Way,
    /// The slot writer's buffers.
    pub writer: Buffers,
    /// For loss, jitter and keys.
    pub seed: u64,
    /// What goes wrong.
    pub trouble: Trouble,
}

/// What goes wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Every connection is reset after so many bytes of the object.
    ConnectionDies {
        /// In bytes.
        after: u64,
    },
    /// The power fails at equal intervals.
    PowerFails {
        /// In nanoseconds.
        every_ns: u64,
    },
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Until all was in flash; none when there was no end to it in so many tries.
    pub time_ns: Option<u64>,
    /// Bytes that the server put on the wire, headers included.
    pub wire_bytes: u64,
    /// What was asked of the server.
    pub counts: Counts,
    /// Power cuts, and for those who begin again connections that were lost.
    pub tries: u32,
}

impl Outcome {
    /// The one in the middle, by time.
    pub fn median(mut outcomes: Vec<Self>) -> Option<Self> {
        outcomes.sort_by_key(|outcome| outcome.time_ns.unwrap_or(u64::MAX));
        outcomes.get(outcomes.len() / 2).copied()
    }
}

/// Beginnings after which a way that begins at byte 0 each time is given up.
const TRIES_MAX: u32 = 10;

impl Case<'_> {
    /// The least time that the link and the flash allow: the image's bytes in full segments or all erases and programs,
    /// whichever is longer, and the round trips for TCP, TLS and the request.
    pub fn limit_ns(&self) -> u64 {
        self.link_ns().max(self.board.write_ns(self.object.0.len() as u32)) + self.handshakes_ns()
    }

    /// The same where no more than the receive buffer can be under way: it takes a round trip for each filling of it.
    pub fn window_limit_ns(&self) -> u64 {
        let (size, window) = (self.object.0.len() as u64, self.sockets.receive as u64);
        self.limit_ns().max(size * self.round_trip_ns() / window + self.handshakes_ns())
    }

    fn link_ns(&self) -> u64 {
        self.link.serialized_ns(limit::on_the_wire(self.object.0.len() as u64))
    }

    fn round_trip_ns(&self) -> u64 {
        u64::from(self.link.rtt_ms) * 1_000_000
    }

    fn handshakes_ns(&self) -> u64 {
        self.round_trip_ns() * if self.tls.is_some() { 3 } else { 2 }
    }

    /// Bytes of RAM in socket, writer and TLS buffers.
    pub fn ram(&self) -> usize {
        let own = match self.way {
            Way::Sprag => sprag::ram(self.board, self.writer),
            Way::Infineon => 4096 + ranged::HEAD_BUFFER,
            Way::EspIdf => 1024 + ranged::HEAD_BUFFER,
            Way::Reqwless => streamed::PIECE + streamed::BUFFERS,
        };
        let tls = if self.tls.is_some() { self.record_buffer + WRITE_BUFFER_MIN } else { 0 };
        self.sockets.receive + self.sockets.send + own + tls
    }

    /// Downloads, and looks whether the image lies in the slot.
    ///
    /// # Errors
    /// When it does not, or what failed was not asked to.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        let (time, flash) = (VirtualTime::new(), self.board.flash());
        let mut manners = Manners::new(self.object.clone(), self.tls.map(|tls| Arc::clone(&tls.config)));
        (manners.record, manners.window) = (self.record, self.server_window);
        if let Trouble::ConnectionDies { after } = self.trouble {
            manners.dies_after = Some(after);
        }
        let net = Net::new(&time, self.link, self.sockets, manners, self.seed);
        let (ended, tries) = time.block_on(async {
            sprag::used_before(self.board, &flash).await?;
            flash.reset_stats();
            match select(net.run(), self.lives(&net, &time, &flash)).await {
                Either::First(never) => match never {},
                Either::Second(ended) => ended,
            }
        })?;
        if ended {
            let slot = flash.region(self.board.slot.clone()).contents();
            ensure!(slot[..self.object.0.len()] == self.object.0[..], "what lies in flash is not the image");
        }
        let time_ns = ended.then(|| time.nanoseconds());
        Ok(Outcome { time_ns, wire_bytes: net.wire_bytes(), counts: net.counts(), tries })
    }

    /// From one power cut to the next; whether it came to an end.
    async fn lives(&self, net: &Net, time: &VirtualTime, flash: &SimFlash) -> anyhow::Result<(bool, u32)> {
        for life in 0.. {
            let power = async {
                match self.trouble {
                    Trouble::PowerFails { every_ns } => sleep(time, every_ns).await,
                    _ => std::future::pending().await,
                }
            };
            match select(self.life(net, time, flash, life), power).await {
                Either::First(ended) => return ended.map(|tries| (tries.is_some(), life + tries.unwrap_or(TRIES_MAX))),
                Either::Second(()) if self.way != Way::Sprag && life + 1 >= TRIES_MAX => return Ok((false, life + 1)),
                Either::Second(()) => {}
            }
            ensure!(life < 1000, "no end to it");
            flash.power_on();
            net.restart(life + 1);
            sleep(time, BOOT_NS).await;
        }
        bail!("no life is the last one")
    }

    /// As long as the power is there: how often it was begun again, or none if it was given up.
    async fn life(&self, net: &Net, time: &VirtualTime, flash: &SimFlash, life: u32) -> anyhow::Result<Option<u32>> {
        let stack = &net.stack;
        let Some(authority) = self.tls else {
            return self.fetch(&TcpConnector::new(stack, stack), Scheme::Http, time, flash).await;
        };
        let (clock, roots) = (|| NOW, [&*authority.root]);
        let tls = Tls::new(stack, stack, Trust::new(&roots, &clock));
        let (mut read, mut write) = (vec![0; self.record_buffer], vec![0; WRITE_BUFFER_MIN]);
        let random = Random::new(self.seed ^ u64::from(life) << 32);
        let sessions = pin!(tls.sessions(random, &mut read, &mut write));
        self.fetch(&TlsConnector::new(&tls, sessions), Scheme::Https, time, flash).await
    }

    async fn fetch<C: Connector>(
        &self,
        connector: &C,
        scheme: Scheme,
        time: &VirtualTime,
        flash: &SimFlash,
    ) -> anyhow::Result<Option<u32>> {
        if self.way == Way::Sprag {
            sprag::run(connector, scheme, time, flash, self.board, self.writer).await?;
            return Ok(Some(0));
        }
        for begun in 0..TRIES_MAX {
            let region = TimedFlash::new(flash.region(self.board.slot.clone()), time);
            let mut slot = PlainSlot::new(region, self.board);
            let fetched = match self.way {
                Way::Infineon => ranged::run(connector, scheme, &mut slot, 4096, 4096).await,
                Way::EspIdf => ranged::run(connector, scheme, &mut slot, 64 * 1024, 1024).await,
                Way::Reqwless | Way::Sprag => streamed::run(connector, scheme, &mut slot).await,
            };
            match fetched {
                Ok(()) => return Ok(Some(begun)),
                Err(error) if self.trouble == Trouble::None => return Err(error).context(self.way.name()),
                Err(_) => {}
            }
        }
        Ok(None)
    }
}
