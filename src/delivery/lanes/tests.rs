use std::time::Duration;

use proptest::prelude::*;

use super::*;

const TABLE: TableKey = TableKey(100);
const OTHER: TableKey = TableKey(200);

fn row(key: u64) -> LaneKeys {
    LaneKeys::Row(LaneKey(key))
}

fn moved(from: u64, to: u64) -> LaneKeys {
    LaneKeys::Moved(LaneKey(from), LaneKey(to))
}

fn at(table: TableKey, keys: LaneKeys) -> Place {
    Place {
        table,
        keys,
        key_set: None,
    }
}

/// Everything that is ready now.
fn take_all(lanes: &mut Lanes<u32>) -> Vec<(Ticket, u32)> {
    std::iter::from_fn(|| lanes.take()).collect()
}

fn values(taken: &[(Ticket, u32)]) -> Vec<u32> {
    taken.iter().map(|(_, value)| *value).collect()
}

#[test]
fn rows_go_side_by_side_and_each_row_in_order() {
    let mut lanes = Lanes::new(Order::Key);
    for (value, key) in [(1, 1), (2, 2), (3, 1), (4, 1)] {
        lanes.push(value, at(TABLE, row(key)));
    }
    let taken = take_all(&mut lanes);
    assert_eq!(values(&taken), [1, 2]);
    for (ticket, _) in taken {
        lanes.done(ticket);
    }
    assert_eq!(values(&take_all(&mut lanes)), [3]);
}

#[test]
fn a_failed_head_holds_back_its_own_lane_until_it_is_due() {
    let start = Instant::now();
    let due = start + Duration::from_secs(1);
    let mut lanes = Lanes::new(Order::Key);
    for (value, key) in [(1, 1), (2, 1), (3, 2)] {
        lanes.push(value, at(TABLE, row(key)));
    }
    let (ticket, value) = lanes.take().unwrap();
    lanes.retry(ticket, value, due);
    assert_eq!(lanes.next_due(), Some(due));
    assert_eq!(values(&take_all(&mut lanes)), [3]);
    lanes.advance(start);
    assert!(!lanes.has_ready());
    lanes.advance(due);
    assert_eq!(values(&take_all(&mut lanes)), [1]);
}

#[test]
fn a_moved_row_waits_for_both_lanes_and_holds_both() {
    let mut lanes = Lanes::new(Order::Key);
    lanes.push(1, at(TABLE, row(1)));
    lanes.push(2, at(TABLE, row(2)));
    lanes.push(3, at(TABLE, moved(1, 2)));
    lanes.push(4, at(TABLE, row(1)));
    lanes.push(5, at(TABLE, row(2)));
    let mut first = take_all(&mut lanes);
    assert_eq!(values(&first), [1, 2]);
    lanes.done(first.pop().unwrap().0);
    assert!(!lanes.has_ready());
    lanes.done(first.pop().unwrap().0);
    let mut second = take_all(&mut lanes);
    assert_eq!(values(&second), [3]);
    lanes.done(second.pop().unwrap().0);
    assert_eq!(values(&take_all(&mut lanes)), [4, 5]);
}

#[test]
fn a_truncate_is_ordered_against_every_row_of_its_table_only() {
    let mut lanes = Lanes::new(Order::Key);
    lanes.push(1, at(TABLE, row(1)));
    lanes.push(2, at(TABLE, LaneKeys::Table));
    lanes.push(3, at(TABLE, row(9)));
    lanes.push(4, at(OTHER, row(5)));
    let mut first = take_all(&mut lanes);
    assert_eq!(values(&first), [1, 4]);
    lanes.done(first.remove(0).0);
    let mut second = take_all(&mut lanes);
    assert_eq!(values(&second), [2]);
    lanes.push(6, at(TABLE, row(10)));
    assert!(
        !lanes.has_ready(),
        "a lane opened while a truncate is in flight starts behind it"
    );
    lanes.done(second.pop().unwrap().0);
    assert_eq!(values(&take_all(&mut lanes)), [3, 6]);
}

#[test]
fn serial_has_one_lane_and_unordered_none() {
    let mut serial = Lanes::new(Order::Serial);
    let mut unordered = Lanes::new(Order::Unordered);
    for (value, keys) in [(1, row(1)), (2, row(2)), (3, LaneKeys::Table), (4, row(1))] {
        serial.push(value, at(TABLE, keys));
        unordered.push(value, at(OTHER, keys));
    }
    for expected in 1..=4 {
        let mut taken = take_all(&mut serial);
        assert_eq!(values(&taken), [expected]);
        serial.done(taken.pop().unwrap().0);
    }
    assert_eq!(values(&take_all(&mut unordered)), [1, 2, 3, 4]);
}

#[test]
fn nothing_is_left_behind_when_everything_is_done() {
    let mut lanes = Lanes::new(Order::Key);
    for value in 0..100_u32 {
        let keys = match value % 10 {
            0 => LaneKeys::Table,
            1 => moved(u64::from(value), 3),
            _ => row(u64::from(value % 7)),
        };
        lanes.push(value, at(TABLE, keys));
    }
    while let Some((ticket, _)) = lanes.take() {
        lanes.done(ticket);
    }
    assert!(lanes.is_empty());
    assert!(lanes.lanes.is_empty() && lanes.tables.is_empty() && lanes.delayed.is_empty());
}

#[test]
fn the_first_change_with_other_key_columns_is_ordered_against_every_row() {
    let mut lanes = Lanes::new(Order::Key);
    for (value, key, key_set) in [(1, 1, 1), (2, 2, 2), (3, 3, 2), (4, 4, 2)] {
        lanes.push(
            value,
            Place {
                table: TABLE,
                keys: row(key),
                key_set: Some(KeySet(key_set)),
            },
        );
    }
    for expected in [vec![1], vec![2], vec![3, 4]] {
        let taken = take_all(&mut lanes);
        assert_eq!(values(&taken), expected);
        for (ticket, _) in taken {
            lanes.done(ticket);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        table: bool,
        keys: LaneKeys,
        key_set: Option<KeySet>,
    },
    Take,
    Done(usize),
    Retry(usize, u64),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = prop_oneof![
        6 => (0..5_u64).prop_map(row),
        2 => (0..5_u64, 0..5_u64).prop_map(|(from, to)| moved(from, to)),
        1 => Just(LaneKeys::Table),
    ];
    let key_sets = prop_oneof![9 => Just(KeySet(1)), 1 => Just(KeySet(2))];
    let places = prop_oneof![
        20 => (keys, key_sets).prop_map(|(keys, key_set)| (keys, Some(key_set))),
        // Only a TRUNCATE does not say what the key is.
        1 => Just((LaneKeys::Table, None)),
    ];
    prop_oneof![
        4 => (any::<bool>(), places).prop_map(|(table, (keys, key_set))| Step::Push { table, keys, key_set }),
        4 => Just(Step::Take),
        3 => any::<usize>().prop_map(Step::Done),
        1 => (any::<usize>(), 0..3_u64).prop_map(|(choice, after)| Step::Retry(choice, after)),
        2 => Just(Step::Tick),
    ]
}

/// The rule in the plainest words: a list of all deliveries, and for each pair whether they are ordered.
#[derive(Default)]
struct Model {
    entries: Vec<ModelEntry>,
}

struct ModelEntry {
    value: u32,
    table: TableKey,
    keys: LaneKeys,
    /// Of this delivery or, where it has none, of those before it.
    newest_key_set: Option<KeySet>,
    in_flight: bool,
    due: Option<Instant>,
}

impl Model {
    fn push(&mut self, order: Order, value: u32, place: Place) {
        let Place {
            table,
            mut keys,
            key_set,
        } = place;
        let of_table = self.entries.iter().filter(|entry| entry.table == table);
        // What is done is remembered for as long as its table has anything that is not.
        let newest = of_table.filter_map(|entry| entry.newest_key_set).next_back();
        if order == Order::Key && newest.is_some() && key_set.is_some() && newest != key_set {
            keys = LaneKeys::Table;
        }
        let newest_key_set = key_set.or(newest);
        self.entries.push(ModelEntry {
            value,
            table,
            keys,
            newest_key_set,
            in_flight: false,
            due: None,
        });
    }

    fn conflict(order: Order, a: &ModelEntry, b: &ModelEntry) -> bool {
        let touched = |keys| match keys {
            LaneKeys::Row(key) => vec![key],
            LaneKeys::Moved(from, to) => vec![from, to],
            LaneKeys::Table => vec![],
        };
        match order {
            Order::Serial => true,
            Order::Unordered => false,
            Order::Key => {
                a.table == b.table
                    && (a.keys == LaneKeys::Table
                        || b.keys == LaneKeys::Table
                        || touched(a.keys).iter().any(|key| touched(b.keys).contains(key)))
            }
        }
    }

    /// What may be handed out at `now`.
    fn ready(&self, order: Order, now: Instant) -> Vec<u32> {
        let free = |index: usize| {
            let entry: &ModelEntry = &self.entries[index];
            let held = self.entries[..index]
                .iter()
                .any(|before| Self::conflict(order, before, entry));
            !entry.in_flight && !held && entry.due.is_none_or(|due| due <= now)
        };
        (0..self.entries.len())
            .filter(|&index| free(index))
            .map(|index| self.entries[index].value)
            .collect()
    }

    fn entry(&mut self, value: u32) -> &mut ModelEntry {
        self.entries
            .iter_mut()
            .find(|entry| entry.value == value)
            .unwrap()
    }
}

proptest! {
    #[test]
    fn agrees_with_the_naive_model(
        order in prop_oneof![4 => Just(Order::Key), 1 => Just(Order::Serial), 1 => Just(Order::Unordered)],
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut lanes = Lanes::new(order);
        let mut model = Model::default();
        let mut in_flight: Vec<(Ticket, u32)> = Vec::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Push { table, keys, key_set } => {
                    let table = if table { TABLE } else { OTHER };
                    // Lane keys are hashes over the table too, so tables never share one.
                    let salt = |key: LaneKey| LaneKey(key.0 + table.0);
                    let keys = match keys {
                        LaneKeys::Row(key) => LaneKeys::Row(salt(key)),
                        LaneKeys::Moved(from, to) => LaneKeys::Moved(salt(from), salt(to)),
                        LaneKeys::Table => LaneKeys::Table,
                    };
                    lanes.push(next, Place { table, keys, key_set });
                    model.push(order, next, Place { table, keys, key_set });
                    next += 1;
                }
                Step::Take => {
                    let ready = model.ready(order, now);
                    let taken = lanes.take();
                    prop_assert_eq!(taken.is_some(), !ready.is_empty());
                    if let Some((ticket, value)) = taken {
                        prop_assert!(ready.contains(&value), "{} of {:?}", value, ready);
                        model.entry(value).in_flight = true;
                        in_flight.push((ticket, value));
                    }
                }
                Step::Done(choice) if !in_flight.is_empty() => {
                    let (ticket, value) = in_flight.swap_remove(choice % in_flight.len());
                    lanes.done(ticket);
                    model.entries.retain(|entry| entry.value != value);
                }
                Step::Retry(choice, after) if !in_flight.is_empty() => {
                    let (ticket, value) = in_flight.swap_remove(choice % in_flight.len());
                    let due = now + Duration::from_secs(after);
                    lanes.retry(ticket, value, due);
                    lanes.advance(now);
                    let entry = model.entry(value);
                    entry.in_flight = false;
                    entry.due = Some(due);
                }
                Step::Tick => {
                    now += Duration::from_secs(1);
                    lanes.advance(now);
                }
                Step::Done(_) | Step::Retry(..) => {}
            }
            prop_assert_eq!(lanes.len(), model.entries.len());
            prop_assert_eq!(lanes.has_ready(), !model.ready(order, now).is_empty());
        }
        // Whatever is left comes out, each once, and nothing deadlocks.
        for (ticket, value) in in_flight {
            lanes.done(ticket);
            model.entries.retain(|entry| entry.value != value);
        }
        lanes.advance(now + Duration::from_secs(10));
        while let Some((ticket, value)) = lanes.take() {
            prop_assert!(model.ready(order, now + Duration::from_secs(10)).contains(&value));
            lanes.done(ticket);
            model.entries.retain(|entry| entry.value != value);
        }
        prop_assert!(lanes.is_empty() && model.entries.is_empty());
    }
}
