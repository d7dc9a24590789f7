//! The link's task: keeps a connection to the broker, says what the device has to say, hands over what arrives.

use embassy_futures::select::{Either, Either3, select, select3};
use embedded_hal_async::delay::DelayNs;
use sprag_fetch::Backoff;
use sprag_job::{NoRoom, Publish};

use super::agent::Limits;
use super::client::{Broker, Client, Incoming};
use super::cloud::{Asked, Cloud, Heard, Scratch};
use super::event::Event;
use super::exchange::{Document, Exchange, Say, Stop, Told};

/// How often the link looks at the clock.
const TICK_MS: u32 = 1_000;

/// After how many connections in a row that ended while the final report was on its way the report is given up: some
/// three hours with the longest wait of two minutes.
const LOST_REPORTS_MAX: u8 = 100;

/// What was being done when the connection was lost.
type Lost = &'static str;

pub(crate) struct Link<'l, 'b, 'e, K, T, D> {
    pub(crate) cloud: &'l mut K,
    pub(crate) exchange: &'l Exchange<'b, 'e>,
    pub(crate) clock: &'l T,
    pub(crate) delay: D,
    pub(crate) limits: Limits,
    pub(crate) scratch: Scratch<'l>,
    /// The document buffer, unless the device has it.
    pub(crate) spare: Option<&'b mut [u8]>,
    /// Its size.
    pub(crate) room: usize,
    /// A document could not be handed over.
    pub(crate) owes_document: bool,
    /// The number of what was given up because it does not fit into the buffers.
    pub(crate) unsaid: Option<u32>,
    /// Connections in a row that ended while the final report was on its way.
    pub(crate) lost_reports: u8,
    /// True when the final report was sent on this connection, and the cloud has not taken it yet.
    pub(crate) is_reporting: bool,
}

/// What is known of one connection.
struct Line {
    /// How many acknowledgements are owed; nothing new is begun before they are there.
    owed: u8,
    /// When something was heard last.
    heard: u32,
    /// When something was sent last.
    sent: u32,
    /// The next filter to subscribe to; `None` when all are.
    filter: Option<usize>,
    /// The broker has taken a message, too: what fails after that fails for the first time.
    is_proven: bool,
}

impl<K: Cloud, T: Fn() -> u32, D: DelayNs> Link<'_, '_, '_, K, T, D> {
    /// Runs for ever.
    pub(crate) async fn run<M: Broker>(&mut self, broker: &mut M) -> ! {
        let mut backoff = self.limits.reconnect.backoff(self.limits.seed);
        loop {
            let during = match within(&mut self.delay, self.limits.connect_ms, broker.connect()).await {
                Some(mut client) => {
                    let during = self.converse(&mut client, &mut backoff).await;
                    self.count_lost_report();
                    during
                }
                None => "connect",
            };
            self.exchange.is_connected.set(false);
            let retry_ms = backoff.next_ms();
            self.exchange.event(Event::Disconnected { during, retry_ms });
            self.delay.delay_ms(retry_ms).await;
        }
    }

    /// From the connection to its loss.
    async fn converse<C: Client>(&mut self, client: &mut C, backoff: &mut Backoff) -> Lost {
        let now = (self.clock)();
        let mut line = Line { owed: 0, heard: now, sent: now, filter: Some(0), is_proven: false };
        loop {
            // A broker that drops the connection at the final report is not to be hammered.
            if line.is_proven && self.lost_reports == 0 {
                backoff.reset();
            }
            if line.owed == 0
                && let Err(lost) = self.speak(client, &mut line).await
            {
                return lost;
            }
            match select3(client.ready(), self.delay.delay_ms(TICK_MS), self.exchange.changed.wait()).await {
                Either3::First(Ok(())) => {
                    if let Err(lost) = self.listen(client, &mut line).await {
                        return lost;
                    }
                }
                Either3::First(Err(_)) => return "receive",
                Either3::Second(()) | Either3::Third(()) => {}
            }
            let now = (self.clock)();
            let passed = |since: u32, limit: u32| now.wrapping_sub(since) >= limit;
            if line.owed > 0 && passed(line.sent, self.limits.answer_seconds)
                || passed(line.heard, self.limits.keep_alive_seconds.saturating_mul(2))
            {
                return "silent";
            }
        }
    }

    /// The next thing that is to be sent, if there is any.
    async fn speak<C: Client>(&mut self, client: &mut C, line: &mut Line) -> Result<(), Lost> {
        let now = (self.clock)();
        if let Some(index) = line.filter {
            if let Some(filter) = self.cloud.filter(index, self.scratch.topic) {
                let filter = filter.map_err(|_| "topic-buffer")?;
                let sent = within(&mut self.delay, self.limits.send_ms, client.subscribe(filter)).await;
                sent.ok_or("subscribe")?;
                line.filter = index.checked_add(1);
                line.expect(now);
                return Ok(());
            }
            line.filter = None;
            self.cloud.connected();
            self.exchange.is_connected.set(true);
            self.exchange.event(Event::Connected);
        }
        self.settle();
        let (cloud, scratch) = (&mut *self.cloud, self.scratch.reborrow());
        match self.exchange.with_say(|say, number| cloud.next(now, say, number, scratch)) {
            Ok(Some(publish)) => {
                let payload = publish.payload.as_bytes();
                let sent = within(&mut self.delay, self.limits.send_ms, client.publish(publish.topic, payload)).await;
                self.is_reporting |= self.exchange.with_say(|say, _| matches!(say, Say::End(_)));
                sent.ok_or("publish")?;
                line.expect(now);
            }
            Ok(None) if now.wrapping_sub(line.sent) >= self.limits.keep_alive_seconds => {
                within(&mut self.delay, self.limits.send_ms, client.ping()).await.ok_or("ping")?;
                line.sent = now;
            }
            Ok(None) => {}
            Err(error) => self.give_up_saying(error),
        }
        Ok(())
    }

    /// Gives up what the device has to say, because it does not fit into the caller's buffers and never will.
    fn give_up_saying(&mut self, (NoRoom::Topic(small) | NoRoom::Payload(small)): NoRoom) {
        let number = self.exchange.said();
        if self.unsaid.replace(number) != Some(number) {
            self.exchange.event(Event::TooLong { needed: small.needed });
            self.tell(false);
        }
    }

    /// Gives the final report up when connection after connection ended while it was on its way: a broker that does not
    /// allow it must not keep the device from all later jobs.
    fn count_lost_report(&mut self) {
        if !core::mem::take(&mut self.is_reporting) {
            return;
        }
        self.lost_reports = self.lost_reports.saturating_add(1);
        if self.lost_reports >= LOST_REPORTS_MAX {
            self.exchange.event(Event::NotTaken);
            self.tell(false);
        }
    }

    /// A report that can't be made here is as good as made: the cloud does not ask for it, or no longer.
    fn settle(&mut self) {
        let cloud = &mut *self.cloud;
        if self.exchange.with_say(|say, _| matches!(say, Say::End(report) if !cloud.can_report(report))) {
            self.tell(false);
        }
    }

    /// Lets the device know that the cloud has been told, or can't be.
    fn tell(&mut self, taken: bool) {
        (self.is_reporting, self.lost_reports) = (false, 0);
        self.exchange.told.signal(Told { state: self.cloud.state(), taken });
    }

    /// A document that the device has not looked at yet is out of date.
    fn take_back(&mut self) {
        if let Some(document) = self.exchange.document.try_take() {
            self.spare = Some(document.buffer);
        }
    }

    /// Takes in what has arrived.
    async fn listen<C: Client>(&mut self, client: &mut C, line: &mut Line) -> Result<(), Lost> {
        let incoming = within(&mut self.delay, self.limits.send_ms, client.receive()).await.ok_or("receive")?;
        let now = (self.clock)();
        line.heard = now;
        let (topic, payload) = match incoming {
            Incoming::Alive => return Ok(()),
            Incoming::TooLarge { needed } => {
                self.exchange.event(Event::MessageTooLarge { needed });
                return Ok(());
            }
            Incoming::Acknowledged => {
                line.owed = line.owed.saturating_sub(1);
                let number = self.exchange.said();
                // What was said on the connection before is not what a subscription's acknowledgement is about.
                line.is_proven |= line.filter.is_none();
                if line.owed == 0 && line.filter.is_none() && self.cloud.delivered(number) {
                    self.tell(true);
                }
                return Ok(());
            }
            Incoming::Message { topic, payload } => (topic, payload),
        };
        if self.spare.is_none() {
            self.spare = self.exchange.returned.try_take();
        }
        let number = self.exchange.said();
        let free = (self.spare.is_some() || self.exchange.is_working()) && !self.exchange.document.signaled();
        let room = (K::IS_ONE_BY_ONE || free).then_some(self.room);
        let wants = self.exchange.wants_document.get() || self.owes_document;
        let asked = Asked { now, number, wants, room };
        let heard = self.cloud.arrived(topic, payload, asked, self.scratch.reborrow());
        match heard {
            Heard::Nothing => {}
            Heard::Told => self.tell(true),
            Heard::NotTaken => {
                self.exchange.event(Event::NotTaken);
                self.tell(false);
            }
            Heard::Gone => {
                self.take_back();
                self.exchange.stop.signal(Stop::Gone);
            }
            Heard::Refused { reason, answer } => {
                self.exchange.event(Event::Refused { reason });
                // The one in hand, that the device waits for: it has ended so.
                if K::IS_ONE_BY_ONE && wants {
                    self.exchange.stop.signal(Stop::Gone);
                }
                let Some(Publish { topic, payload }) = answer else { return Ok(()) };
                let sent = client.publish(topic, payload.as_bytes());
                within(&mut self.delay, self.limits.send_ms, sent).await.ok_or("publish")?;
                line.expect(now);
            }
            Heard::Document { other } => self.hand_over(payload, other || self.owes_document).await?,
        }
        Ok(())
    }

    /// Gives a document to the device, if it has use for it.
    async fn hand_over(&mut self, payload: &[u8], other: bool) -> Result<(), Lost> {
        if !other && !self.exchange.wants_document.get() {
            return Ok(());
        }
        self.take_back();
        // Who gives one job at a time has ended the one before, whatever the device is doing with it.
        if other && (self.spare.is_none() || self.exchange.is_working()) {
            self.exchange.stop.signal(if K::IS_ONE_BY_ONE { Stop::Gone } else { Stop::Superseded });
        }
        let buffer = match self.spare.take() {
            Some(buffer) => buffer,
            None => match select(self.exchange.returned.wait(), self.delay.delay_ms(self.limits.send_ms)).await {
                Either::First(buffer) => buffer,
                Either::Second(()) => {
                    // It comes again on the next connection, as one that is known by then.
                    self.owes_document = true;
                    return Err("busy");
                }
            },
        };
        self.owes_document = false;
        let length = payload.len();
        if let Some(place) = buffer.get_mut(..length) {
            place.copy_from_slice(payload);
            self.exchange.document.signal(Document { buffer, length, state: self.cloud.state() });
        }
        Ok(())
    }
}

impl Line {
    fn expect(&mut self, now: u32) {
        (self.owed, self.sent) = (self.owed.saturating_add(1), now);
    }
}

/// What comes of it within the time allowed; its error, whatever it is, ends the connection.
async fn within<R, E>(delay: &mut impl DelayNs, ms: u32, work: impl Future<Output = Result<R, E>>) -> Option<R> {
    match select(work, delay.delay_ms(ms)).await {
        Either::First(result) => result.ok(),
        Either::Second(()) => None,
    }
}
