//! What arrives in a conversation with AWS IoT Jobs.

use super::answer::{self, RejectionCode, State};
use super::event::{Event, Gone};
use super::execution::{self, ExecutionStatus, JobId};
use super::request::{self, Topic};
use super::session::{AwsJobs, Hand, Want};
use crate::report::Status;
use crate::text::Text;

impl AwsJobs<'_> {
    /// Takes a message. What it means borrows from `payload`.
    pub fn arrived<'a>(&mut self, topic: &str, payload: &'a [u8]) -> Event<'a> {
        let Some(topic) = request::read_topic(self.thing, topic) else { return Event::NotForUs };
        match topic {
            Topic::NotifyNext | Topic::Get { job: "$next", accepted: true } => self.notified(payload),
            Topic::StartNext { accepted: true } => self.started(payload),
            Topic::Get { job, accepted: true } if self.is_in_hand(job) => self.described(payload),
            Topic::Update { job, accepted: true } if self.is_in_hand(job) => self.updated(payload),
            Topic::Update { job, accepted: false } if self.is_in_hand(job) => self.update_refused(payload),
            Topic::StartNext { accepted: false } => self.refused(Want::StartNext, payload),
            Topic::Get { job, accepted: false } if self.is_in_hand(job) => self.refused(Want::Describe, payload),
            _ => Event::Nothing,
        }
    }

    fn is_in_hand(&self, job: &str) -> bool {
        self.hand.is_some_and(|hand| hand.id.as_str() == job)
    }

    /// Whether the answer is to the request that was made last; it is answered then.
    fn is_answer(&mut self, what: Want, token: Option<Text<'_>>) -> bool {
        let ours =
            self.asked.is_some_and(|asked| asked.what == what && token.is_none_or(|token| is(token, asked.token)));
        if ours {
            self.asked = None;
        }
        ours
    }

    /// The head of the queue has changed. What that means, the service is asked: the word may be late.
    fn notified<'a>(&mut self, payload: &'a [u8]) -> Event<'a> {
        let head = match execution::execution(payload) {
            Ok(head) => head,
            Err(error) => return Event::Malformed(error),
        };
        match (&self.hand, head) {
            (None, Some(_)) => self.want = Want::StartNext,
            (None, None) => {}
            (Some(hand), head) => {
                let same = head.is_some_and(|head| head.job_id() == hand.id.as_str());
                let ending = hand.sent.is_some_and(|sent| sent.status != Status::Downloading);
                if !same && !ending && self.want == Want::Nothing {
                    self.want = Want::Describe;
                }
            }
        }
        Event::Nothing
    }

    fn started<'a>(&mut self, payload: &'a [u8]) -> Event<'a> {
        let (head, token) = match execution::read(payload) {
            Ok(read) => read,
            Err(error) => return Event::Malformed(error),
        };
        if !self.is_answer(Want::StartNext, token) {
            return Event::Nothing;
        }
        let Some(head) = head else {
            if self.hand.is_none() {
                return Event::Idle;
            }
            self.want = Want::Describe;
            return Event::Nothing;
        };
        let Some(id) = JobId::from_bytes(head.job_id().bytes()) else { return Event::Nothing };
        match &mut self.hand {
            Some(hand) if hand.id == id && is_same(hand.number, head.execution_number()) => {
                hand.version = head.version_number().or(hand.version);
                hand.number = head.execution_number().or(hand.number);
                Event::Again(head)
            }
            hand => match hand.replace(Hand::new(id, head.version_number(), head.execution_number())) {
                None => Event::Job(head),
                Some(_) => Event::Replaced(head),
            },
        }
    }

    fn described<'a>(&mut self, payload: &'a [u8]) -> Event<'a> {
        let (found, token) = match execution::read(payload) {
            Ok(read) => read,
            Err(error) => return Event::Malformed(error),
        };
        if !self.is_answer(Want::Describe, token) {
            return Event::Nothing;
        }
        let (Some(found), Some(hand)) = (found, &mut self.hand) else { return Event::Nothing };
        if found.job_id() != hand.id.as_str() {
            return Event::Nothing;
        }
        if !is_same(hand.number, found.execution_number()) {
            // The one in hand has ended, and the job is tried anew.
            return self.gone(Gone::Ended(None));
        }
        if let Some(status) = found.status().filter(ExecutionStatus::is_terminal) {
            return self.gone(Gone::Ended(Some(status)));
        }
        hand.version = newest(hand.version, found.version_number());
        Event::Fresh(found)
    }

    fn updated<'a>(&mut self, payload: &'a [u8]) -> Event<'a> {
        let answer = match answer::updated(payload) {
            Ok(answer) => answer,
            Err(error) => return Event::Malformed(error),
        };
        let version = answer.state().and_then(|state| state.version_number());
        let Some(hand) = &mut self.hand else { return Event::Nothing };
        let Some(sent) = hand.sent.filter(|sent| answer.client_token().is_none_or(|token| is(token, sent.token)))
        else {
            hand.version = newest(hand.version, version);
            return Event::Nothing;
        };
        hand.version = version.or(sent.next);
        hand.sent = None;
        self.accepted(sent.status)
    }

    fn accepted<'a>(&mut self, status: Status) -> Event<'a> {
        if status != Status::Downloading {
            self.over();
        }
        Event::Accepted(status)
    }

    /// Nothing is in hand any more; an answer that is on its way is about the past.
    fn over(&mut self) {
        self.hand = None;
        self.asked = None;
        self.want = Want::StartNext;
    }

    fn gone<'a>(&mut self, how: Gone) -> Event<'a> {
        self.over();
        Event::Gone(how)
    }

    fn update_refused<'a>(&mut self, payload: &'a [u8]) -> Event<'a> {
        let rejection = match answer::rejection(payload) {
            Ok(rejection) => rejection,
            Err(error) => return Event::Malformed(error),
        };
        let Some(hand) = &mut self.hand else { return Event::Nothing };
        let sent = hand.sent.filter(|sent| rejection.client_token().is_none_or(|token| is(token, sent.token)));
        let Some(sent) = sent else { return Event::Nothing };
        hand.sent = None;
        match (rejection.code(), rejection.state()) {
            (RejectionCode::ResourceNotFound, _) => self.gone(Gone::Deleted),
            (RejectionCode::VersionMismatch, None) => {
                hand.version = None;
                Event::Retry(sent.status)
            }
            (RejectionCode::TerminalStateReached | RejectionCode::InvalidStateTransition, None) => {
                self.gone(Gone::Ended(None))
            }
            (
                code @ (RejectionCode::VersionMismatch
                | RejectionCode::TerminalStateReached
                | RejectionCode::InvalidStateTransition),
                Some(state),
            ) => {
                hand.version = state.version_number();
                match state.status().filter(ExecutionStatus::is_terminal) {
                    // Said before, and only the answer was lost.
                    Some(_) if is_status(&state, sent.status) => self.accepted(sent.status),
                    Some(status) => self.gone(Gone::Ended(Some(status))),
                    None if code == RejectionCode::VersionMismatch => Event::Retry(sent.status),
                    None => Event::Refused(rejection),
                }
            }
            _ => Event::Refused(rejection),
        }
    }

    fn refused<'a>(&mut self, what: Want, payload: &'a [u8]) -> Event<'a> {
        let rejection = match answer::rejection(payload) {
            Ok(rejection) => rejection,
            Err(error) => return Event::Malformed(error),
        };
        if !self.is_answer(what, rejection.client_token()) {
            return Event::Nothing;
        }
        if what == Want::Describe && rejection.code() == RejectionCode::ResourceNotFound {
            return self.gone(Gone::Deleted);
        }
        if rejection.code().is_retryable() && self.want == Want::Nothing {
            self.want = what;
        }
        Event::Refused(rejection)
    }
}

fn is(token: Text<'_>, number: u32) -> bool {
    token.decimal() == Some(number.into())
}

fn is_status(state: &State<'_>, status: Status) -> bool {
    state.status() == Some(ExecutionStatus::of(Text::new(request::word(status))))
}

/// Whether two numbers of an execution are one, as far as both are known.
fn is_same(one: Option<u64>, other: Option<u64>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Versions only grow.
fn newest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.max(other)
}
