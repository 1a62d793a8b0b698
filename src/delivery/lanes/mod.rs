//! The lanes of one endpoint: which deliveries may be in flight, and in which order. Pure: time is an argument.
//!
//! # The invariant
//!
//! Of two deliveries that touch a common lane, the one pushed first is done before the second is handed out, unless
//! both are handed out in one [`Group`], the first before the second. A delivery that touches the whole table touches
//! every lane of it, also those opened later. Nothing else is ordered: every delivery that this rule does not hold
//! back is ready.
//!
//! The first delivery whose lanes are made of other key columns than those of the delivery before it in its table, as
//! after an `ALTER TABLE`, touches the whole table: its lanes cannot be compared with theirs.
//!
//! So a delivery that failed holds back its own lanes only, and a change of a key holds back both of its rows.
//!
//! # Groups
//!
//! What is handed out is a group, of one delivery or of several. A group that failed waits as a whole and is handed out
//! again as the same group, so that a receiver that knows it can recognise it. Values stay here while they are handed
//! out; a [`Member`] leads to them.
//!
//! What an exchange of a group says is recorded so:
//!
//! | outcome | calls |
//! |---|---|
//! | delivered | [`Lanes::done`] for each of [`Group::sending`], then, if some are left, [`Group::rest`] and [`Lanes::again`] |
//! | may work later | [`Lanes::retry`] |
//! | refused, several sent | [`Group::bisect`] and [`Lanes::again`] |
//! | refused, one sent | [`Lanes::done`], then, if some are left, [`Group::rest`] and [`Lanes::again`] |
//!
//! # How
//!
//! Each lane is a linked list through the deliveries themselves, so that a lane costs no allocation; a delivery is
//! ready when it is at the head of each lane it touches. What touches a whole table cuts its lanes into eras: a
//! delivery is linked to those of its own era only, and an era opens when the one before it is done.

mod entries;
mod fill;
mod group;
mod sweep;
mod table;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque, hash_map};
use std::time::Instant;

use slab::Slab;

use crate::endpoint::Order;
use crate::event::{LaneKey, LaneKeys, Place, TableKey};
use entries::{Entries, Link, State};
use fill::Candidate;
pub use group::{Group, Member};
use table::Table;

/// The deliveries of one endpoint that are not done.
#[derive(Debug)]
pub struct Lanes<T> {
    order: Order,
    entries: Entries<T>,
    /// The last delivery of each lane. Hashes of rows of two tables may collide, so the table is named too.
    lanes: HashMap<(TableKey, LaneKey), Link>,
    tables: HashMap<TableKey, Table>,
    /// What may be handed out, that which is ready longest first.
    ready: VecDeque<Ready>,
    /// What is handed out before that.
    again: VecDeque<Group>,
    /// The groups that failed and were not handed out again.
    failed: Slab<Group>,
    /// Those of them that wait for their next try.
    delayed: BinaryHeap<Reverse<(Instant, usize)>>,
    /// What may join the group that is being put together; empty between calls.
    candidates: BinaryHeap<Reverse<Candidate>>,
    counts: Counts,
}

#[derive(Debug, Clone, Copy)]
enum Ready {
    One(usize),
    /// A group of `failed` that is due.
    Group(usize),
}

/// How many deliveries are in which state.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    ready: usize,
    delayed: usize,
    in_flight: usize,
}

impl<T> Lanes<T> {
    /// No deliveries yet.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self {
            order,
            entries: Entries::new(),
            lanes: HashMap::new(),
            tables: HashMap::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            failed: Slab::new(),
            delayed: BinaryHeap::new(),
            candidates: BinaryHeap::new(),
            counts: Counts::default(),
        }
    }

    /// What is ordered against what.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Appends a delivery.
    pub fn push(&mut self, value: T, place: Place) {
        let mut place = match self.order {
            Order::Serial => Place {
                table: TableKey(0),
                keys: LaneKeys::Row(LaneKey(0)),
                key_set: None,
            },
            Order::Key | Order::Unordered => place,
        };
        if let LaneKeys::Moved(from, to) = place.keys
            && from == to
        {
            place.keys = LaneKeys::Row(to);
        }
        let id = self.entries.push(value, place);
        self.enter(id);
    }

    /// Hands out what has been ready longest: a delivery alone, or a group that is sent once more.
    pub fn take_one(&mut self) -> Option<Group> {
        let group = match self.again.pop_front() {
            Some(group) => group,
            None => match self.ready.pop_front()? {
                Ready::One(id) => Group::of(self.entries.member(id)),
                Ready::Group(number) => self.failed.remove(number),
            },
        };
        self.counts.ready -= group.len();
        self.counts.in_flight += group.len();
        self.set_state(&group, State::InFlight);
        Some(group)
    }

    /// Whether a group that is sent once more is the next to be handed out. It stays as it is: nothing is gained by
    /// waiting until it could be fuller.
    #[must_use]
    pub fn next_is_sent_once_more(&self) -> bool {
        !self.again.is_empty() || matches!(self.ready.front(), Some(Ready::Group(_)))
    }

    /// The value of the delivery that a new group would begin with; nothing if the next group is sent once more.
    #[must_use]
    pub fn next_of_new_group(&self) -> Option<&T> {
        match self.ready.front() {
            Some(&Ready::One(id)) if self.again.is_empty() => Some(&self.entries[id].value),
            _ => None,
        }
    }

    /// The value of a delivery that is not done.
    ///
    /// # Panics
    ///
    /// If it is done, or was taken out.
    #[must_use]
    pub fn get(&self, member: Member) -> &T {
        assert!(self.holds(member), "a delivery that is done has no value");
        &self.entries[member.id].value
    }

    /// The value of a delivery that is not done.
    ///
    /// # Panics
    ///
    /// If it is done, or was taken out.
    #[must_use]
    pub fn get_mut(&mut self, member: Member) -> &mut T {
        assert!(self.holds(member), "a delivery that is done has no value");
        &mut self.entries[member.id].value
    }

    /// Whether a delivery is neither done nor taken out.
    #[must_use]
    pub fn holds(&self, member: Member) -> bool {
        self.entries.contains(member)
    }

    /// The first delivery of a group that was handed out is settled: it leaves the group, and its lanes move on.
    /// Returns its value; nothing if the group is empty.
    pub fn done(&mut self, group: &mut Group) -> Option<T> {
        let Member { id, .. } = group.pop()?;
        self.counts.in_flight -= 1;
        Some(self.leave(id))
    }

    /// A group that was handed out failed: it keeps its composition and its place, and is ready again at `due`. An
    /// empty group is nothing.
    pub fn retry(&mut self, group: Group, due: Instant) {
        let Some(group) = self.take_back(group) else {
            return;
        };
        self.counts.delayed += group.len();
        self.delayed.push(Reverse((due, self.failed.insert(group))));
    }

    /// A group that was handed out is to be sent once more at once, before anything else. An empty group is nothing.
    pub fn again(&mut self, group: Group) {
        let Some(group) = self.take_back(group) else {
            return;
        };
        self.counts.ready += group.len();
        self.again.push_back(group);
    }

    /// Makes ready what is due at `now`.
    pub fn advance(&mut self, now: Instant) {
        while let Some(Reverse((due, number))) = self.delayed.peek().copied()
            && due <= now
        {
            self.delayed.pop();
            let len = self.failed[number].len();
            self.counts.delayed -= len;
            self.counts.ready += len;
            self.ready.push_back(Ready::Group(number));
        }
    }

    /// When the next group that waits for its next try is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse((due, _))| *due)
    }

    /// How many deliveries are in groups that wait for their next try.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.counts.delayed
    }

    /// Whether anything is ready.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.counts.ready > 0
    }

    /// How many deliveries are ready, those in groups that are sent once more included. What only waits for another
    /// one, and could join its group, is not.
    #[must_use]
    pub fn ready_len(&self) -> usize {
        self.counts.ready
    }

    /// How many deliveries are not done, those in flight included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many deliveries are in groups that are handed out, those that are not sent next included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.counts.in_flight
    }

    /// The deliveries in groups that are handed out, with their arrival numbers, oldest first.
    #[must_use]
    pub fn in_flight_members(&self) -> Vec<(u64, Member)> {
        let in_flight = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::InFlight);
        in_flight
            .map(|(id, entry)| (entry.arrival, self.entries.member(id)))
            .collect()
    }

    /// The delivery that was pushed longest ago of those that are not done.
    #[must_use]
    pub fn oldest(&self) -> Option<&T> {
        self.entries.oldest().map(|id| &self.entries[id].value)
    }

    /// All deliveries that are not done, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, entry)| &entry.value)
    }

    /// What was handed out waits now; nothing if the group is empty.
    fn take_back(&mut self, mut group: Group) -> Option<Group> {
        if group.is_empty() {
            return None;
        }
        group.never_idle();
        self.counts.in_flight -= group.len();
        self.set_state(&group, State::Waiting);
        Some(group)
    }

    fn set_state(&mut self, group: &Group, state: State) {
        for member in group.members() {
            self.entries[member.id].state = state;
        }
    }

    /// Lets a delivery into its table, at the ends of its lanes.
    fn enter(&mut self, id: usize) {
        if self.order == Order::Unordered {
            self.make_ready(id);
            return;
        }
        let place = self.entries[id].place;
        let table = self.tables.entry(place.table).or_default();
        let whole = table.changes_keys(place.key_set) || place.keys == LaneKeys::Table;
        let era = table.enter(whole);
        let entry = &mut self.entries[id];
        entry.whole = whole;
        entry.era = era;
        for (_, key) in entry.lanes() {
            let Some(last) = self.lanes.insert((place.table, key), Link::to(id)) else {
                continue;
            };
            let before = &mut self.entries[last.id()];
            // What is of an earlier era is done before this one opens.
            if before.era == era {
                let slot = before.slot_of(key);
                before.next[slot] = Some(Link::to(id));
                self.entries[id].behind += 1;
            }
        }
        if self.entries[id].behind == 0 {
            self.reach_head(id);
        }
    }

    /// A delivery is at the head of each of its lanes: it is ready if its era is open.
    fn reach_head(&mut self, id: usize) {
        let entry = &self.entries[id];
        if entry.state != State::Held {
            return;
        }
        let table = self
            .tables
            .get_mut(&entry.place.table)
            .expect("a table exists while something of it is not done");
        if table.is_open(entry.era) {
            self.make_ready(id);
        } else {
            table.hold(id);
        }
    }

    fn make_ready(&mut self, id: usize) {
        let entry = &mut self.entries[id];
        if entry.state == State::Held {
            entry.state = State::Ready;
            self.counts.ready += 1;
            self.ready.push_back(Ready::One(id));
        }
    }

    /// A delivery is done: its lanes and its table move on.
    fn leave(&mut self, id: usize) -> T {
        let entry = self.entries.remove(id);
        if self.order == Order::Unordered {
            return entry.value;
        }
        for (slot, key) in entry.lanes() {
            if let Some(next) = entry.next[slot].map(Link::id) {
                self.entries[next].behind -= 1;
                if self.entries[next].behind == 0 {
                    self.reach_head(next);
                }
            } else if let hash_map::Entry::Occupied(last) = self.lanes.entry((entry.place.table, key))
                && last.get().id() == id
            {
                last.remove();
            }
        }
        let hash_map::Entry::Occupied(mut table) = self.tables.entry(entry.place.table) else {
            unreachable!("a table exists while something of it is not done");
        };
        let opened = table.get_mut().leave();
        if table.get().is_done() {
            table.remove();
        }
        for head in opened {
            self.make_ready(head);
        }
        entry.value
    }
}

#[cfg(test)]
mod tests;
