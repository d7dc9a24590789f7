//! What passes between the two tasks: the device's, which does the job, and the link's, which talks about it.

use core::cell::Cell;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use heapless::Vec;
use sprag_verify::Version;

use super::event::Event;
use crate::report::Report;

/// The most bytes that a conversation keeps across the reboot.
pub(crate) const STATE_MAX: usize = 72;

/// What of a conversation must survive the reboot.
pub(crate) type State = Vec<u8, STATE_MAX>;

/// What the device has to say. Only the latest counts.
#[derive(Debug, Default)]
pub enum Say {
    #[default]
    Nothing,
    /// The download is under way. Nothing is said before the total is known, for it may go on in the middle.
    Progress { received: u64, total: u64 },
    /// The document is gone or its URL has expired: another one, please.
    Fresh,
    /// This version is verified and staged; the reset comes.
    Restarting { version: Version },
    /// This version runs and tests itself.
    Testing { version: Version },
    /// The job has come to its end.
    End(Report),
}

impl Say {
    /// Whether a job is being worked on that the cloud may still stop.
    fn is_work(&self) -> bool {
        matches!(self, Self::Progress { .. } | Self::Fresh | Self::Restarting { .. })
    }
}

/// A job document, in the buffer that the two tasks hand to each other.
pub(crate) struct Document<'b> {
    pub(crate) buffer: &'b mut [u8],
    pub(crate) length: usize,
    /// What of the conversation is to be kept before the job is begun.
    pub(crate) state: State,
}

/// Why the device is to stop what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The cloud has ended the job.
    Gone,
    /// Another job comes.
    Superseded,
}

/// That the cloud has been told.
pub(crate) struct Told {
    /// What is to be kept of the conversation.
    pub(crate) state: State,
    /// Whether it took it; else it does not ask for it, or not any more.
    pub(crate) taken: bool,
}

/// Between the tasks. Everything in it is taken out and put back: nothing is borrowed across an await.
pub(crate) struct Exchange<'b, 'e> {
    say: Cell<Say>,
    /// Counts what was said, progress aside.
    number: Cell<u32>,
    /// For the link: there is something new to say.
    pub(crate) changed: Signal<NoopRawMutex, ()>,
    /// Whether the device waits for a document.
    pub(crate) wants_document: Cell<bool>,
    /// For the device.
    pub(crate) document: Signal<NoopRawMutex, Document<'b>>,
    /// For the link: the buffer is free again.
    pub(crate) returned: Signal<NoopRawMutex, &'b mut [u8]>,
    /// For the device.
    pub(crate) stop: Signal<NoopRawMutex, Stop>,
    /// For the device: what was said is through.
    pub(crate) told: Signal<NoopRawMutex, Told>,
    /// Whether the broker is there, and listened to.
    pub(crate) is_connected: Cell<bool>,
    events: Cell<Option<&'e mut dyn FnMut(Event)>>,
}

impl<'b, 'e> Exchange<'b, 'e> {
    pub(crate) fn new(events: &'e mut dyn FnMut(Event)) -> Self {
        Self {
            say: Cell::default(),
            number: Cell::new(0),
            changed: Signal::new(),
            wants_document: Cell::new(false),
            document: Signal::new(),
            returned: Signal::new(),
            stop: Signal::new(),
            told: Signal::new(),
            is_connected: Cell::new(false),
            events: Cell::new(Some(events)),
        }
    }

    /// What the device has to say from now on.
    pub(crate) fn say(&self, say: Say) {
        self.told.reset();
        self.number.set(self.number.get().wrapping_add(1));
        self.say.set(say);
        self.changed.signal(());
    }

    /// A run of a job begins, or another one of the same job: how far that is known to be stays said.
    pub(crate) fn begin(&self) {
        if !self.with_say(|say, _| matches!(say, Say::Progress { .. })) {
            self.say(Say::Progress { received: 0, total: 0 });
        }
    }

    /// How far the download is. Only the first word of it is worth waking the link for: it looks once a second.
    pub(crate) fn progress(&self, received: u64, total: u64) {
        if let Say::Progress { total: 0, .. } = self.say.replace(Say::Progress { received, total }) {
            self.changed.signal(());
        }
    }

    /// The number of what the device has to say.
    pub(crate) fn said(&self) -> u32 {
        self.number.get()
    }

    /// Looks at what the device has to say, and its number.
    pub(crate) fn with_say<R>(&self, look: impl FnOnce(&Say, u32) -> R) -> R {
        let say = self.say.take();
        let result = look(&say, self.said());
        self.say.set(say);
        result
    }

    /// Whether there is work that can be stopped.
    pub(crate) fn is_working(&self) -> bool {
        self.with_say(|say, _| say.is_work())
    }

    pub(crate) fn event(&self, event: Event) {
        if let Some(events) = self.events.take() {
            events(event);
            self.events.set(Some(events));
        }
    }
}
