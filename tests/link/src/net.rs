//! Both ends and the wire between them, driven by virtual time.

use std::cell::RefCell;
use std::convert::Infallible;

use embassy_futures::select::select;
use sprag_testkit::time::VirtualTime;

use crate::clock::sleep;
use crate::device::{Sockets, Stack};
use crate::server::{ADDRESS, Counts, Manners, Server};
use crate::wire::{Link, Pipe};

/// A device, a wire and a server.
#[allow(missing_debug_implementations)]
pub struct Net {
    /// The device's end.
    pub stack: Stack,
    far: RefCell<Far>,
    time: VirtualTime,
    seed: u64,
}

struct Far {
    up: Pipe,
    down: Pipe,
    server: Server,
}

impl Net {
    /// All at rest.
    pub fn new(time: &VirtualTime, link: Link, sockets: Sockets, manners: Manners, seed: u64) -> Self {
        let far = Far { up: Pipe::new(link, seed), down: Pipe::new(link, seed ^ 0xD0), server: Server::new(manners) };
        Self { stack: Stack::new(sockets, ADDRESS, seed), far: RefCell::new(far), time: time.clone(), seed }
    }

    /// Carries packets, for ever.
    pub async fn run(&self) -> Infallible {
        loop {
            let now = self.time.nanoseconds();
            let next = self.turn(now);
            // A stack that wants to be polled at once has its turn a microsecond later: time must go on.
            match next {
                Some(next) => {
                    let wait = sleep(&self.time, next.max(now + 1_000) - now);
                    select(wait, self.stack.touched()).await;
                }
                None => self.stack.touched().await,
            }
        }
    }

    /// Does all that happens now; when something happens next.
    fn turn(&self, now: u64) -> Option<u64> {
        let Far { up, down, server } = &mut *self.far.borrow_mut();
        loop {
            let arrived = |pipe: &mut Pipe| std::iter::from_fn(|| pipe.arrived(now)).collect::<Vec<_>>();
            let from_device = self.stack.poll(now, arrived(down));
            let from_server = server.poll(now, arrived(up));
            let quiet = from_device.is_empty() && from_server.is_empty();
            from_device.into_iter().for_each(|packet| up.send(now, packet));
            from_server.into_iter().for_each(|packet| down.send(now, packet));
            if quiet {
                let next = [up.next_ns(), down.next_ns(), self.stack.next_ns(now), server.next_ns(now)];
                return next.into_iter().flatten().min();
            }
        }
    }

    /// The device is reset, for this time of its life.
    pub fn restart(&self, life: u32) {
        self.stack.restart(self.seed + u64::from(life) * 7919);
    }

    /// What was asked of the server.
    pub fn counts(&self) -> Counts {
        self.far.borrow().server.counts
    }

    /// Bytes that the server sent, headers and all that came twice included.
    pub fn wire_bytes(&self) -> u64 {
        self.far.borrow().down.bytes
    }
}
