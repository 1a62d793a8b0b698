//! The outbox of one endpoint: its lanes, its window and its connection slots, behind one short lock.
//!
//! # The invariant
//!
//! Whenever the lock is free: if a delivery is ready and the window is not full, the outbox has a token in the ready
//! queue, or whoever changed that is about to put it there ([`Next::requeue`]); or the endpoint rests, and its alarm is
//! set. So no delivery is ever ready without a worker on its way to it.
//!
//! # Rest
//!
//! Each delivery that failed waits on its own. But where many rows fail one after the other and nothing succeeds, it
//! is the endpoint that is down, and each row asking on its own would keep the machine busy with nothing. Then the
//! endpoint rests as a whole and is tried with one request; each rest that did not help is followed by a longer one, and
//! one success ends it. A refusal (400 and the like) is about a row and shows that the endpoint works: it never counts.
//!
//! Apart from that, `Retry-After` is a wish of the receiver's: nothing is sent until it is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lanes::{Lanes, Ticket};
use super::outcome::{Outcome, Reason};
use super::retry::Backoff;
use super::target::Target;
use super::window::Window;
use super::worker::{Slot, Slots};
use crate::endpoint::EndpointSettings;
use crate::event::Delivery;

/// A connection that was not used for this long is closed.
const IDLE_SLOT: Duration = Duration::from_secs(15);

/// So many failures in a row, with as many deliveries waiting for their next try, are the endpoint's, not a row's.
const MANY: usize = 8;

/// So many failures in a row are said to be the endpoint's; fewer happen to everyone.
const FAILING_AFTER: u32 = 3;
/// A delivery that was tried so often while others of its endpoint succeeded is reported.
const HELD_AFTER: u32 = 5;
/// The shortest time between two such reports of one endpoint.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// What one endpoint has to get.
pub struct Outbox {
    /// A small number of its own, for tables by outbox.
    number: usize,
    target: Target,
    backoff: Backoff,
    state: Mutex<State>,
}

struct State {
    lanes: Lanes<Delivery>,
    window: Window,
    slots: Slots,
    in_flight: usize,
    /// Whether its token is in the ready queue.
    queued: bool,
    /// Failures since the last success.
    failures: u32,
    /// Until when nothing is tried, since nothing has succeeded.
    rest: Option<Instant>,
    /// Rests since the last success.
    rests: u32,
    /// Until when the receiver has asked to be left alone.
    pause: Option<Instant>,
    /// When a delivery that keeps failing was last reported.
    reported: Option<Instant>,
    /// When the timer will look at this outbox.
    alarm: Option<Instant>,
    stopped: bool,
}

/// One delivery, lent to a worker together with a connection slot.
pub(super) struct Work {
    pub(super) ticket: Ticket,
    pub(super) delivery: Delivery,
    pub(super) slot: Arc<Slot>,
}

/// What is to be done after a look at an outbox.
#[derive(Default)]
pub(super) struct Next {
    /// The work to do now.
    pub(super) work: Option<Work>,
    /// Put the token into the ready queue, where a failing endpoint is treated as such.
    pub(super) requeue: bool,
    /// Whether the last outcome was a failure.
    pub(super) failing: bool,
    /// When the timer has to look at the outbox.
    pub(super) alarm: Option<Instant>,
    /// The endpoint's state changed with this outcome.
    pub(super) change: Option<Change>,
    /// A delivery that is settled.
    pub(super) delivered: Option<Delivery>,
}

/// A change in how an endpoint does, to be logged once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It has begun to fail.
    Failing,
    /// It has answered again, after so many failures.
    Recovered(u32),
    /// One delivery is refused or keeps failing.
    Held {
        /// Its `webhook-id`.
        id: String,
        /// How often it was tried.
        attempts: u32,
    },
}

impl Outbox {
    pub(super) fn new(
        number: usize,
        target: Target,
        settings: &EndpointSettings,
        backoff: Backoff,
        slots: Slots,
    ) -> Self {
        Self {
            number,
            target,
            backoff,
            state: Mutex::new(State {
                lanes: Lanes::new(settings.order),
                window: Window::new(settings.in_flight),
                slots,
                in_flight: 0,
                queued: false,
                failures: 0,
                rest: None,
                rests: 0,
                pause: None,
                reported: None,
                alarm: None,
                stopped: false,
            }),
        }
    }

    /// A small number of its own: outboxes are numbered from 0 in the order of their making.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Where its requests go.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How many deliveries are not settled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().lanes.len()
    }

    /// Whether every delivery is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends deliveries, in their order.
    pub(super) fn push(&self, deliveries: impl IntoIterator<Item = Delivery>) -> Next {
        let mut state = self.lock();
        for delivery in deliveries {
            let place = delivery.event.place;
            state.lanes.push(delivery, place);
        }
        state.next(None)
    }

    /// A worker begins its turn: takes the token's right and the first work.
    pub(super) fn begin(&self) -> Next {
        let mut state = self.lock();
        state.queued = false;
        let work = state.take();
        state.next(work)
    }

    /// A worker is back with `outcome`; it takes its next work under the same lock if `go_on`.
    pub(super) fn finish(&self, work: Work, outcome: &Outcome, go_on: bool, now: Instant) -> Next {
        let mut state = self.lock();
        let Work {
            ticket,
            mut delivery,
            slot,
        } = work;
        state.in_flight -= 1;
        state.slots.give_back(slot, now);
        let before = state.failures;
        let mut held = None;
        let delivered = if *outcome == Outcome::Delivered {
            state.window.answered();
            state.failures = 0;
            state.rest = None;
            state.rests = 0;
            state.lanes.done(ticket);
            Some(delivery)
        } else {
            state.record_failure(outcome);
            delivery.attempts += 1;
            held = state.report_held(&delivery, outcome, now);
            let due = now + self.wait(delivery.attempts, outcome);
            state.lanes.retry(ticket, delivery, due);
            self.consider_rest(&mut state, outcome, now);
            None
        };
        let change = match (before, state.failures) {
            (before, FAILING_AFTER) if before < FAILING_AFTER => Some(Change::Failing),
            (FAILING_AFTER.., 0) => Some(Change::Recovered(before)),
            _ => held,
        };
        // After a failure the turn ends, so that the endpoint's next one is counted as that of a failing endpoint.
        let work = if go_on && delivered.is_some() {
            state.take()
        } else {
            None
        };
        let mut next = state.next(work);
        next.change = change;
        next.delivered = delivered;
        next
    }

    /// The alarm that was set for `at` rings: makes ready what is due, closes connections that idle.
    pub(super) fn ring(&self, at: Instant, now: Instant) -> Next {
        let mut state = self.lock();
        if state.alarm != Some(at) {
            // An earlier alarm was set after this one, has rung, and has set what was still wanted.
            return Next::default();
        }
        state.alarm = None;
        state.rest = state.rest.filter(|until| *until > now);
        state.pause = state.pause.filter(|until| *until > now);
        state.lanes.advance(now);
        state.slots.close_idle_since(now.checked_sub(IDLE_SLOT));
        state.next(None)
    }

    /// Lends no work any more.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
    }

    /// Breaks off the exchanges that are under way.
    pub(super) fn interrupt(&self) {
        self.lock().slots.interrupt();
    }

    fn wait(&self, attempts: u32, outcome: &Outcome) -> Duration {
        match outcome {
            Outcome::Retry { retry_after, .. } => self.backoff.wait(attempts, *retry_after, fastrand::f64()),
            // Nothing is gained by asking soon again what was refused: it keeps its lane, at the longest interval.
            _ => self.backoff.maximum,
        }
    }

    /// Has the endpoint rest where many rows have failed and nothing has succeeded, and pause where it asks for it.
    fn consider_rest(&self, state: &mut State, outcome: &Outcome, now: Instant) {
        if let Outcome::Retry {
            retry_after: Some(wish),
            ..
        } = outcome
        {
            state.pause = state.pause.max(Some(now + (*wish).min(self.backoff.maximum)));
        }
        let many = u32::try_from(MANY).unwrap_or(u32::MAX);
        // What was in flight when the rest began says nothing new.
        if state.rest.is_none() && state.failures >= many && state.lanes.delayed() >= MANY {
            state.rests = state.rests.saturating_add(1);
            state.window.collapse();
            state.rest = Some(now + self.backoff.wait(state.rests, None, fastrand::f64()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned outbox would wedge its endpoint for good; its lanes are consistent between their own calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lends the next work, if there is any and the window has room.
    fn take(&mut self) -> Option<Work> {
        if !self.has_work() {
            return None;
        }
        let (ticket, delivery) = self.lanes.take()?;
        self.in_flight += 1;
        Some(Work {
            ticket,
            delivery,
            slot: self.slots.lend(),
        })
    }

    fn has_work(&self) -> bool {
        !self.stopped
            && self.waits_until().is_none()
            && self.in_flight < self.window.size()
            && self.lanes.has_ready()
    }

    /// Until when nothing is tried at all.
    fn waits_until(&self) -> Option<Instant> {
        self.rest.max(self.pause)
    }

    fn record_failure(&mut self, outcome: &Outcome) {
        if matches!(outcome, Outcome::Refused { .. }) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if matches!(
            outcome,
            Outcome::Retry {
                reason: Reason::Timeout,
                ..
            }
        ) {
            self.window.timed_out();
        }
    }

    /// Whether a failure is to be reported as that of one delivery: it holds back what can be confirmed.
    fn report_held(&mut self, delivery: &Delivery, outcome: &Outcome, now: Instant) -> Option<Change> {
        let refused = matches!(outcome, Outcome::Refused { .. } | Outcome::Gone);
        let lately = self.reported.is_some_and(|at| now < at + REPORT_INTERVAL);
        if lately || !(refused || delivery.attempts >= HELD_AFTER) {
            return None;
        }
        self.reported = Some(now);
        let (id, attempts) = (delivery.event.id.clone(), delivery.attempts);
        Some(Change::Held { id, attempts })
    }

    /// Keeps the invariant: says whether the token is to be queued and the alarm to be set.
    fn next(&mut self, work: Option<Work>) -> Next {
        let requeue = !self.queued && self.has_work();
        self.queued |= requeue;
        let next_try = self.waits_until().or_else(|| self.lanes.next_due());
        let due = [next_try, self.slots.idle_since().map(|since| since + IDLE_SLOT)];
        let wanted = due.into_iter().flatten().min().filter(|_| !self.stopped);
        let alarm = wanted.filter(|wanted| self.alarm.is_none_or(|set| *wanted < set));
        self.alarm = alarm.or(self.alarm);
        Next {
            work,
            requeue,
            failing: self.failures > 0,
            alarm,
            ..Next::default()
        }
    }
}
