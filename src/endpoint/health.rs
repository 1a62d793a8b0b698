//! How an endpoint does, and when it is left alone. Pure: time is an argument.
//!
//! # Rest
//!
//! Each delivery that failed waits on its own. But where many rows fail one after the other and nothing succeeds, it
//! is the endpoint that is down, and each row asking on its own would keep the machine busy with nothing. Then the
//! endpoint rests as a whole and is tried with one request; each rest that did not help is followed by a longer one, and
//! one success ends it. A refusal (400 and the like) is about a row and shows that the endpoint works: it is no failure
//! in this sense.
//!
//! Apart from that the receiver may have asked to be left alone (`Retry-After`): that pause no success ends.

use std::time::{Duration, Instant};

/// So many failures in a row, with as many deliveries waiting for their next try, are the endpoint's, not a row's.
const MANY: usize = 8;
/// So many failures in a row are said to be the endpoint's; fewer happen to everyone.
const FAILING_AFTER: usize = 3;

/// The health of one endpoint.
#[derive(Debug, Default)]
pub struct Health {
    /// Failures since the last success.
    failures: usize,
    /// Until when nothing is tried, since nothing has succeeded.
    rest: Option<Instant>,
    /// Rests since the last success.
    rests: u32,
    /// Until when the receiver has asked to be left alone.
    pause: Option<Instant>,
}

/// A change of an endpoint's health, to be logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthChange {
    /// It has begun to fail.
    Failing,
    /// It has answered again, after so many failures.
    Recovered(usize),
}

impl Health {
    /// A delivery was made.
    pub fn succeeded(&mut self) -> Option<HealthChange> {
        let failures = std::mem::take(&mut self.failures);
        self.rest = None;
        self.rests = 0;
        (failures >= FAILING_AFTER).then_some(HealthChange::Recovered(failures))
    }

    /// An attempt failed.
    pub fn failed(&mut self) -> Option<HealthChange> {
        self.failures = self.failures.saturating_add(1);
        (self.failures == FAILING_AFTER).then_some(HealthChange::Failing)
    }

    /// Has the endpoint rest if many rows have failed, of which `waiting` wait for their next try, and nothing has
    /// succeeded. `length` gives the length of the n-th rest in a row (the first is 1). Says whether a rest began.
    pub fn rest_if_down(
        &mut self,
        waiting: usize,
        now: Instant,
        length: impl FnOnce(u32) -> Duration,
    ) -> bool {
        // What was in flight when the rest began says nothing new.
        let down = self.rest.is_none() && self.failures >= MANY && waiting >= MANY;
        if down {
            self.rests = self.rests.saturating_add(1);
            self.rest = Some(now + length(self.rests));
        }
        down
    }

    /// The receiver asks to be left alone until then.
    pub fn pause_until(&mut self, until: Instant) {
        self.pause = self.pause.max(Some(until));
    }

    /// Ends what is over at `now`.
    pub fn advance(&mut self, now: Instant) {
        self.rest = self.rest.filter(|until| *until > now);
        self.pause = self.pause.filter(|until| *until > now);
    }

    /// Until when nothing is tried at all, if it is left alone.
    #[must_use]
    pub fn left_alone_until(&self) -> Option<Instant> {
        self.rest.max(self.pause)
    }

    /// Whether it has failed since its last success.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn down() -> Health {
        let mut health = Health::default();
        for _ in 0..MANY {
            health.failed();
        }
        health
    }

    #[test]
    fn a_few_failures_are_said_once_and_so_is_the_recovery() {
        let mut health = Health::default();
        let changes: Vec<_> = (0..5).map(|_| health.failed()).collect();
        assert_eq!(changes, [None, None, Some(HealthChange::Failing), None, None]);
        assert_eq!(health.succeeded(), Some(HealthChange::Recovered(5)));
        assert_eq!((health.failed(), health.succeeded()), (None, None));
    }

    #[test]
    fn rests_only_where_many_rows_failed_and_nothing_succeeded() {
        let now = Instant::now();
        let length = |_| SECOND;
        assert!(!down().rest_if_down(MANY - 1, now, length), "few rows");
        let mut alive = down();
        alive.succeeded();
        assert!(!alive.rest_if_down(MANY, now, length), "it has answered");
        assert!(down().rest_if_down(MANY, now, length));
    }

    #[test]
    fn what_was_in_flight_when_a_rest_began_does_not_lengthen_it() {
        let now = Instant::now();
        let mut health = down();
        assert!(health.rest_if_down(MANY, now, |rest| rest * SECOND));
        for _ in 0..60 {
            health.failed();
            assert!(!health.rest_if_down(60, now, |rest| rest * SECOND));
        }
        assert_eq!(health.left_alone_until(), Some(now + SECOND));
    }

    #[test]
    fn rests_that_do_not_help_become_longer_until_a_success() {
        let mut now = Instant::now();
        let mut health = down();
        for rest in 1..=3 {
            assert!(health.rest_if_down(MANY, now, |rest| rest * SECOND));
            assert_eq!(health.left_alone_until(), Some(now + rest * SECOND));
            now += rest * SECOND;
            health.advance(now);
            assert_eq!(health.left_alone_until(), None);
            health.failed();
        }
        health.succeeded();
        for _ in 0..MANY {
            health.failed();
        }
        assert!(health.rest_if_down(MANY, now, |rest| rest * SECOND));
        assert_eq!(health.left_alone_until(), Some(now + SECOND));
    }

    #[test]
    fn a_pause_that_was_asked_for_outlasts_a_success() {
        let now = Instant::now();
        let mut health = down();
        health.pause_until(now + 2 * SECOND);
        health.pause_until(now + SECOND);
        health.succeeded();
        assert_eq!(health.left_alone_until(), Some(now + 2 * SECOND));
        health.advance(now + 2 * SECOND);
        assert_eq!(health.left_alone_until(), None);
    }
}
