//! The lanes of one endpoint: which deliveries may be in flight, and in which order. Pure: time is an argument.
//!
//! # The invariant
//!
//! Of two deliveries that touch a common lane, the one pushed first is done before the second is handed out. A
//! delivery that touches the whole table touches every lane of it, also those opened later. Nothing else is ordered:
//! every delivery that this rule does not hold back is ready.
//!
//! The first delivery whose lanes are made of other key columns than those of the delivery before it in its table, as
//! after an `ALTER TABLE`, touches the whole table: its lanes cannot be compared with theirs.
//!
//! So a delivery that failed holds back its own lanes only, and a change of a key holds back both of its rows.
//!
//! # How
//!
//! Each lane is a linked list through the deliveries themselves, so that a lane costs no allocation; a delivery is
//! ready when it is at the head of each lane it touches. A change of the whole table waits until the table is empty;
//! meanwhile, and while it is in flight, whatever comes for that table is held behind it in one queue.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Instant;

use slab::Slab;

use crate::endpoint::Order;
use crate::event::{KeySet, LaneKey, LaneKeys, Place, TableKey};

/// The deliveries of one endpoint that are not done.
#[derive(Debug)]
pub struct Lanes<T> {
    order: Order,
    entries: Slab<Entry<T>>,
    /// The last delivery of each lane.
    lanes: HashMap<LaneKey, usize>,
    tables: HashMap<TableKey, Table>,
    /// What may be handed out, oldest first.
    ready: VecDeque<usize>,
    /// What failed and waits for its next try.
    delayed: BinaryHeap<Reverse<(Instant, usize)>>,
}

/// A delivery that was handed out: to be given back with [`Lanes::done`] or [`Lanes::retry`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a delivery that is handed out must be given back"]
pub struct Ticket(usize);

#[derive(Debug)]
struct Entry<T> {
    /// Absent while it is handed out.
    value: Option<T>,
    table: TableKey,
    keys: LaneKeys,
    /// In how many of its lanes something is before it.
    behind: u8,
    /// What follows in the lanes of `keys`, in their order.
    next: [Option<usize>; 2],
}

#[derive(Debug, Default)]
struct Table {
    /// Deliveries in lanes, or the one that has the table to itself.
    active: usize,
    /// Whether the active one has the table to itself.
    exclusive: bool,
    /// What waits behind a change of the whole table, which is the first of it or in flight.
    held: VecDeque<usize>,
    /// The key columns of the newest delivery that has any.
    key_set: Option<KeySet>,
}

impl<T> Lanes<T> {
    /// No deliveries yet.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self {
            order,
            entries: Slab::new(),
            lanes: HashMap::new(),
            tables: HashMap::new(),
            ready: VecDeque::new(),
            delayed: BinaryHeap::new(),
        }
    }

    /// Appends a delivery.
    pub fn push(&mut self, value: T, place: Place) {
        let Place { table, keys, key_set } = match self.order {
            Order::Serial => Place {
                table: TableKey(0),
                keys: LaneKeys::Row(LaneKey(0)),
                key_set: None,
            },
            Order::Key | Order::Unordered => place,
        };
        let entry = Entry {
            value: Some(value),
            table,
            keys,
            behind: 0,
            next: [None, None],
        };
        let id = self.entries.insert(entry);
        if self.order == Order::Unordered {
            self.ready.push_back(id);
            return;
        }
        let state = self.tables.entry(table).or_default();
        let other_keys = state.key_set.is_some() && key_set.is_some() && state.key_set != key_set;
        state.key_set = key_set.or(state.key_set);
        let entry = &mut self.entries[id];
        entry.keys = match keys {
            _ if other_keys => LaneKeys::Table,
            LaneKeys::Moved(from, to) if from == to => LaneKeys::Row(to),
            _ => keys,
        };
        let waits_for_table = entry.keys == LaneKeys::Table && state.active > 0;
        if state.exclusive || waits_for_table || !state.held.is_empty() {
            state.held.push_back(id);
        } else {
            self.admit(id);
        }
    }

    /// Hands out the delivery that has been ready longest.
    pub fn take(&mut self) -> Option<(Ticket, T)> {
        let id = self.ready.pop_front()?;
        let value = self.entries[id]
            .value
            .take()
            .expect("only what is not handed out is ready");
        Some((Ticket(id), value))
    }

    /// What was handed out is settled: its lanes move on.
    pub fn done(&mut self, Ticket(id): Ticket) {
        if self.order != Order::Unordered {
            for (slot, key) in lanes_of(self.entries[id].keys) {
                self.leave(id, slot, key);
            }
        }
        let entry = self.entries.remove(id);
        if self.order != Order::Unordered {
            self.release(entry.table);
        }
    }

    /// What was handed out failed: it keeps its place, and is ready again at `due`.
    pub fn retry(&mut self, Ticket(id): Ticket, value: T, due: Instant) {
        self.entries[id].value = Some(value);
        self.delayed.push(Reverse((due, id)));
    }

    /// Makes ready what is due at `now`.
    pub fn advance(&mut self, now: Instant) {
        while let Some(Reverse((due, id))) = self.delayed.peek().copied()
            && due <= now
        {
            self.delayed.pop();
            self.ready.push_back(id);
        }
    }

    /// When the next delivery that waits for its next try is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse((due, _))| *due)
    }

    /// How many deliveries wait for their next try.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Whether anything is ready.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many deliveries are not done, those in flight included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether everything is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Lets a delivery into its table, at the ends of its lanes.
    fn admit(&mut self, id: usize) {
        let Entry { table, keys, .. } = self.entries[id];
        let state = self
            .tables
            .get_mut(&table)
            .expect("a table exists while something of it is not done");
        state.active += 1;
        state.exclusive = keys == LaneKeys::Table;
        for (_, key) in lanes_of(keys) {
            self.enter(id, key);
        }
        if self.entries[id].behind == 0 {
            self.ready.push_back(id);
        }
    }

    fn enter(&mut self, id: usize, key: LaneKey) {
        if let Some(last) = self.lanes.insert(key, id) {
            let before = &mut self.entries[last];
            before.next[slot_of(before.keys, key)] = Some(id);
            self.entries[id].behind += 1;
        }
    }

    fn leave(&mut self, id: usize, slot: usize, key: LaneKey) {
        let Some(next) = self.entries[id].next[slot] else {
            self.lanes.remove(&key);
            return;
        };
        let entry = &mut self.entries[next];
        entry.behind -= 1;
        if entry.behind == 0 {
            self.ready.push_back(next);
        }
    }

    /// One delivery of the table is done: lets in what was held for it.
    fn release(&mut self, table: TableKey) {
        let state = self
            .tables
            .get_mut(&table)
            .expect("a table exists while something of it is not done");
        state.active -= 1;
        if state.active > 0 {
            return;
        }
        state.exclusive = false;
        while let Some(state) = self.tables.get_mut(&table)
            && !state.exclusive
            && let Some(&id) = state.held.front()
            && (state.active == 0 || self.entries[id].keys != LaneKeys::Table)
        {
            state.held.pop_front();
            self.admit(id);
        }
        if self.tables.get(&table).is_some_and(|state| state.active == 0) {
            self.tables.remove(&table);
        }
    }
}

/// The lanes a delivery stands in, each with its place in `next`. A change of the whole table stands in none.
fn lanes_of(keys: LaneKeys) -> impl Iterator<Item = (usize, LaneKey)> {
    let keys = match keys {
        LaneKeys::Row(key) => [Some(key), None],
        LaneKeys::Moved(from, to) => [Some(from), Some(to)],
        LaneKeys::Table => [None, None],
    };
    keys.into_iter().flatten().enumerate()
}

/// The place of `key` in the `next` of a delivery that stands in its lane.
fn slot_of(keys: LaneKeys, key: LaneKey) -> usize {
    usize::from(matches!(keys, LaneKeys::Moved(from, _) if from != key))
}

#[cfg(test)]
mod tests;
