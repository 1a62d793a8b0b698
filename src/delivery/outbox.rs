//! The outbox of one endpoint: its lanes, its window and its connection slots, behind one short lock.
//!
//! # The invariant
//!
//! Whenever the lock is free: if a delivery is ready and the window is not full, the outbox has a token in the ready
//! queue, or whoever changed that is about to put it there ([`Next::requeue`]); or the endpoint is left
//! alone, as its [`Health`] says, and its alarm is set. So no delivery is ever ready without a worker on its way to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lanes::{Group, Lanes};
use super::outcome::{Outcome, Reason};
use super::retry::Backoff;
use super::target::Target;
use super::window::Window;
use super::worker::{Slot, Slots};
use crate::endpoint::{EndpointSettings, Health, HealthChange};
use crate::event::{Delivery, Event};

/// A connection that was not used for this long is closed.
const IDLE_SLOT: Duration = Duration::from_secs(15);

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
    health: Health,
    /// When a delivery that keeps failing was last reported.
    reported: Option<Instant>,
    /// When the timer will look at this outbox.
    alarm: Option<Instant>,
    stopped: bool,
}

/// One delivery, lent to a worker together with a connection slot.
pub(super) struct Work {
    group: Group,
    pub(super) event: Arc<Event>,
    /// How often it was tried before.
    pub(super) attempts: u32,
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
    /// What has changed with this outcome.
    pub(super) change: Option<Change>,
    /// A delivery that is settled.
    pub(super) delivered: Option<Delivery>,
}

/// What an operator has to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// How the endpoint does.
    Health(HealthChange),
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
                health: Health::default(),
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
        let Work { mut group, slot, .. } = work;
        state.in_flight -= 1;
        state.slots.give_back(slot, now);
        let (delivered, change) = if *outcome == Outcome::Delivered {
            state.window.answered();
            let delivered = state.lanes.done(&mut group);
            (delivered, state.health.succeeded().map(Change::Health))
        } else {
            let attempts = work.attempts + 1;
            for member in group.sending() {
                state.lanes.get_mut(member).attempts = attempts;
            }
            let held = state.report_held(&work.event, attempts, outcome, now);
            let due = now + self.wait(attempts, outcome);
            state.lanes.retry(group, due);
            let health = self.record_failure(&mut state, outcome, now);
            (None, health.map(Change::Health).or(held))
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
        state.health.advance(now);
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

    /// What a failure says about the endpoint. A refusal says that it works.
    fn record_failure(&self, state: &mut State, outcome: &Outcome, now: Instant) -> Option<HealthChange> {
        match outcome {
            Outcome::Delivered | Outcome::Refused { .. } => return None,
            Outcome::Gone => {}
            Outcome::Retry { reason, retry_after } => {
                if *reason == Reason::Timeout {
                    state.window.timed_out();
                }
                if let Some(wish) = retry_after {
                    state.health.pause_until(now + (*wish).min(self.backoff.maximum));
                }
            }
        }
        let change = state.health.failed();
        let length = |rest| self.backoff.wait(rest, None, fastrand::f64());
        if state.health.rest_if_down(state.lanes.delayed(), now, length) {
            state.window.collapse();
        }
        change
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
        let group = self.lanes.take_one()?;
        let delivery = self.lanes.get(group.first()?);
        let (event, attempts) = (Arc::clone(&delivery.event), delivery.attempts);
        self.in_flight += 1;
        Some(Work {
            group,
            event,
            attempts,
            slot: self.slots.lend(),
        })
    }

    fn has_work(&self) -> bool {
        !self.stopped
            && self.health.left_alone_until().is_none()
            && self.in_flight < self.window.size()
            && self.lanes.has_ready()
    }

    /// Whether a failure is to be reported as that of one delivery: it holds back what can be confirmed.
    fn report_held(
        &mut self,
        event: &Event,
        attempts: u32,
        outcome: &Outcome,
        now: Instant,
    ) -> Option<Change> {
        let refused = matches!(outcome, Outcome::Refused { .. } | Outcome::Gone);
        let lately = self.reported.is_some_and(|at| now < at + REPORT_INTERVAL);
        if lately || !(refused || attempts >= HELD_AFTER) {
            return None;
        }
        self.reported = Some(now);
        let id = event.id.clone();
        Some(Change::Held { id, attempts })
    }

    /// Keeps the invariant: says whether the token is to be queued and the alarm to be set.
    fn next(&mut self, work: Option<Work>) -> Next {
        let requeue = !self.queued && self.has_work();
        self.queued |= requeue;
        let next_try = self.health.left_alone_until().or_else(|| self.lanes.next_due());
        let due = [next_try, self.slots.idle_since().map(|since| since + IDLE_SLOT)];
        let wanted = due.into_iter().flatten().min().filter(|_| !self.stopped);
        let alarm = wanted.filter(|wanted| self.alarm.is_none_or(|set| *wanted < set));
        self.alarm = alarm.or(self.alarm);
        Next {
            work,
            requeue,
            failing: self.health.is_failing(),
            alarm,
            ..Next::default()
        }
    }
}
