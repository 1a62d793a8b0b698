//! Health by example.

mod model;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The n-th rest is n seconds long.
fn seconds(rest: u32) -> Duration {
    rest * SECOND
}

/// An endpoint with a clock that is moved by hand.
struct Endpoint {
    health: Health,
    now: Instant,
}

impl Endpoint {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            health: Health::new(now),
            now,
        }
    }

    /// One that has failed with many rows at one time.
    fn with_many_failures() -> Self {
        let mut endpoint = Self::new();
        for _ in 1..MANY {
            endpoint.fails();
        }
        endpoint
    }

    /// One in an outage that has just begun.
    fn in_outage() -> Self {
        let mut endpoint = Self::new();
        endpoint.fails();
        endpoint.fails();
        endpoint.passes(OUTAGE_AFTER);
        let transition = endpoint.fails();
        assert_eq!(
            transition.map(|transition| transition.to),
            Some(HealthState::Outage)
        );
        endpoint
    }

    fn fails(&mut self) -> Option<Transition> {
        self.fails_while_waiting(1)
    }

    fn fails_while_waiting(&mut self, waiting: usize) -> Option<Transition> {
        self.health.lent();
        self.straggler_fails(waiting)
    }

    /// What was lent before fails now.
    fn straggler_fails(&mut self, waiting: usize) -> Option<Transition> {
        self.health.failed(waiting, self.now, 1.0, seconds)
    }

    fn succeeds(&mut self, behind: bool) -> Option<Transition> {
        self.health.lent();
        self.health.succeeded(behind, self.now)
    }

    fn passes(&mut self, time: Duration) -> Option<Transition> {
        self.now += time;
        self.health.advance(self.now)
    }

    fn left_alone_for(&self) -> Option<Duration> {
        self.health
            .left_alone_until()
            .map(|until| until.saturating_duration_since(self.now))
    }
}

fn transition(from: HealthState, to: HealthState, failures: u32) -> Option<Transition> {
    Some(Transition { from, to, failures })
}

use HealthState::{Disabled, Draining, Failing, Healthy, Outage, Paused, Probing};

#[test]
fn a_few_failures_are_said_once_and_so_is_the_recovery() {
    let mut endpoint = Endpoint::new();
    let said: Vec<_> = (0..5).map(|_| endpoint.fails()).collect();
    assert_eq!(said, [None, None, transition(Healthy, Failing, 3), None, None]);
    assert_eq!(endpoint.succeeds(false), transition(Failing, Healthy, 5));
    assert_eq!((endpoint.fails(), endpoint.succeeds(false)), (None, None));
}

#[test]
fn a_refusal_shows_that_the_endpoint_works() {
    let mut endpoint = Endpoint::in_outage();
    assert_eq!(
        endpoint.health.refused(false, endpoint.now),
        transition(Outage, Healthy, 3)
    );
    assert!(!endpoint.health.is_failing());
    assert_eq!(endpoint.health.permission(3), Permission::Free);
}

#[test]
fn rests_only_where_many_rows_failed_and_nothing_succeeded() {
    let many = MANY as usize;
    let mut few_rows = Endpoint::with_many_failures();
    few_rows.fails_while_waiting(many - 1);
    assert_eq!(few_rows.left_alone_for(), None);
    let mut alive = Endpoint::with_many_failures();
    alive.succeeds(false);
    alive.fails_while_waiting(many);
    assert_eq!(alive.left_alone_for(), None);
    let mut down = Endpoint::with_many_failures();
    down.fails_while_waiting(many);
    assert_eq!(down.left_alone_for(), Some(SECOND));
    assert_eq!(down.health.permission(0), Permission::Not);
    assert_eq!(down.health.state(), Failing);
}

#[test]
fn after_a_rest_one_request_is_made_until_a_success() {
    let mut endpoint = Endpoint::with_many_failures();
    endpoint.fails_while_waiting(60);
    for rest in 2..=4 {
        endpoint.passes(endpoint.left_alone_for().unwrap());
        assert_eq!(endpoint.health.permission(0), Permission::OneProbe);
        assert_eq!(endpoint.health.permission(1), Permission::Not);
        // Each rest that did not help is followed by a longer one.
        endpoint.fails_while_waiting(1);
        assert_eq!(endpoint.left_alone_for(), Some(rest * SECOND));
    }
    endpoint.succeeds(false);
    assert_eq!(endpoint.health.permission(1), Permission::Free);
    for _ in 0..MANY {
        endpoint.fails_while_waiting(60);
    }
    assert_eq!(endpoint.left_alone_for(), Some(SECOND), "rests begin anew");
}

#[test]
fn what_was_in_flight_when_a_rest_began_does_not_lengthen_it() {
    let mut endpoint = Endpoint::with_many_failures();
    endpoint.fails_while_waiting(60);
    for _ in 0..30 {
        endpoint.straggler_fails(60);
    }
    assert_eq!(endpoint.left_alone_for(), Some(SECOND));
    endpoint.passes(SECOND);
    for _ in 0..30 {
        endpoint.straggler_fails(60);
    }
    assert_eq!(endpoint.left_alone_for(), None);
}

#[test]
fn lasting_failures_are_an_outage_however_few() {
    let mut endpoint = Endpoint::new();
    endpoint.fails();
    endpoint.fails();
    endpoint.passes(OUTAGE_AFTER - Duration::from_millis(1));
    assert_eq!(endpoint.fails(), transition(Healthy, Failing, 3));
    endpoint.passes(Duration::from_millis(1));
    assert_eq!(endpoint.fails(), transition(Failing, Outage, 4));
    assert_eq!(endpoint.health.since(), endpoint.now);
    // One that hangs fails once in ten seconds.
    let mut hanging = Endpoint::new();
    let said: Vec<_> = (0..3)
        .map(|_| {
            hanging.passes(10 * SECOND);
            hanging.fails()
        })
        .collect();
    assert_eq!(said, [None, None, transition(Healthy, Outage, 3)]);
    // And one that takes something now and then has none.
    let mut shaky = Endpoint::new();
    for _ in 0..100 {
        shaky.passes(9 * SECOND);
        shaky.fails();
        shaky.fails();
        shaky.succeeds(false);
    }
    assert_eq!(shaky.health.state(), Healthy);
}

#[test]
fn an_outage_is_probed_at_growing_intervals_and_ends_with_one_success() {
    let mut endpoint = Endpoint::in_outage();
    let mut waits = Vec::new();
    for _ in 0..11 {
        let wait = endpoint.left_alone_for().unwrap();
        assert_eq!(endpoint.health.permission(0), Permission::Not);
        waits.push(wait.as_secs());
        assert_eq!(endpoint.passes(wait - Duration::from_millis(1)), None);
        let failures = endpoint.health.consecutive_failures();
        assert_eq!(
            endpoint.passes(Duration::from_millis(1)),
            transition(Outage, Probing, failures)
        );
        assert_eq!(endpoint.health.permission(0), Permission::OneProbe);
        assert_eq!(endpoint.health.permission(1), Permission::Not);
        assert_eq!(endpoint.fails(), transition(Probing, Outage, failures + 1));
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    endpoint.passes(LONGEST_PROBE_INTERVAL);
    assert_eq!(endpoint.succeeds(true), transition(Probing, Draining, 14));
    assert_eq!(endpoint.health.permission(40), Permission::Free);
    assert_eq!(
        endpoint.health.drained(endpoint.now),
        transition(Draining, Healthy, 0)
    );
    assert_eq!(endpoint.health.drained(endpoint.now), None);
}

#[test]
fn what_was_in_flight_when_an_outage_began_may_end_it_and_does_not_lengthen_it() {
    let mut endpoint = Endpoint::in_outage();
    assert_eq!(endpoint.straggler_fails(60), None);
    assert_eq!(endpoint.left_alone_for(), Some(SECOND));
    endpoint.passes(SECOND);
    assert_eq!(endpoint.straggler_fails(60), None);
    assert_eq!(endpoint.health.state(), Probing);
    // The probe waits for it: one request at a time means one.
    assert_eq!(endpoint.health.permission(1), Permission::Not);
    assert_eq!(endpoint.health.permission(0), Permission::OneProbe);
    assert_eq!(
        endpoint.health.succeeded(false, endpoint.now),
        transition(Probing, Healthy, 5)
    );
}

#[test]
fn a_backlog_of_an_endpoint_that_works_is_drained_at_once() {
    let mut endpoint = Endpoint::new();
    assert_eq!(endpoint.succeeds(true), transition(Healthy, Draining, 0));
    assert_eq!(endpoint.succeeds(true), None);
    assert_eq!((endpoint.fails(), endpoint.fails()), (None, None));
    assert_eq!(endpoint.fails(), transition(Draining, Failing, 3));
    assert_eq!(endpoint.health.drained(endpoint.now), None);
    assert_eq!(endpoint.succeeds(true), transition(Failing, Draining, 3));
}

#[test]
fn a_pause_that_was_asked_for_outlasts_a_success() {
    let mut endpoint = Endpoint::new();
    endpoint.health.pause_until(endpoint.now + 2 * SECOND);
    endpoint.health.pause_until(endpoint.now + SECOND);
    endpoint.succeeds(false);
    assert_eq!(endpoint.left_alone_for(), Some(2 * SECOND));
    assert_eq!(endpoint.health.permission(0), Permission::Not);
    endpoint.passes(2 * SECOND);
    assert_eq!(endpoint.left_alone_for(), None);
    assert_eq!(endpoint.health.permission(0), Permission::Free);
}

#[test]
fn nothing_is_permitted_while_paused_or_disabled() {
    for (standing, stopped) in [(Standing::Paused, Paused), (Standing::Disabled, Disabled)] {
        let mut endpoint = Endpoint::in_outage();
        let now = endpoint.now;
        assert_eq!(
            endpoint.health.set_standing(standing, now),
            transition(Outage, stopped, 3)
        );
        assert_eq!(endpoint.health.set_standing(standing, now), None);
        endpoint.passes(3600 * SECOND);
        assert_eq!(endpoint.health.permission(0), Permission::Not);
        assert_eq!((endpoint.straggler_fails(9), endpoint.fails()), (None, None));
        assert_eq!(endpoint.health.state(), stopped);
        assert_eq!(
            endpoint.health.set_standing(Standing::Active, endpoint.now),
            transition(stopped, Probing, 5)
        );
        assert_eq!(endpoint.health.permission(0), Permission::OneProbe);
        // Its intervals begin anew.
        assert_eq!(endpoint.fails(), transition(Probing, Outage, 6));
        assert_eq!(endpoint.left_alone_for(), Some(FIRST_PROBE));
    }
}

#[test]
fn one_that_works_goes_on_after_a_pause_and_is_probed_after_it_was_gone() {
    for (standing, stopped, then) in [
        (Standing::Paused, Paused, Healthy),
        (Standing::Disabled, Disabled, Probing),
    ] {
        let mut endpoint = Endpoint::new();
        let now = endpoint.now;
        endpoint.health.pause_until(now + SECOND);
        endpoint.health.set_standing(standing, now);
        // What was in flight is answered meanwhile.
        assert_eq!(endpoint.health.succeeded(true, now), None);
        assert_eq!(
            endpoint.health.set_standing(Standing::Active, now),
            transition(stopped, then, 0)
        );
        assert_ne!(endpoint.health.permission(0), Permission::Not);
    }
    let mut endpoint = Endpoint::new();
    assert_eq!(endpoint.health.set_standing(Standing::Active, endpoint.now), None);
}
