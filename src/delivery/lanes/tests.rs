use std::time::Duration;

use super::*;
use crate::event::KeySet;

mod model;
mod properties;

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

/// Everything that is ready now, each delivery alone.
fn take_all(lanes: &mut Lanes<u32>) -> Vec<Group> {
    std::iter::from_fn(|| lanes.take_one()).collect()
}

/// The next group, of all that may go together.
fn take_most(lanes: &mut Lanes<u32>) -> Group {
    lanes.take(|_| true).unwrap()
}

fn values(lanes: &Lanes<u32>, taken: &[Group]) -> Vec<u32> {
    let members = taken.iter().flat_map(Group::members);
    members.map(|member| *lanes.get(member)).collect()
}

fn sent(lanes: &Lanes<u32>, group: &Group) -> Vec<u32> {
    group.sending().map(|member| *lanes.get(member)).collect()
}

fn take_values(lanes: &mut Lanes<u32>) -> Vec<u32> {
    let taken = take_all(lanes);
    values(lanes, &taken)
}

/// All of a group is done.
fn finish(lanes: &mut Lanes<u32>, mut group: Group) -> Vec<u32> {
    std::iter::from_fn(|| lanes.done(&mut group)).collect()
}

#[test]
fn rows_go_side_by_side_and_each_row_in_order() {
    let mut lanes = Lanes::new(Order::Key);
    for (value, key) in [(1, 1), (2, 2), (3, 1), (4, 1)] {
        lanes.push(value, at(TABLE, row(key)));
    }
    let taken = take_all(&mut lanes);
    assert_eq!(values(&lanes, &taken), [1, 2]);
    for group in taken {
        finish(&mut lanes, group);
    }
    assert_eq!(take_values(&mut lanes), [3]);
}

#[test]
fn a_failed_head_holds_back_its_own_lane_until_it_is_due() {
    let start = Instant::now();
    let due = start + Duration::from_secs(1);
    let mut lanes = Lanes::new(Order::Key);
    for (value, key) in [(1, 1), (2, 1), (3, 2)] {
        lanes.push(value, at(TABLE, row(key)));
    }
    let group = lanes.take_one().unwrap();
    lanes.retry(group, due);
    assert_eq!(lanes.next_due(), Some(due));
    assert_eq!(take_values(&mut lanes), [3]);
    lanes.advance(start);
    assert!(!lanes.has_ready());
    lanes.advance(due);
    assert_eq!(take_values(&mut lanes), [1]);
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
    assert_eq!(values(&lanes, &first), [1, 2]);
    finish(&mut lanes, first.pop().unwrap());
    assert!(!lanes.has_ready());
    finish(&mut lanes, first.pop().unwrap());
    let mut second = take_all(&mut lanes);
    assert_eq!(values(&lanes, &second), [3]);
    finish(&mut lanes, second.pop().unwrap());
    assert_eq!(take_values(&mut lanes), [4, 5]);
}

#[test]
fn a_truncate_is_ordered_against_every_row_of_its_table_only() {
    let mut lanes = Lanes::new(Order::Key);
    lanes.push(1, at(TABLE, row(1)));
    lanes.push(2, at(TABLE, LaneKeys::Table));
    lanes.push(3, at(TABLE, row(9)));
    lanes.push(4, at(OTHER, row(5)));
    let mut first = take_all(&mut lanes);
    assert_eq!(values(&lanes, &first), [1, 4]);
    finish(&mut lanes, first.remove(0));
    let mut second = take_all(&mut lanes);
    assert_eq!(values(&lanes, &second), [2]);
    lanes.push(6, at(TABLE, row(10)));
    assert!(
        !lanes.has_ready(),
        "a lane opened while a truncate is in flight starts behind it"
    );
    finish(&mut lanes, second.pop().unwrap());
    assert_eq!(take_values(&mut lanes), [3, 6]);
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
        assert_eq!(values(&serial, &taken), [expected]);
        finish(&mut serial, taken.pop().unwrap());
    }
    assert_eq!(take_values(&mut unordered), [1, 2, 3, 4]);
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
    while let Some(group) = lanes.take_one() {
        finish(&mut lanes, group);
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
        assert_eq!(values(&lanes, &taken), expected);
        for group in taken {
            finish(&mut lanes, group);
        }
    }
}

#[test]
fn a_group_holds_the_changes_of_a_row_one_after_the_other() {
    let mut lanes = Lanes::new(Order::Key);
    for (value, keys) in [
        (1, row(1)),
        (2, row(2)),
        (3, row(1)),
        (4, moved(1, 2)),
        (5, row(2)),
    ] {
        lanes.push(value, at(TABLE, keys));
    }
    let group = take_most(&mut lanes);
    assert_eq!(sent(&lanes, &group), [1, 2, 3, 4, 5]);
    assert!(!lanes.has_ready());
    assert_eq!(finish(&mut lanes, group), [1, 2, 3, 4, 5]);
    assert!(lanes.is_empty());
}

#[test]
fn a_group_takes_nothing_that_another_group_holds_back() {
    let mut lanes = Lanes::new(Order::Key);
    for (value, keys) in [
        (1, row(1)),
        (2, row(2)),
        (3, moved(1, 2)),
        (4, row(2)),
        (5, LaneKeys::Table),
    ] {
        lanes.push(value, at(TABLE, keys));
    }
    let first = lanes.take_one().unwrap();
    let second = take_most(&mut lanes);
    assert_eq!(sent(&lanes, &second), [2]);
    finish(&mut lanes, first);
    assert!(lanes.take_one().is_none());
    finish(&mut lanes, second);
    let third = take_most(&mut lanes);
    assert_eq!(sent(&lanes, &third), [3, 4, 5]);
}

#[test]
fn a_group_reaches_over_a_truncate_when_it_has_all_before_it() {
    let mut lanes = Lanes::new(Order::Key);
    for (value, keys) in [
        (1, row(1)),
        (2, LaneKeys::Table),
        (3, row(1)),
        (4, row(2)),
        (5, LaneKeys::Table),
        (6, row(3)),
    ] {
        lanes.push(value, at(TABLE, keys));
    }
    let mut left = 3;
    let group = lanes
        .take(|_| {
            left -= 1;
            left > 0
        })
        .unwrap();
    assert_eq!(sent(&lanes, &group), [1, 2, 3]);
    assert!(!lanes.has_ready(), "the truncate is in flight");
    finish(&mut lanes, group);
    let group = take_most(&mut lanes);
    assert_eq!(sent(&lanes, &group), [4, 5, 6]);
    finish(&mut lanes, group);
    assert!(lanes.is_empty() && lanes.tables.is_empty() && lanes.lanes.is_empty());
}

#[test]
fn a_group_that_failed_comes_again_as_it_was() {
    let start = Instant::now();
    let mut lanes = Lanes::new(Order::Serial);
    for value in 1..=3 {
        lanes.push(value, at(TABLE, row(value.into())));
    }
    let group = take_most(&mut lanes);
    lanes.retry(group, start);
    lanes.push(4, at(TABLE, row(4)));
    assert_eq!((lanes.delayed(), lanes.ready_len(), lanes.in_flight()), (3, 0, 0));
    lanes.advance(start);
    assert_eq!((lanes.delayed(), lanes.ready_len(), lanes.in_flight()), (0, 3, 0));
    assert!(lanes.next_is_sent_once_more());
    let group = take_most(&mut lanes);
    assert_eq!((lanes.delayed(), lanes.ready_len(), lanes.in_flight()), (0, 0, 3));
    assert_eq!(sent(&lanes, &group), [1, 2, 3]);
}

#[test]
fn halves_of_a_refused_group_are_sent_until_what_is_refused_is_alone() {
    let mut lanes = Lanes::new(Order::Serial);
    for value in 1..=5 {
        lanes.push(value, at(TABLE, row(1)));
    }
    let group = take_most(&mut lanes);
    lanes.again(group);
    for sending in [vec![1, 2, 3, 4, 5], vec![1, 2, 3], vec![1, 2], vec![1]] {
        let mut group = take_most(&mut lanes);
        assert_eq!(sent(&lanes, &group), sending);
        group.bisect();
        lanes.again(group);
    }
    let mut group = take_most(&mut lanes);
    assert_eq!(lanes.done(&mut group), Some(1));
    group.rest();
    assert_eq!(sent(&lanes, &group), [2, 3, 4, 5]);
}

#[test]
fn what_is_evicted_comes_out_oldest_first_and_what_is_in_flight_stays() {
    let start = Instant::now();
    let mut lanes = Lanes::new(Order::Key);
    for (value, keys) in [
        (1, row(1)),
        (2, row(2)),
        (3, row(1)),
        (4, LaneKeys::Table),
        (5, row(5)),
    ] {
        lanes.push(value, at(TABLE, keys));
    }
    let waiting = lanes.take_one().unwrap();
    let flying = lanes.take_one().unwrap();
    lanes.retry(waiting, start);
    assert_eq!(lanes.evict(), [(0, 1), (2, 3), (3, 4), (4, 5)]);
    let member = flying.first().unwrap();
    assert_eq!(lanes.in_flight_members(), [(1, member)]);
    assert_eq!((lanes.len(), lanes.next_due(), lanes.delayed()), (1, None, 0));
    lanes.push(6, at(TABLE, row(2)));
    lanes.push(7, at(TABLE, row(3)));
    assert_eq!(take_values(&mut lanes), [7]);
    finish(&mut lanes, flying);
    assert!(!lanes.holds(member));
    assert_eq!(take_values(&mut lanes), [6]);
}

#[test]
fn a_dropped_change_of_a_key_frees_both_of_its_lanes() {
    let start = Instant::now();
    let mut lanes = Lanes::new(Order::Key);
    for (value, keys) in [
        (1, row(1)),
        (2, moved(1, 2)),
        (3, row(2)),
        (4, row(2)),
        (5, LaneKeys::Table),
    ] {
        lanes.push(value, at(TABLE, keys));
    }
    let first = lanes.take_one().unwrap();
    assert_eq!(lanes.retain(|value| *value != 2), [2]);
    let second = take_most(&mut lanes);
    assert_eq!(sent(&lanes, &second), [3, 4]);
    lanes.retry(second, start);
    assert_eq!(
        lanes.retain(|value| !matches!(value, 1 | 3)),
        [3],
        "1 is in flight"
    );
    assert_eq!(lanes.delayed(), 1);
    assert_eq!(lanes.oldest(), Some(&1));
    finish(&mut lanes, first);
    lanes.advance(start);
    let rest = take_most(&mut lanes);
    assert_eq!(sent(&lanes, &rest), [4]);
}

#[test]
fn a_change_of_keys_is_found_again_when_the_first_with_new_keys_is_dropped() {
    let mut lanes = Lanes::new(Order::Key);
    for (value, key_set) in [(1, 1), (2, 2), (3, 2)] {
        let key_set = Some(KeySet(key_set));
        let keys = row(value.into());
        lanes.push(
            value,
            Place {
                table: TABLE,
                keys,
                key_set,
            },
        );
    }
    assert_eq!(lanes.retain(|value| *value != 2), [2]);
    assert_eq!(take_values(&mut lanes), [1]);
}
