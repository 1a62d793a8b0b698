//! The outbox of one endpoint: its lanes, its window, its connection slots and its route, behind one short lock.
//!
//! # The invariant
//!
//! Whenever the lock is free: if a delivery is ready and the window is not full, the outbox has a token in the ready
//! queue, or whoever changed that is about to put it there ([`Next::requeue`]); or the endpoint is left alone, as its
//! [`Health`] says, and its alarm is set. So no delivery is ever ready without a worker on its way to it. In the same
//! way, if there is work for the store, a keeper is at it or on its way ([`Next::keep`]), or the alarm is set.
//!
//! What keeps a delivery from being lost at any time is its backing; see the documentation of `backlog`.

mod backlog;
mod counts;
mod lending;
mod next;
mod outcome;
mod retention;
mod stored;
mod work;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use self::backlog::{Backlog, Route};
pub(super) use self::backlog::{Dying, Keep, Queued};
pub use self::counts::{Counts, Figures};
pub(super) use self::lending::Work;
pub(super) use self::next::{Change, Load, Next, Settled};
pub use self::retention::Retention;
pub(super) use self::work::{CHUNK_BYTES, Loaded, StoreWork, Stored};
use super::backing::{Backing, Delivery};
use super::lanes::Lanes;
use super::ready::Class;
use super::report::Told;
use super::retry::RetryPolicy;
use super::target::Target;
use super::window::Window;
use super::worker::Slots;
use crate::endpoint::{EndpointSettings, Health, HealthState, Order, Standing, Transition};
use crate::event::{Event, Origin};
use crate::progress::SettleToken;

/// A connection that was not used for this long is closed.
const IDLE_SLOT: Duration = Duration::from_secs(15);
/// How long a delivery may hold the confirmed LSN back while something of its endpoint fails. Then the endpoint is
/// spilled.
const HOLD: Duration = Duration::from_secs(10);

/// What one endpoint has to get.
pub struct Outbox {
    /// A small number of its own, for tables by outbox.
    number: usize,
    target: Target,
    policy: Policy,
    told: Told,
    state: Mutex<State>,
}

/// What holds for all endpoints.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) retry: RetryPolicy,
    /// Whether the stream stops instead of losing an event to the dead letters.
    pub(super) strict: bool,
    pub(super) retention: Retention,
}

/// What was configured for one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Configured {
    pub(super) settings: EndpointSettings,
    pub(super) standing: Standing,
    /// When an operator last did; the epoch if never.
    pub(super) changed_at: SystemTime,
}

struct State {
    settings: EndpointSettings,
    lanes: Lanes<Delivery>,
    /// An order that is to be used once what was queued in the present one is gone.
    next_order: Option<Order>,
    window: Window,
    slots: Slots,
    /// Exchanges under way.
    in_flight: usize,
    /// Since when they wait for an answer: the last one, or the first lending after a rest.
    waiting_since: Option<Instant>,
    /// Whether its token is in the ready queue.
    queued: bool,
    /// As what it was put there.
    queued_as: Class,
    /// What the last attempt that failed came to.
    last_error: Option<Arc<str>>,
    health: Health,
    backlog: Backlog,
    /// When the timer will look at this outbox.
    alarm: Option<Instant>,
    /// When what holds the confirmed LSN back is looked at again.
    hold_check: Option<Instant>,
    /// Since when a batch that is not full yet waits for more.
    batch_since: Option<Instant>,
    /// Bytes of the deliveries in the lanes.
    charge: u64,
    /// When it was last given anything.
    given: Option<Instant>,
    /// When a delivery was last made.
    delivered_at: Option<SystemTime>,
    counts: Counts,
    /// Since when it is not paused or disabled, or was last configured: from then on its events age.
    active_since: SystemTime,
    stopped: bool,
}

impl Outbox {
    pub(super) fn new(
        number: usize,
        target: Target,
        configured: Configured,
        policy: Policy,
        slots: Slots,
    ) -> Self {
        let Configured {
            settings,
            standing,
            changed_at,
        } = configured;
        let mut state = State {
            lanes: Lanes::new(settings.order),
            next_order: None,
            window: Window::new(settings.in_flight),
            slots,
            settings,
            in_flight: 0,
            waiting_since: None,
            queued: false,
            queued_as: Class::default(),
            last_error: None,
            health: Health::new(Instant::now()),
            backlog: Backlog {
                counted: true,
                ..Backlog::default()
            },
            alarm: None,
            hold_check: None,
            batch_since: None,
            charge: 0,
            given: None,
            delivered_at: None,
            counts: Counts::default(),
            active_since: changed_at,
            stopped: false,
        };
        if standing != Standing::Active {
            state.health.set_standing(standing, Instant::now());
            state.backlog.route = Route::Behind;
        }
        Self {
            number,
            target,
            policy,
            told: Told::default(),
            state: Mutex::new(state),
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

    /// What was said of it lately.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// How many deliveries in memory are not settled.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.lanes.len() + state.backlog.waiting()
    }

    /// Whether every delivery in memory is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has become of its deliveries since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// How it does.
    #[must_use]
    pub fn health(&self) -> HealthState {
        self.lock().health.state()
    }

    /// In which order it gets what it gets.
    #[must_use]
    pub fn order(&self) -> Order {
        self.lock().settings.order
    }

    /// Appends deliveries of the stream, or of rows that were read, in their order.
    pub(super) fn push(
        &self,
        deliveries: impl IntoIterator<Item = (Arc<Event>, SettleToken)>,
        now: Instant,
    ) -> Next {
        let mut state = self.lock();
        let mut next = Next::default();
        state.given = Some(now);
        for (event, token) in deliveries {
            if event.origin == Origin::Stream && state.backlog.has_had(&event.position) {
                next.settled.push(Settled::new(event, Some(token)));
                continue;
            }
            state.give(Delivery::of_stream(event, token, now));
        }
        state.next(now, next)
    }

    /// A worker begins its turn: takes the token's right and the first work.
    pub(super) fn begin(&self, now: Instant) -> Next {
        let mut state = self.lock();
        state.queued = false;
        let work = state.take(now);
        state.next(
            now,
            Next {
                work,
                ..Next::default()
            },
        )
    }

    /// The alarm that was set for `at` rings: makes ready what is due, closes connections that idle.
    pub(super) fn ring(&self, at: Instant, now: Instant) -> Next {
        let mut state = self.lock();
        let mut next = Next::default();
        if state.alarm != Some(at) {
            // An earlier alarm was set after this one, has rung, and has set what was still wanted.
            return next;
        }
        state.alarm = None;
        next.changes.extend(state.advance_health(now));
        state.lanes.advance(now);
        state.slots.close_idle_since(now.checked_sub(IDLE_SLOT));
        if state.hold_check.is_some_and(|at| at <= now) {
            state.hold_check = None;
            if state.holds_back(now) {
                next.changes
                    .extend(state.spill("something of it fails, and held the confirmed LSN back"));
            }
        }
        state.next(now, next)
    }

    /// Moves what waits in memory to the backlog.
    pub(super) fn spill(&self, why: &'static str, now: Instant) -> Next {
        let mut state = self.lock();
        let changes = state.spill(why).into_iter().collect();
        state.next(
            now,
            Next {
                changes,
                ..Next::default()
            },
        )
    }

    /// Whether nothing is in its lanes, so that nothing of it will give bytes back by being delivered.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().lanes.is_empty()
    }

    /// What the choice of an endpoint to be spilled goes by.
    pub(super) fn load(&self, now: Instant) -> Load {
        let state = self.lock();
        let lately = state
            .given
            .is_some_and(|at| now.duration_since(at) < Duration::from_secs(1));
        let queued = state.backlog.leaving();
        // What waits in memory to join the lanes leaves only if it is told to.
        let (held, leaving) = if state.holds_queue() {
            (queued, 0)
        } else {
            (0, queued)
        };
        Load {
            charge: state.charge + held,
            behind: state.backlog.route == Route::Behind,
            leaving,
            failing: state.health.is_failing() || state.delivered_at.is_none(),
            starving: lately && state.lanes.is_empty() && state.backlog.waiting() == 0,
        }
    }

    /// Uses these settings from now on.
    pub(super) fn configure(&self, configured: Configured, now: Instant) -> Next {
        let Configured {
            settings,
            standing,
            changed_at,
        } = configured;
        let mut state = self.lock();
        let mut next = Next::default();
        state.active_since = state.active_since.max(changed_at);
        if settings.timeout != state.settings.timeout {
            state.slots.set_timeout(settings.timeout);
        }
        if settings.in_flight != state.settings.in_flight {
            state.window.set_limit(settings.in_flight);
        }
        if settings.order != state.lanes.order() {
            state.next_order = Some(settings.order);
            // What is queued was queued in the other order: it comes again from the backlog.
            next.changes.extend(state.spill("its order was changed"));
        } else {
            state.next_order = None;
        }
        state.settings = settings;
        if let Some(transition) = state.health.set_standing(standing, now) {
            next.changes.push(state.changed(transition));
            if standing == Standing::Active {
                state.active_since = state.active_since.max(SystemTime::now());
            } else {
                next.changes.extend(state.spill("it is paused or disabled"));
            }
        }
        state.next(now, next)
    }

    /// Whether something is still to be written to the store.
    pub(super) fn wants_store(&self) -> bool {
        self.lock().backlog.has_unwritten()
    }

    /// How many deliveries are in memory only.
    pub(super) fn len_unstored(&self) -> usize {
        let state = self.lock();
        let unstored = state
            .lanes
            .iter()
            .filter(|delivery| matches!(delivery.backing, Backing::Stream(_)));
        unstored.count() + state.backlog.waiting()
    }

    /// Lends no work any more.
    pub(super) fn stop(&self, now: Instant) -> Next {
        let mut state = self.lock();
        state.stopped = true;
        // What waits in memory to be behind its backlog is loaded no more: it goes there.
        state.backlog.hurry = !state.backlog.queue.is_empty();
        state.next(now, Next::default())
    }

    /// Breaks off the exchanges that are under way.
    pub(super) fn interrupt(&self) {
        self.lock().slots.interrupt();
    }

    /// Discards what is not in flight and what `keep` does not want any more; rows of the backlog follow.
    pub(super) fn sweep(&self, keep: &Keep, now: Instant) -> Next {
        let mut state = self.lock();
        let mut next = Next::default();
        state.sweep(self.target.url(), keep, now, &mut next.settled);
        state.next(now, next)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned outbox would wedge its endpoint for good; its lanes are consistent between their own calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts a delivery where it belongs: into the lanes, or behind the backlog.
    fn give(&mut self, delivery: Delivery) {
        match self.backlog.route {
            Route::Direct => self.admit(delivery),
            Route::Behind => self.backlog.enqueue(delivery),
        }
    }

    /// Puts a delivery into its lanes.
    fn admit(&mut self, delivery: Delivery) {
        self.charge += delivery.charge();
        let place = delivery.event.place;
        self.lanes.push(delivery, place);
    }

    fn advance_health(&mut self, now: Instant) -> Option<Change> {
        let transition = self.health.advance(now)?;
        Some(self.changed(transition))
    }

    /// A transition of the health, to be logged and recorded.
    fn changed(&mut self, transition: Transition) -> Change {
        self.counts.health_changes += 1;
        let reason = match transition.to {
            HealthState::Failing | HealthState::Outage | HealthState::Probing => self.last_error.clone(),
            _ => None,
        };
        self.backlog.record_health(transition.to, reason.clone());
        Change::Health(transition, reason)
    }

    /// Whether a delivery of the stream waits for longer than [`HOLD`] at an endpoint of which something fails.
    fn holds_back(&self, now: Instant) -> bool {
        let success = self
            .delivered_at
            .and_then(|at| at.elapsed().ok())
            .is_some_and(|ago| ago < HOLD);
        if success && self.lanes.delayed() == 0 {
            return false;
        }
        let held = |delivery: &Delivery| {
            matches!(delivery.backing, Backing::Stream(_)) && now.duration_since(delivery.since) >= HOLD
        };
        self.lanes.iter().any(held)
    }

    /// Keeps the invariant: says whether the token is to be queued, a keeper to come, and the alarm to be set.
    fn next(&mut self, now: Instant, mut next: Next) -> Next {
        self.backlog.forget_past(now);
        self.join_if_drained(now, &mut next);
        next.requeue = !self.queued && self.has_work(now);
        next.class = self.class(now);
        if next.requeue {
            self.queued = true;
            self.queued_as = next.class;
        }
        next.promote = self.queued && self.queued_as.is_doubtful() && !next.class.is_doubtful();
        next.keep = self.wants_keeper(now);
        if self.hold_check.is_none() && self.backlog.route == Route::Direct && !self.lanes.is_empty() {
            self.hold_check = Some(now + HOLD);
        }
        let next_try = self.health.left_alone_until().or_else(|| self.lanes.next_due());
        let due = [
            next_try,
            self.slots.idle_since().map(|since| since + IDLE_SLOT),
            self.hold_check,
            self.batch_is_due(now),
            self.backlog.due(),
        ];
        // Never at once: whatever is due now was dealt with just now, and an alarm that rings again and again would keep
        // those of all other endpoints from ringing.
        let soonest = now + Duration::from_millis(1);
        let wanted = due.into_iter().flatten().min().map(|at| at.max(soonest));
        let alarm = wanted.filter(|wanted| self.alarm.is_none_or(|set| *wanted < set));
        self.alarm = alarm.or(self.alarm);
        next.alarm = alarm;
        next
    }
}

#[cfg(test)]
mod tests;
