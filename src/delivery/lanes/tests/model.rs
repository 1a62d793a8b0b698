//! The rule in the plainest words: a list of all deliveries, and for each pair whether they are ordered.

use std::time::Instant;

use crate::endpoint::Order;
use crate::event::{KeySet, LaneKeys, Place};

pub(super) struct Model {
    order: Order,
    /// What is not done, in the order of its pushes.
    pub(super) entries: Vec<Single>,
    pub(super) flights: Vec<Composed>,
    /// Groups that are to be sent once more: at once, in this order,
    pub(super) again: Vec<Composed>,
    /// or when they are due.
    pub(super) failed: Vec<Composed>,
    pub(super) now: Instant,
    /// Counts the steps, to tell what has been ready longest.
    step: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Single {
    pub(super) value: u32,
    pub(super) place: Place,
    /// Its lanes, or all of them where it comes with other key columns.
    keys: LaneKeys,
    /// Of this delivery or, where it has none, of those before it.
    newest_key_set: Option<KeySet>,
    ready_since: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Composed {
    pub(super) members: Vec<u32>,
    pub(super) sending: usize,
    pub(super) due: Option<Instant>,
    ready_since: Option<usize>,
}

impl Composed {
    pub(super) fn rest(&mut self) {
        self.sending = self.members.len();
    }

    fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let sent = self.members[..self.sending].iter();
        self.sending = sent.filter(|value| keep(**value)).count();
        self.members.retain(|value| keep(*value));
        if self.sending == 0 {
            self.rest();
        }
    }
}

fn touched(keys: LaneKeys) -> Vec<u64> {
    match keys {
        LaneKeys::Row(key) => vec![key.0],
        LaneKeys::Moved(from, to) => vec![from.0, to.0],
        LaneKeys::Table => vec![],
    }
}

fn share_a_lane(a: LaneKeys, b: LaneKeys) -> bool {
    touched(a).iter().any(|key| touched(b).contains(key))
}

impl Model {
    pub(super) fn new(order: Order, now: Instant) -> Self {
        Self {
            order,
            entries: Vec::new(),
            flights: Vec::new(),
            again: Vec::new(),
            failed: Vec::new(),
            now,
            step: 0,
        }
    }

    pub(super) fn push(&mut self, value: u32, place: Place) {
        let of_table = self
            .entries
            .iter()
            .filter(|entry| entry.place.table == place.table);
        // What is done is remembered for as long as its table has anything that is not.
        let newest = of_table.filter_map(|entry| entry.newest_key_set).next_back();
        let other_keys = newest.is_some() && place.key_set.is_some() && newest != place.key_set;
        self.entries.push(Single {
            value,
            place,
            keys: if other_keys { LaneKeys::Table } else { place.keys },
            newest_key_set: place.key_set.or(newest),
            ready_since: None,
        });
    }

    /// Whether two deliveries are ordered here. It may be more than they need to be.
    fn conflict(&self, a: &Single, b: &Single) -> bool {
        match self.order {
            Order::Serial => true,
            Order::Unordered => false,
            Order::Key => {
                let whole = a.keys == LaneKeys::Table || b.keys == LaneKeys::Table;
                a.place.table == b.place.table && (whole || share_a_lane(a.keys, b.keys))
            }
        }
    }

    /// Whether two deliveries have to be ordered.
    pub(super) fn must_be_ordered(&self, a: Place, b: Place) -> bool {
        match self.order {
            Order::Serial => true,
            Order::Unordered => false,
            Order::Key => {
                let other_keys = a.key_set.is_some() && b.key_set.is_some() && a.key_set != b.key_set;
                let whole = a.keys == LaneKeys::Table || b.keys == LaneKeys::Table;
                a.table == b.table && (whole || other_keys || share_a_lane(a.keys, b.keys))
            }
        }
    }

    /// Whether nothing but `members` is before a delivery that is in no group.
    pub(super) fn is_free(&self, value: u32, members: &[u32]) -> bool {
        let index = self.index(value);
        let entry = &self.entries[index];
        let mut before = self.entries[..index].iter();
        !self.is_grouped(value)
            && before.all(|before| !self.conflict(before, entry) || members.contains(&before.value))
    }

    pub(super) fn ready_singles(&self) -> Vec<u32> {
        let values = self.entries.iter().map(|entry| entry.value);
        values.filter(|&value| self.is_free(value, &[])).collect()
    }

    pub(super) fn due(&self) -> impl Iterator<Item = &Composed> {
        self.failed
            .iter()
            .filter(|group| group.due.is_some_and(|due| due <= self.now))
    }

    pub(super) fn ready_len(&self) -> usize {
        let groups = self.again.iter().chain(self.due());
        self.ready_singles().len() + groups.map(|group| group.members.len()).sum::<usize>()
    }

    pub(super) fn delayed(&self) -> usize {
        let all: usize = self.failed.iter().map(|group| group.members.len()).sum();
        all - self.due().map(|group| group.members.len()).sum::<usize>()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.failed.iter().filter_map(|group| group.due);
        waiting.filter(|due| *due > self.now).min()
    }

    pub(super) fn in_flight(&self) -> Vec<u32> {
        let values = self.entries.iter().map(|entry| entry.value);
        values.filter(|&value| self.is_in_flight(value)).collect()
    }

    pub(super) fn is_in_flight(&self, value: u32) -> bool {
        self.flights.iter().any(|group| group.members.contains(&value))
    }

    fn is_grouped(&self, value: u32) -> bool {
        let groups = self.flights.iter().chain(&self.again).chain(&self.failed);
        groups.into_iter().any(|group| group.members.contains(&value))
    }

    fn index(&self, value: u32) -> usize {
        let mut values = self.entries.iter().map(|entry| entry.value);
        values.position(|other| other == value).expect("it is not done")
    }

    /// Checks what was handed out, of at most `limit` unless it is sent once more, and remembers it.
    pub(super) fn check_taken(&mut self, members: Vec<u32>, sending: usize, limit: usize) {
        let taken = |group: &Composed| group.members == members && group.sending == sending;
        let longest = self.longest_ready();
        if !self.again.is_empty() {
            assert!(taken(&self.again[0]), "{members:?} before {:?}", self.again);
            self.again.remove(0);
        } else if let Some(index) = self.failed.iter().position(taken) {
            let group = self.failed.remove(index);
            assert!(group.due <= Some(self.now));
            assert_eq!(group.ready_since, longest);
        } else {
            assert_eq!(self.entries[self.index(members[0])].ready_since, longest);
            for (count, &value) in members.iter().enumerate() {
                assert!(self.is_free(value, &members[..count]), "{value} of {members:?}");
                assert!(!members[..count].contains(&value));
            }
            assert!(members.len() <= limit && sending == members.len());
            // A group that is due ends the search.
            if members.len() < limit && self.due().next().is_none() {
                let mut left = self.entries.iter().map(|entry| entry.value);
                let more = left.find(|value| !members.contains(value) && self.is_free(*value, &members));
                assert_eq!(more, None, "could go with {members:?}");
            }
        }
        self.flights.push(Composed {
            members,
            sending,
            due: None,
            ready_since: None,
        });
    }

    /// The first of a flight is done: nothing that has to be before it is left.
    pub(super) fn done(&mut self, flight: usize) -> u32 {
        let group = &mut self.flights[flight];
        let value = group.members.remove(0);
        group.sending -= 1;
        let entry = self.entries.remove(self.index(value));
        for other in &self.entries {
            let overtaken = other.value < value && self.must_be_ordered(other.place, entry.place);
            assert!(!overtaken, "{value} before {}", other.value);
        }
        value
    }

    /// Takes out what is not in flight and fails `keep`.
    pub(super) fn take_out(&mut self, keep: impl Fn(u32) -> bool) -> Vec<Single> {
        let entries = std::mem::take(&mut self.entries);
        let (stay, out): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| self.is_in_flight(entry.value) || keep(entry.value));
        if out.is_empty() {
            self.entries = stay;
            return out;
        }
        for entry in stay {
            self.push(entry.value, entry.place);
            self.entries.last_mut().unwrap().ready_since = entry.ready_since;
        }
        for groups in [&mut self.again, &mut self.failed] {
            groups.iter_mut().for_each(|group| group.retain(&keep));
            groups.retain(|group| !group.members.is_empty());
        }
        out
    }

    /// Ends a step: notes what has become ready with it.
    pub(super) fn end_step(&mut self) {
        self.step += 1;
        let ready = self.ready_singles();
        for entry in &mut self.entries {
            let since = *entry.ready_since.get_or_insert(self.step);
            entry.ready_since = ready.contains(&entry.value).then_some(since);
        }
        for group in &mut self.failed {
            if group.due.is_some_and(|due| due <= self.now) {
                group.ready_since.get_or_insert(self.step);
            }
        }
    }

    fn longest_ready(&self) -> Option<usize> {
        let singles = self.entries.iter().filter_map(|entry| entry.ready_since);
        let groups = self.failed.iter().filter_map(|group| group.ready_since);
        singles.chain(groups).min()
    }
}
