//! A broker without a network, with a cloud behind it: connections that end before or after any message.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use sprag::mqtt::{Broker, Client, Incoming};

/// What the cloud behind the broker says to a message: topics and payloads.
pub(crate) type Cloud = dyn FnMut(&str, &[u8]) -> Vec<(String, Vec<u8>)>;

/// Where a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// What was sent never arrived.
    Before,
    /// It arrived, but its acknowledgement and its answer are lost.
    After,
}

/// The broker. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct TestBroker(Rc<RefCell<State>>);

struct State {
    cloud: Box<Cloud>,
    /// What is on its way to the device; `None` is an acknowledgement.
    queue: VecDeque<Option<(String, Vec<u8>)>>,
    /// Grows with each connection, and with each end of one.
    line: u64,
    is_open: bool,
    waker: Option<Waker>,
    /// Messages so far, in both directions.
    messages: u64,
    cuts: Vec<(u64, Cut)>,
    refusing: bool,
    /// A connection ends when something with this text in it is published.
    forbidden: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Gone;

impl TestBroker {
    pub(crate) fn new(cloud: impl FnMut(&str, &[u8]) -> Vec<(String, Vec<u8>)> + 'static) -> Self {
        Self(Rc::new(RefCell::new(State {
            cloud: Box::new(cloud),
            queue: VecDeque::new(),
            line: 0,
            is_open: false,
            waker: None,
            messages: 0,
            cuts: Vec::new(),
            refusing: false,
            forbidden: None,
        })))
    }

    /// Ends the connection at that message, counted over all.
    pub(crate) fn cut(&self, message: u64, cut: Cut) {
        self.0.borrow_mut().cuts.push((message, cut));
    }

    /// Ends every connection on which something with this text in it is published.
    pub(crate) fn drop_at(&self, text: &str) {
        self.0.borrow_mut().forbidden = Some(text.to_owned());
    }

    pub(crate) fn messages(&self) -> u64 {
        self.0.borrow().messages
    }

    /// Whether new connections are refused; a present one ends.
    pub(crate) fn refuse(&self, refusing: bool) {
        let mut state = self.0.borrow_mut();
        state.refusing = refusing;
        if refusing {
            state.close();
        }
    }

    /// Something that the cloud says by itself: lost when the device is not there.
    pub(crate) fn push(&self, messages: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let mut state = self.0.borrow_mut();
        if state.is_open {
            state.queue.extend(messages.into_iter().map(Some));
            state.wake();
        }
    }
}

impl State {
    fn close(&mut self) {
        self.is_open = false;
        self.line += 1;
        self.queue.clear();
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Another message: whether and how the connection ends at it.
    fn count(&mut self) -> Option<Cut> {
        self.messages += 1;
        let at = self.cuts.iter().position(|(message, _)| *message == self.messages)?;
        Some(self.cuts.swap_remove(at).1)
    }

    fn send(&mut self, message: Option<(&str, &[u8])>) -> Result<(), Gone> {
        let is_forbidden = |payload: &[u8], text: &str| String::from_utf8_lossy(payload).contains(text);
        if self.forbidden.as_deref().zip(message).is_some_and(|(text, (_, payload))| is_forbidden(payload, text)) {
            self.close();
            return Err(Gone);
        }
        let cut = self.count();
        if cut != Some(Cut::Before) {
            let answers = message.map(|(topic, payload)| (self.cloud)(topic, payload)).unwrap_or_default();
            self.queue.push_back(None);
            self.queue.extend(answers.into_iter().map(Some));
        }
        if cut.is_some() {
            self.close();
            return Err(Gone);
        }
        self.wake();
        Ok(())
    }
}

impl Broker for TestBroker {
    type Error = Gone;
    type Client<'c> = TestClient;

    async fn connect(&mut self) -> Result<TestClient, Gone> {
        let mut state = self.0.borrow_mut();
        if state.refusing {
            return Err(Gone);
        }
        state.close();
        state.is_open = true;
        Ok(TestClient { broker: self.clone(), line: state.line, message: None })
    }
}

pub(crate) struct TestClient {
    broker: TestBroker,
    line: u64,
    message: Option<(String, Vec<u8>)>,
}

impl TestClient {
    fn state(&self) -> Result<std::cell::RefMut<'_, State>, Gone> {
        let state = self.broker.0.borrow_mut();
        if state.line == self.line { Ok(state) } else { Err(Gone) }
    }
}

impl Client for TestClient {
    type Error = Gone;

    async fn subscribe(&mut self, _: &str) -> Result<(), Gone> {
        self.state()?.send(None)
    }

    async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<(), Gone> {
        self.state()?.send(Some((topic, payload)))
    }

    async fn ping(&mut self) -> Result<(), Gone> {
        // A PINGRESP is no acknowledgement: it comes as an empty message on a topic of nobody.
        let mut state = self.state()?;
        state.queue.push_back(Some((String::new(), Vec::new())));
        Ok(())
    }

    async fn ready(&mut self) -> Result<(), Gone> {
        poll_fn(|context| {
            let mut state = self.state()?;
            if state.queue.is_empty() {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    async fn receive(&mut self) -> Result<Incoming<'_>, Gone> {
        let next = {
            let mut state = self.state()?;
            let next = state.queue.pop_front().ok_or(Gone)?;
            if state.count().is_some() {
                state.close();
                return Err(Gone);
            }
            next
        };
        self.message = next;
        Ok(match &self.message {
            Some((topic, _)) if topic.is_empty() => Incoming::Alive,
            Some((topic, payload)) => Incoming::Message { topic, payload },
            None => Incoming::Acknowledged,
        })
    }
}
