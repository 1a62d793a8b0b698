//! Taking deliveries out before they are done.

use std::cmp::Reverse;

use super::entries::State;
use super::{Counts, Lanes, Ready};

impl<T> Lanes<T> {
    /// Takes out everything that is not in flight, with its arrival numbers, oldest first; groups that wait are
    /// dissolved. What is in flight stays, and is alone in its lanes.
    ///
    /// What comes out may be pushed again: nothing of it has to be before what is in flight.
    pub fn evict(&mut self) -> Vec<(u64, T)> {
        self.take_out(|_| true)
    }

    /// Drops what is not in flight and is not to be kept, and frees its lanes; groups that wait shrink accordingly.
    /// Returns what was dropped, oldest first.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> Vec<T> {
        let out = self.take_out(|value| !keep(value));
        out.into_iter().map(|(_, value)| value).collect()
    }

    fn take_out(&mut self, mut goes: impl FnMut(&T) -> bool) -> Vec<(u64, T)> {
        let mut out = Vec::new();
        let mut next = self.entries.oldest();
        while let Some(id) = next {
            next = self.entries.newer(id);
            let entry = &self.entries[id];
            if entry.state != State::InFlight && goes(&entry.value) {
                let entry = self.entries.remove(id);
                out.push((entry.arrival, entry.value));
            }
        }
        if !out.is_empty() {
            self.shrink_groups();
            self.enter_all_anew();
        }
        out
    }

    /// Removes from the groups, and from what is ready, what is not there any more.
    fn shrink_groups(&mut self) {
        let Self { entries, failed, .. } = self;
        for group in self
            .again
            .iter_mut()
            .chain(failed.iter_mut().map(|(_, group)| group))
        {
            group.retain(|member| entries.contains(member));
        }
        self.again.retain(|group| !group.is_empty());
        failed.retain(|_, group| !group.is_empty());
        self.ready.retain(|ready| match *ready {
            Ready::One(id) => entries.has(id),
            Ready::Group(number) => failed.contains(number),
        });
        self.delayed
            .retain(|&Reverse((_, number))| failed.contains(number));
        self.count();
    }

    fn count(&mut self) {
        let delayed = self.delayed.iter().map(|&Reverse((_, number))| number);
        let ready = self.ready.iter().map(|ready| match *ready {
            Ready::One(_) => 1,
            Ready::Group(number) => self.failed[number].len(),
        });
        let again = self.again.iter().map(super::Group::len);
        self.counts = Counts {
            ready: ready.chain(again).sum(),
            delayed: delayed.map(|number| self.failed[number].len()).sum(),
            in_flight: self.counts.in_flight,
        };
    }

    /// Makes the lanes and tables of what is left, as if nothing else had ever come.
    fn enter_all_anew(&mut self) {
        self.lanes.clear();
        self.tables.clear();
        let mut next = self.entries.oldest();
        while let Some(id) = next {
            next = self.entries.newer(id);
            let entry = &mut self.entries[id];
            (entry.behind, entry.next) = (0, [None, None]);
            self.enter(id);
        }
        self.entries.shrink();
        self.lanes.shrink_to_fit();
        self.tables.shrink_to_fit();
        self.ready.shrink_to_fit();
    }
}
