//! Lanes against the naive model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::model::Model;
use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Push(Place),
    Take(usize),
    /// What was sent arrives.
    Deliver(usize),
    Refuse(usize),
    Retry(usize, u64),
    Tick,
    /// Everything that is not in flight is taken out, and perhaps comes back.
    Evict {
        back: bool,
    },
    /// Drops those whose number has this remainder.
    Drop(u32),
}

/// The two tables' lanes have the same names, as if their hashes collided.
fn place() -> impl Strategy<Value = Place> {
    let keys = prop_oneof![
        6 => (0..5_u64).prop_map(row),
        2 => (0..5_u64, 0..5_u64).prop_map(|(from, to)| moved(from, to)),
        1 => Just(LaneKeys::Table),
    ];
    let key_sets = prop_oneof![9 => Just(KeySet(1)), 1 => Just(KeySet(2))];
    let keys = prop_oneof![
        20 => (keys, key_sets).prop_map(|(keys, key_set)| (keys, Some(key_set))),
        // Only a TRUNCATE does not say what the key is.
        1 => Just((LaneKeys::Table, None)),
    ];
    (prop_oneof![Just(TABLE), Just(OTHER)], keys).prop_map(|(table, (keys, key_set))| Place {
        table,
        keys,
        key_set,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => place().prop_map(Step::Push),
        20 => prop_oneof![Just(1), 2..12_usize].prop_map(Step::Take),
        15 => any::<usize>().prop_map(Step::Deliver),
        10 => any::<usize>().prop_map(Step::Refuse),
        10 => (any::<usize>(), 0..3_u64).prop_map(|(choice, after)| Step::Retry(choice, after)),
        10 => Just(Step::Tick),
        1 => any::<bool>().prop_map(|back| Step::Evict { back }),
        3 => (0..4_u32).prop_map(Step::Drop),
    ]
}

fn orders() -> impl Strategy<Value = Order> {
    prop_oneof![4 => Just(Order::Key), 1 => Just(Order::Serial), 1 => Just(Order::Unordered)]
}

/// The lanes and the model, side by side.
struct Pair {
    lanes: Lanes<u32>,
    model: Model,
    /// The groups of the model's flights.
    groups: Vec<Group>,
    pushed: u32,
    /// What has left, one way or another.
    gone: BTreeSet<u32>,
}

impl Pair {
    fn new(order: Order) -> Self {
        Self {
            lanes: Lanes::new(order),
            model: Model::new(order, Instant::now()),
            groups: Vec::new(),
            pushed: 0,
            gone: BTreeSet::new(),
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Push(place) => {
                self.lanes.push(self.pushed, place);
                self.model.push(self.pushed, place);
                self.pushed += 1;
            }
            Step::Take(limit) => {
                self.take(limit);
            }
            Step::Deliver(choice) => self.with_group(choice, |pair, flight| {
                for _ in 0..pair.groups[flight].sending_len() {
                    pair.done(flight);
                }
                pair.send_rest(flight);
            }),
            Step::Refuse(choice) => self.with_group(choice, Self::refuse),
            Step::Retry(choice, after) => self.with_group(choice, |pair, flight| {
                let due = pair.model.now + Duration::from_secs(after);
                let (group, mut composed) = (pair.groups.remove(flight), pair.model.flights.remove(flight));
                composed.due = Some(due);
                pair.model.failed.push(composed);
                pair.lanes.retry(group, due);
                pair.lanes.advance(pair.model.now);
            }),
            Step::Tick => {
                self.model.now += Duration::from_secs(1);
                self.lanes.advance(self.model.now);
            }
            Step::Evict { back } => self.evict(back),
            Step::Drop(remainder) => {
                let keep = |value: u32| value % 4 != remainder;
                let dropped = self.lanes.retain(|value| keep(*value));
                let expected: Vec<u32> = self
                    .model
                    .take_out(keep)
                    .iter()
                    .map(|entry| entry.value)
                    .collect();
                assert_eq!(dropped, expected);
                self.gone.extend(dropped);
            }
        }
        self.model.end_step();
        self.compare();
    }

    fn with_group(&mut self, choice: usize, act: impl FnOnce(&mut Self, usize)) {
        if !self.groups.is_empty() {
            act(self, choice % self.groups.len());
        }
    }

    fn take(&mut self, limit: usize) -> bool {
        let expected = self.model.ready_len() > 0;
        let mut left = limit;
        let taken = self.lanes.take(|_| {
            left -= 1;
            left > 0
        });
        assert_eq!(taken.is_some(), expected);
        if let Some(group) = taken {
            let members = group.members().map(|member| *self.lanes.get(member)).collect();
            self.model.check_taken(members, group.sending_len(), limit);
            self.groups.push(group);
        }
        expected
    }

    fn done(&mut self, flight: usize) {
        let value = self.lanes.done(&mut self.groups[flight]).unwrap();
        assert_eq!(value, self.model.done(flight));
        assert!(self.gone.insert(value), "{value} twice");
    }

    fn send_rest(&mut self, flight: usize) {
        self.groups[flight].rest();
        self.model.flights[flight].rest();
        self.send_again(flight);
    }

    fn send_again(&mut self, flight: usize) {
        self.lanes.again(self.groups.remove(flight));
        let composed = self.model.flights.remove(flight);
        if !composed.members.is_empty() {
            self.model.again.push(composed);
        }
    }

    fn refuse(&mut self, flight: usize) {
        if self.groups[flight].sending_len() > 1 {
            self.groups[flight].bisect();
            let sending = &mut self.model.flights[flight].sending;
            *sending = sending.div_ceil(2);
            self.send_again(flight);
        } else {
            self.done(flight);
            self.send_rest(flight);
        }
    }

    fn evict(&mut self, back: bool) {
        let order: Vec<u32> = self.model.entries.iter().map(|entry| entry.value).collect();
        let evicted = self.lanes.evict();
        let flying = self.lanes.in_flight_members();
        let mut merged: BTreeMap<u64, u32> = evicted.iter().copied().collect();
        merged.extend(
            flying
                .iter()
                .map(|(arrival, member)| (*arrival, *self.lanes.get(*member))),
        );
        assert!(merged.into_values().eq(order));
        let out = self.model.take_out(|_| false);
        assert!(
            evicted
                .iter()
                .map(|(_, value)| *value)
                .eq(out.iter().map(|entry| entry.value))
        );
        for entry in out {
            if back {
                self.lanes.push(entry.value, entry.place);
                self.model.push(entry.value, entry.place);
            } else {
                self.gone.insert(entry.value);
            }
        }
    }

    fn compare(&self) {
        let (lanes, model) = (&self.lanes, &self.model);
        assert_eq!(lanes.len(), model.entries.len());
        assert_eq!(lanes.ready_len(), model.ready_len());
        assert_eq!(lanes.has_ready(), model.ready_len() > 0);
        assert_eq!(lanes.delayed(), model.delayed());
        assert_eq!(lanes.next_due(), model.next_due());
        assert!(lanes.iter().eq(model.entries.iter().map(|entry| &entry.value)));
        assert_eq!(lanes.oldest(), lanes.iter().next());
        let flying = lanes.in_flight_members();
        let flying: Vec<u32> = flying.iter().map(|(_, member)| *lanes.get(*member)).collect();
        assert_eq!(flying, model.in_flight());
        assert_eq!(lanes.in_flight(), flying.len());
    }

    /// Every exchange succeeds from now on: whatever is left comes out, and nothing deadlocks.
    fn drain(&mut self) {
        while !self.groups.is_empty() {
            self.apply(Step::Deliver(0));
        }
        for _ in 0..3 {
            self.apply(Step::Tick);
        }
        while self.take(4) {
            self.apply(Step::Deliver(0));
        }
        assert!(self.gone.iter().copied().eq(0..self.pushed));
        let lanes = &self.lanes;
        assert!(lanes.is_empty() && lanes.failed.is_empty() && lanes.candidates.is_empty());
        assert!(lanes.lanes.is_empty() && lanes.tables.is_empty());
        assert_eq!(lanes.counts, Counts::default());
    }
}

proptest! {
    #[test]
    fn agrees_with_the_naive_model(
        order in orders(),
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let mut pair = Pair::new(order);
        steps.into_iter().for_each(|step| pair.apply(step));
        pair.drain();
    }

    #[test]
    fn bisection_finds_what_is_refused_and_nothing_else(
        order in orders(),
        places in proptest::collection::vec((place(), prop::bool::weighted(0.2)), 0..60),
        size in 1..20_usize,
    ) {
        let mut pair = Pair::new(order);
        for (place, _) in &places {
            pair.apply(Step::Push(*place));
        }
        let mut refused = Vec::new();
        while pair.take(size) {
            let sent: Vec<u32> = pair.groups[0].sending().map(|member| *pair.lanes.get(member)).collect();
            let fails = sent.iter().any(|value| places[*value as usize].1);
            if fails && sent.len() == 1 {
                refused.extend(sent);
            }
            // The order of each row is checked with each that is done.
            pair.apply(if fails { Step::Refuse(0) } else { Step::Deliver(0) });
        }
        pair.drain();
        refused.sort_unstable();
        let poisoned: Vec<u32> = (0..).zip(&places).filter(|(_, (_, poisoned))| *poisoned).map(|(value, _)| value).collect();
        prop_assert_eq!(refused, poisoned);
    }
}
