//! Random histories against a naive model.

use proptest::prelude::*;

use super::*;

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
