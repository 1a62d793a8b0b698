//! How an endpoint does, and how much it is asked. Pure: time is an argument, and so is randomness.
//!
//! # States
//!
//! ```text
//!                   ┌────────────── success ──────────────┐
//!  healthy ─► failing ─► outage ─► probing ─► draining ─► healthy
//!                           ▲          │
//!                           └─ failure ┘            any ─► paused, disabled ─► probing
//! ```
//!
//! A few failures happen to everyone. More in a row make an endpoint *failing*: each delivery that failed waits on its
//! own. When nothing has succeeded for a while, that is an *outage*: the endpoint is left alone as a whole, and *probed*
//! with one request at growing intervals. One success ends it; the endpoint is *draining* while it has a backlog, and
//! *healthy* without one. A refusal (400 and the like) is about a row and shows that the endpoint works: it ends an
//! outage like a success. An endpoint that was paused or disabled, and has not answered well last, is probed first.
//!
//! # Rest
//!
//! Where many rows fail one after the other and nothing succeeds, each row asking on its own would keep the machine busy
//! with nothing long before that is an outage. Then the endpoint rests as a whole and is tried with one request; each
//! rest that did not help is followed by a longer one, and one success ends it.
//!
//! What was in flight when an outage or a rest began says nothing new when it fails, and does not make it longer.
//!
//! Apart from that the receiver may have asked to be left alone (`Retry-After`): that pause no success ends.

mod state;

use std::time::{Duration, Instant};

pub use state::{HealthState, Transition};

use super::model::Standing;

/// So many failures in a row are said to be the endpoint's; fewer happen to everyone.
const FAILING_AFTER: u32 = 3;
/// So many failures in a row, with as many deliveries waiting for their next try, are the endpoint's, not a row's.
const MANY: u32 = 8;
/// So many failures in a row are an outage, where they span [`OUTAGE_AFTER`]. They are few, since an endpoint that hangs
/// fails as rarely as its requests time out.
const OUTAGE_FAILURES: u32 = 3;
/// The time from the first failure in a row to the one that makes it an outage.
const OUTAGE_AFTER: Duration = Duration::from_secs(10);
/// The time from the beginning of an outage to its first probe.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// The longest time between two probes.
const LONGEST_PROBE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The health of one endpoint.
#[derive(Debug)]
pub struct Health {
    state: HealthState,
    /// When the state began.
    since: Instant,
    /// Failures since the last success.
    failures: u32,
    /// When the first of them came.
    first_failure: Option<Instant>,
    /// Until when nothing is tried, since nothing has succeeded: a rest, or the wait for a probe.
    rest: Option<Instant>,
    /// Rests since the last success, or probes waited for since the outage began.
    rests: u32,
    /// Whether a request was lent since the last rest ended. A failure without one is of what was in flight before.
    tried: bool,
    /// Until when the receiver has asked to be left alone.
    pause: Option<Instant>,
}

/// How much an endpoint may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// As much as its window lets through.
    Free,
    /// One request, to see whether it works. None is in flight.
    OneProbe,
    /// Nothing.
    Not,
}

impl Health {
    /// The health of an endpoint that nothing is known of at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            state: HealthState::Healthy,
            since: now,
            failures: 0,
            first_failure: None,
            rest: None,
            rests: 0,
            tried: false,
            pause: None,
        }
    }

    /// How it does.
    #[must_use]
    pub fn state(&self) -> HealthState {
        self.state
    }

    /// Since when it does so.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether its last outcome was a failure.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether it takes what it gets, apart from a failure now and then.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self.state, HealthState::Healthy | HealthState::Draining)
    }

    /// Whether it gets anything at all: it is neither paused nor disabled.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        !self.is_stopped()
    }

    /// Failures since the last success.
    #[must_use]
    pub fn consecutive_failures(&self) -> u32 {
        self.failures
    }

    /// How much it may be asked now, with so many requests in flight. Whoever lends a request then says so by
    /// [`lent`](Self::lent).
    #[must_use]
    pub fn permission(&self, in_flight: usize) -> Permission {
        if self.is_stopped() || self.left_alone_until().is_some() {
            Permission::Not
        } else if !self.is_tried_singly() {
            Permission::Free
        } else if in_flight == 0 {
            Permission::OneProbe
        } else {
            Permission::Not
        }
    }

    /// Whether it is left alone or tried with one request at a time: in an outage, and from a rest on until a success.
    #[must_use]
    pub fn is_tried_singly(&self) -> bool {
        self.rests > 0 || matches!(self.state, HealthState::Outage | HealthState::Probing)
    }

    /// A request was lent to a worker.
    pub fn lent(&mut self) {
        self.tried = true;
    }

    /// A delivery was made. `behind` says whether the endpoint has a backlog.
    pub fn succeeded(&mut self, behind: bool, now: Instant) -> Option<Transition> {
        let failures = self.forget_failures();
        if self.is_stopped() {
            return None;
        }
        let to = if behind {
            HealthState::Draining
        } else {
            HealthState::Healthy
        };
        self.shift(to, failures, now)
    }

    /// A delivery was refused for good: that is about its row, and shows that the endpoint works.
    pub fn refused(&mut self, behind: bool, now: Instant) -> Option<Transition> {
        self.succeeded(behind, now)
    }

    /// An attempt failed, and `waiting` deliveries wait for their next try, this one included.
    ///
    /// `rest` gives the length of the n-th rest in a row (the first is 1); `random`, in `[0, 1)`, spreads the probes.
    pub fn failed(
        &mut self,
        waiting: usize,
        now: Instant,
        random: f64,
        rest: impl FnOnce(u32) -> Duration,
    ) -> Option<Transition> {
        self.failures = self.failures.saturating_add(1);
        let since_first = now.saturating_duration_since(*self.first_failure.get_or_insert(now));
        let says_nothing_new = self.is_tried_singly() && (self.rest.is_some() || !self.tried);
        if self.is_stopped() || says_nothing_new {
            return None;
        }
        let lasting = self.failures >= OUTAGE_FAILURES && since_first >= OUTAGE_AFTER;
        if lasting || self.state == HealthState::Probing {
            return self.begin_outage(now, random);
        }
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        if self.rests > 0 || (self.failures >= MANY && waiting >= MANY) {
            self.rests = self.rests.saturating_add(1);
            self.rest_until(now + rest(self.rests));
        }
        if self.failures >= FAILING_AFTER {
            self.shift(HealthState::Failing, self.failures, now)
        } else {
            None
        }
    }

    /// Nothing is left of the backlog.
    pub fn drained(&mut self, now: Instant) -> Option<Transition> {
        if self.state == HealthState::Draining {
            self.shift(HealthState::Healthy, self.failures, now)
        } else {
            None
        }
    }

    /// The receiver asks to be left alone until then.
    pub fn pause_until(&mut self, until: Instant) {
        self.pause = self.pause.max(Some(until));
    }

    /// Until when nothing is tried at all, if it is left alone for a time.
    #[must_use]
    pub fn left_alone_until(&self) -> Option<Instant> {
        self.rest.max(self.pause)
    }

    /// Ends what is over at `now`; a probe that is due is permitted from then on.
    pub fn advance(&mut self, now: Instant) -> Option<Transition> {
        self.pause = self.pause.filter(|until| *until > now);
        self.rest = self.rest.filter(|until| *until > now);
        if self.state == HealthState::Outage && self.rest.is_none() {
            self.shift(HealthState::Probing, self.failures, now)
        } else {
            None
        }
    }

    /// An operator, or a 410, decides about the endpoint.
    ///
    /// One that is active again is not waited for any more: it is tried at once, with one request unless its last
    /// outcome was a success.
    pub fn set_standing(&mut self, standing: Standing, now: Instant) -> Option<Transition> {
        let to = match standing {
            Standing::Paused => HealthState::Paused,
            Standing::Disabled => HealthState::Disabled,
            Standing::Active if !self.is_stopped() => return None,
            Standing::Active if self.state == HealthState::Paused && self.failures == 0 => {
                HealthState::Healthy
            }
            Standing::Active => HealthState::Probing,
        };
        self.rest = None;
        self.rests = 0;
        self.tried = false;
        self.pause = None;
        self.shift(to, self.failures, now)
    }

    fn is_stopped(&self) -> bool {
        matches!(self.state, HealthState::Paused | HealthState::Disabled)
    }

    fn begin_outage(&mut self, now: Instant, random: f64) -> Option<Transition> {
        if self.state != HealthState::Probing {
            self.rests = 0;
        }
        self.rests = self.rests.saturating_add(1);
        self.rest_until(now + probe_interval(self.rests, random));
        self.shift(HealthState::Outage, self.failures, now)
    }

    fn rest_until(&mut self, until: Instant) {
        self.rest = Some(until);
        self.tried = false;
    }

    fn forget_failures(&mut self) -> u32 {
        self.first_failure = None;
        self.rest = None;
        self.rests = 0;
        std::mem::take(&mut self.failures)
    }

    fn shift(&mut self, to: HealthState, failures: u32, now: Instant) -> Option<Transition> {
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return None;
        }
        self.since = now;
        Some(Transition { from, to, failures })
    }
}

/// The time to the n-th probe of an outage (the first is 1): it doubles up to its maximum, of which at least half is
/// waited. `random` is in `[0, 1)`.
fn probe_interval(number: u32, random: f64) -> Duration {
    let doublings = number.saturating_sub(1).min(31);
    let bound = FIRST_PROBE
        .saturating_mul(1 << doublings)
        .min(LONGEST_PROBE_INTERVAL);
    bound.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
