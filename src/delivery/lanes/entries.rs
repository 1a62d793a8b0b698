//! The deliveries themselves, linked from the oldest to the newest.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::Member;
use crate::event::{LaneKey, LaneKeys, Place};

/// A delivery and where it stands.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) value: T,
    pub(super) arrival: u64,
    pub(super) place: Place,
    /// Whether it is ordered against the whole table.
    pub(super) whole: bool,
    pub(super) state: State,
    /// Its era of the table.
    pub(super) era: u32,
    /// In how many of its lanes something of its era is before it.
    pub(super) behind: u8,
    /// How many of these are members of the group that is being put together.
    pub(super) claimed: u8,
    /// What follows in its lanes, in their order.
    pub(super) next: [Option<Link>; 2],
    older: Option<Link>,
    newer: Option<Link>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Something is before it.
    Held,
    /// In the ready queue.
    Ready,
    /// Handed out.
    InFlight,
    /// In a group that waits to be sent again.
    Waiting,
}

/// A reference to another entry, in half the room of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(NonZeroU32);

impl Link {
    pub(super) fn to(id: usize) -> Self {
        let number = u32::try_from(id + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("four billion deliveries do not fit into memory"))
    }

    pub(super) fn id(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl<T> Entry<T> {
    /// The lanes it stands in, each with its place in `next`. What is ordered against the whole table stands in none.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (usize, LaneKey)> + use<T> {
        let keys = match self.place.keys {
            _ if self.whole => [None, None],
            LaneKeys::Row(key) => [Some(key), None],
            LaneKeys::Moved(from, to) => [Some(from), Some(to)],
            LaneKeys::Table => [None, None],
        };
        keys.into_iter().flatten().enumerate()
    }

    /// The place of `key`, a lane it stands in, in `next`.
    pub(super) fn slot_of(&self, key: LaneKey) -> usize {
        usize::from(matches!(self.place.keys, LaneKeys::Moved(from, _) if from != key))
    }

    /// What follows it in its lanes.
    pub(super) fn followers(&self) -> impl Iterator<Item = usize> + use<T> {
        self.next.into_iter().flatten().map(Link::id)
    }

    /// Whether everything of its era that is before it is a member of the group that is being put together.
    pub(super) fn is_claimable(&self) -> bool {
        self.state == State::Held && self.claimed == self.behind
    }
}

/// All deliveries that are not done.
#[derive(Debug)]
pub(super) struct Entries<T> {
    slab: Slab<Entry<T>>,
    oldest: Option<Link>,
    newest: Option<Link>,
    arrivals: u64,
}

impl<T> Entries<T> {
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            oldest: None,
            newest: None,
            arrivals: 0,
        }
    }

    pub(super) fn push(&mut self, value: T, place: Place) -> usize {
        let entry = Entry {
            value,
            arrival: self.arrivals,
            place,
            whole: false,
            state: State::Held,
            era: 0,
            behind: 0,
            claimed: 0,
            next: [None, None],
            older: self.newest,
            newer: None,
        };
        self.arrivals += 1;
        let id = self.slab.insert(entry);
        self.join(self.newest, Some(Link::to(id)));
        self.newest = Some(Link::to(id));
        id
    }

    pub(super) fn remove(&mut self, id: usize) -> Entry<T> {
        let entry = self.slab.remove(id);
        self.join(entry.older, entry.newer);
        if entry.newer.is_none() {
            self.newest = entry.older;
        }
        entry
    }

    fn join(&mut self, older: Option<Link>, newer: Option<Link>) {
        match older {
            Some(older) => self[older.id()].newer = newer,
            None => self.oldest = newer,
        }
        if let Some(newer) = newer {
            self[newer.id()].older = older;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn oldest(&self) -> Option<usize> {
        self.oldest.map(Link::id)
    }

    pub(super) fn newer(&self, id: usize) -> Option<usize> {
        self[id].newer.map(Link::id)
    }

    /// From the oldest to the newest.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Entry<T>)> {
        std::iter::successors(self.oldest(), |&id| self.newer(id)).map(|id| (id, &self[id]))
    }

    pub(super) fn has(&self, id: usize) -> bool {
        self.slab.contains(id)
    }

    pub(super) fn contains(&self, member: Member) -> bool {
        self.slab
            .get(member.id)
            .is_some_and(|entry| entry.arrival == member.arrival)
    }

    pub(super) fn member(&self, id: usize) -> Member {
        let arrival = self[id].arrival;
        Member { id, arrival }
    }

    /// Gives back the room at the end that is not used.
    pub(super) fn shrink(&mut self) {
        self.slab.shrink_to_fit();
    }
}

impl<T> Index<usize> for Entries<T> {
    type Output = Entry<T>;

    fn index(&self, id: usize) -> &Entry<T> {
        &self.slab[id]
    }
}

impl<T> IndexMut<usize> for Entries<T> {
    fn index_mut(&mut self, id: usize) -> &mut Entry<T> {
        &mut self.slab[id]
    }
}
