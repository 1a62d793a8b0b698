//! Health by example, and random histories of it against a naive model.

use proptest::prelude::*;

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

/// What may happen to an endpoint.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Work is lent, as much as is permitted and at most so many requests.
    Lend(usize),
    /// One of those in flight, by its number, succeeds, is refused or fails.
    Succeed(usize, bool),
    Refuse(usize, bool),
    Fail {
        which: usize,
        waiting: usize,
        random: f64,
    },
    /// Time passes and the alarm rings.
    Pass(u64),
    RetryAfter(u64),
    Drained,
    Stand(Standing),
}

fn any_event() -> impl Strategy<Value = Event> {
    let which = || 0..64_usize;
    prop_oneof![
        4 => (1..5_usize).prop_map(Event::Lend),
        1 => (which(), any::<bool>()).prop_map(|(which, behind)| Event::Succeed(which, behind)),
        1 => (which(), any::<bool>()).prop_map(|(which, behind)| Event::Refuse(which, behind)),
        8 => (which(), 1..20_usize, 0.0..1.0_f64)
            .prop_map(|(which, waiting, random)| Event::Fail { which, waiting, random }),
        6 => prop_oneof![4 => 0..1_500_u64, 1 => 0..400_000_u64].prop_map(Event::Pass),
        1 => (0..30_000_u64).prop_map(Event::RetryAfter),
        1 => Just(Event::Drained),
        1 => prop_oneof![
            2 => Just(Standing::Active),
            1 => Just(Standing::Paused),
            1 => Just(Standing::Disabled)
        ]
        .prop_map(Event::Stand),
    ]
}

/// The history of an endpoint, remembered as a whole and looked up in full each time.
struct Model {
    health: Health,
    start: Instant,
    now: Instant,
    standing: Standing,
    /// When each request in flight was lent, and its place among all that were lent.
    in_flight: Vec<usize>,
    lent: usize,
    /// The times of the failures since the last success.
    failures: Vec<Instant>,
    /// So many requests were lent when the last time of being left alone began.
    lent_before_rest: usize,
    /// The waits for probes since the last outage began.
    waits: Vec<Duration>,
    pause: Option<Instant>,
}

impl Model {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            health: Health::new(now),
            start: now,
            now,
            standing: Standing::Active,
            in_flight: Vec::new(),
            lent: 0,
            failures: Vec::new(),
            lent_before_rest: 0,
            waits: Vec::new(),
            pause: None,
        }
    }

    fn apply(&mut self, event: Event) -> Result<(), TestCaseError> {
        let before = self.health.state();
        let since = self.health.since();
        let said = match event {
            Event::Lend(requests) => self.lend(requests)?,
            Event::Succeed(which, behind) if self.take(which).is_some() => self.answered(behind, false)?,
            Event::Refuse(which, behind) if self.take(which).is_some() => self.answered(behind, true)?,
            Event::Fail {
                which,
                waiting,
                random,
            } => match self.take(which) {
                Some(number) => self.failed(number, waiting, random)?,
                None => return Ok(()),
            },
            Event::Succeed(..) | Event::Refuse(..) => return Ok(()),
            Event::Pass(time) => {
                self.now += Duration::from_millis(time);
                self.pause = self.pause.filter(|until| *until > self.now);
                self.health.advance(self.now)
            }
            Event::RetryAfter(time) => {
                let until = self.now + Duration::from_millis(time);
                self.pause = self.pause.max(Some(until));
                self.health.pause_until(until);
                None
            }
            Event::Drained => self.health.drained(self.now),
            Event::Stand(standing) => self.stand(standing),
        };
        self.check_transition(before, since, said)?;
        self.check_permission()
    }

    fn take(&mut self, which: usize) -> Option<usize> {
        (!self.in_flight.is_empty()).then(|| self.in_flight.remove(which % self.in_flight.len()))
    }

    fn lend(&mut self, requests: usize) -> Result<Option<Transition>, TestCaseError> {
        for _ in 0..requests {
            match self.health.permission(self.in_flight.len()) {
                Permission::Not => break,
                Permission::OneProbe => prop_assert!(self.in_flight.is_empty(), "a second probe"),
                Permission::Free => {}
            }
            self.health.lent();
            self.in_flight.push(self.lent);
            self.lent += 1;
        }
        Ok(None)
    }

    fn answered(&mut self, behind: bool, refused: bool) -> Result<Option<Transition>, TestCaseError> {
        self.failures.clear();
        self.waits.clear();
        let said = if refused {
            self.health.refused(behind, self.now)
        } else {
            self.health.succeeded(behind, self.now)
        };
        if self.standing == Standing::Active {
            let expected = if behind { Draining } else { Healthy };
            prop_assert_eq!(self.health.state(), expected);
        }
        prop_assert_eq!(self.health.left_alone_until(), self.pause);
        prop_assert!(!self.health.is_failing() && !self.health.is_tried_singly());
        Ok(said)
    }

    fn failed(
        &mut self,
        number: usize,
        waiting: usize,
        random: f64,
    ) -> Result<Option<Transition>, TestCaseError> {
        let before = self.health.state();
        let singly = self.health.is_tried_singly();
        let alone = self.health.left_alone_until();
        self.failures.push(self.now);
        let said = self.health.failed(waiting, self.now, random, seconds);
        prop_assert_eq!(self.health.consecutive_failures() as usize, self.failures.len());
        if self.standing != Standing::Active || (singly && number < self.lent_before_rest) {
            prop_assert_eq!(said, None, "it says nothing new");
            prop_assert_eq!(self.health.left_alone_until(), alone);
            return Ok(said);
        }
        let lasting = self.failures.len() >= 3 && self.now - self.failures[0] >= OUTAGE_AFTER;
        let expected = match before {
            Probing => Outage,
            _ if lasting => Outage,
            _ if self.failures.len() >= 3 => Failing,
            other => other,
        };
        prop_assert_eq!(self.health.state(), expected);
        let rests = expected == Outage || singly || (self.failures.len() >= 8 && waiting >= 8);
        if rests {
            self.lent_before_rest = self.lent;
            prop_assert_eq!(self.health.permission(0), Permission::Not);
        }
        prop_assert_eq!(self.health.is_tried_singly(), rests);
        if expected == Outage {
            let until = self.health.left_alone_until().unwrap();
            if before != Probing {
                self.waits.clear();
            }
            if self.pause.is_none() {
                self.check_wait(until - self.now)?;
            }
            self.waits.push(until - self.now);
        }
        Ok(said)
    }

    fn check_wait(&self, wait: Duration) -> Result<(), TestCaseError> {
        let bound = FIRST_PROBE
            .saturating_mul(2_u32.saturating_pow(self.waits.len() as u32))
            .min(LONGEST_PROBE_INTERVAL);
        prop_assert!(wait <= bound && wait >= bound / 2, "{wait:?} of {bound:?}");
        Ok(())
    }

    fn stand(&mut self, standing: Standing) -> Option<Transition> {
        if standing != Standing::Active || self.standing != Standing::Active {
            self.pause = None;
            self.waits.clear();
            self.lent_before_rest = self.lent;
        }
        self.standing = standing;
        self.health.set_standing(standing, self.now)
    }

    fn check_transition(
        &self,
        before: HealthState,
        since: Instant,
        said: Option<Transition>,
    ) -> Result<(), TestCaseError> {
        let after = self.health.state();
        match said {
            Some(Transition { from, to, .. }) => {
                prop_assert_eq!((from, to), (before, after));
                prop_assert!(from.leads_to(to), "{} does not lead to {}", from, to);
                prop_assert_eq!(self.health.since(), self.now);
            }
            None => {
                prop_assert_eq!(before, after, "a change was not said");
                prop_assert_eq!(since, self.health.since());
            }
        }
        Ok(())
    }

    fn check_permission(&self) -> Result<(), TestCaseError> {
        let stands = match self.health.state() {
            Paused => Standing::Paused,
            Disabled => Standing::Disabled,
            _ => Standing::Active,
        };
        prop_assert_eq!(stands, self.standing);
        for in_flight in [0, 1, 50] {
            let permission = self.health.permission(in_flight);
            let nothing = self.standing != Standing::Active || self.health.left_alone_until().is_some();
            let expected = match (nothing, self.health.is_tried_singly(), in_flight) {
                (true, ..) => Permission::Not,
                (false, false, _) => Permission::Free,
                (false, true, 0) => Permission::OneProbe,
                (false, true, _) => Permission::Not,
            };
            prop_assert_eq!(permission, expected);
        }
        prop_assert_eq!(self.health.is_failing(), !self.failures.is_empty());
        prop_assert!(self.health.left_alone_until() >= self.pause);
        // Nobody is left alone for ever.
        if let Some(until) = self.health.left_alone_until() {
            prop_assert!(until - self.start < (self.now - self.start) + LONGEST_PROBE_INTERVAL + SECOND);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_history_keeps_to_the_model(events in prop::collection::vec(any_event(), 1..200)) {
        let mut model = Model::new();
        for event in events {
            model.apply(event)?;
        }
        // Whatever has happened: once it is wanted, and time has passed, it is tried, and one success is enough.
        model.apply(Event::Stand(Standing::Active))?;
        model.apply(Event::Pass(400_000))?;
        while !model.in_flight.is_empty() {
            model.apply(Event::Fail { which: 0, waiting: 9, random: 0.5 })?;
        }
        model.apply(Event::Pass(400_000))?;
        model.apply(Event::Lend(1))?;
        prop_assert_eq!(model.in_flight.len(), 1, "nothing is tried");
        model.apply(Event::Succeed(0, false))?;
        prop_assert_eq!(model.health.state(), Healthy);
        prop_assert_eq!(model.health.permission(50), Permission::Free);
    }

    #[test]
    fn probes_are_never_further_apart_than_the_longest_interval(number in any::<u32>(), random in 0.0..1.0_f64) {
        let interval = probe_interval(number, random);
        prop_assert!(interval <= LONGEST_PROBE_INTERVAL && interval >= FIRST_PROBE / 2);
    }
}
