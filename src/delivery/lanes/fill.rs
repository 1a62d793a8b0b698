//! What may go with a delivery in one group.

use std::cmp::Reverse;

use super::entries::State;
use super::{Group, Lanes, Ready};
use crate::endpoint::Order;
use crate::event::TableKey;

/// A delivery that only members of the group hold back. The oldest is the first to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    arrival: u64,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// It follows a member in its lanes.
    Follower(usize),
    /// It is the oldest head of the era that the group has reached in this table.
    Era(TableKey),
}

/// Where the next member comes from.
enum Next {
    Ready,
    Held(Candidate),
}

impl<T> Lanes<T> {
    /// Hands out the delivery that has been ready longest; with it, while there is `room` for the next one, those that
    /// are ready too or that only members of this group hold back, the older first. A group that is sent once more is
    /// handed out as it is.
    ///
    /// So a group may hold the changes of one row, or of a serial endpoint, one after the other.
    pub fn take(&mut self, mut room: impl FnMut(&T) -> bool) -> Option<Group> {
        if self.next_is_sent_once_more() {
            return self.take_one();
        }
        let mut group = self.take_one()?;
        let mut newest = group.first().map(|member| member.id);
        while let Some(member) = newest {
            self.claim(member);
            newest = self.join(&mut group, &mut room);
        }
        self.forget_claims(&group);
        Some(group)
    }

    /// The next delivery that may go with the group joins it, if there is one and `room` for it.
    fn join(&mut self, group: &mut Group, room: &mut impl FnMut(&T) -> bool) -> Option<usize> {
        let ready = match self.ready.front() {
            Some(&Ready::One(id)) => Some(id),
            _ => None,
        };
        let held = self.candidates.peek().map(|Reverse(candidate)| *candidate);
        let (id, next) = match (ready, held) {
            (None, None) => return None,
            (Some(id), None) => (id, Next::Ready),
            (Some(id), Some(held)) if self.entries[id].arrival < held.arrival => (id, Next::Ready),
            (_, Some(held)) => (self.delivery_of(held.source), Next::Held(held)),
        };
        if !room(&self.entries[id].value) {
            return None;
        }
        match next {
            Next::Ready => {
                self.ready.pop_front();
                self.counts.ready -= 1;
            }
            Next::Held(candidate) => self.remove_candidate(candidate),
        }
        self.counts.in_flight += 1;
        self.entries[id].state = State::InFlight;
        group.push(self.entries.member(id));
        Some(id)
    }

    /// A delivery is a member now: finds what nothing but members holds back any more.
    fn claim(&mut self, id: usize) {
        if self.order == Order::Unordered {
            return;
        }
        let table = self.entries[id].place.table;
        for next in self.entries[id].followers() {
            let follower = &mut self.entries[next];
            follower.claimed += 1;
            if follower.is_claimable() {
                let (arrival, source) = (follower.arrival, Source::Follower(next));
                self.candidates.push(Reverse(Candidate { arrival, source }));
            }
        }
        if self.tables.get_mut(&table).is_some_and(super::Table::claim) {
            self.add_head(table);
        }
    }

    fn add_head(&mut self, table: TableKey) {
        if let Some(head) = self.tables[&table].head() {
            let (arrival, source) = (self.entries[head].arrival, Source::Era(table));
            self.candidates.push(Reverse(Candidate { arrival, source }));
        }
    }

    fn delivery_of(&self, source: Source) -> usize {
        match source {
            Source::Follower(id) => id,
            Source::Era(table) => self.tables[&table].head().expect("a candidate is still there"),
        }
    }

    fn remove_candidate(&mut self, candidate: Candidate) {
        self.candidates.pop();
        if let Source::Era(key) = candidate.source {
            if let Some(table) = self.tables.get_mut(&key) {
                table.pop_head();
            }
            self.add_head(key);
        }
    }

    fn forget_claims(&mut self, group: &Group) {
        self.candidates.clear();
        if self.order == Order::Unordered {
            return;
        }
        for member in group.members() {
            for next in self.entries[member.id].followers() {
                self.entries[next].claimed = 0;
            }
            if let Some(table) = self.tables.get_mut(&self.entries[member.id].place.table) {
                table.forget_claims();
            }
        }
    }
}
