//! The eras of one table: the times between the changes of the whole of it.

use std::collections::VecDeque;

use crate::event::KeySet;

/// What is not done of one table, cut into eras.
///
/// An era is either one delivery that is ordered against the whole table, or all between two such. Eras are handed out
/// one after the other: the first is *open*, the others are closed until it is done.
#[derive(Debug, Default)]
pub(super) struct Table {
    open: Era,
    closed: VecDeque<Era>,
    /// The number of the open era.
    first: u32,
    /// The key columns of the newest delivery that has any.
    key_set: Option<KeySet>,
    /// Of the group that is being put together: how many eras it has all of,
    reached: usize,
    /// and how much of the era behind them.
    claimed: usize,
}

#[derive(Debug, Default)]
struct Era {
    /// How many deliveries of it are not done.
    len: usize,
    /// Whether it is one delivery, ordered against the whole table.
    whole: bool,
    /// Of a closed era: what becomes ready when it opens, oldest first.
    heads: VecDeque<usize>,
}

impl Table {
    /// Whether `key_set` is another one than that of what came before; it is the newest from now on.
    pub(super) fn changes_keys(&mut self, key_set: Option<KeySet>) -> bool {
        let changes = self.key_set.is_some() && key_set.is_some() && self.key_set != key_set;
        self.key_set = key_set.or(self.key_set);
        changes
    }

    /// A delivery comes; returns the number of its era.
    pub(super) fn enter(&mut self, whole: bool) -> u32 {
        let newest = self.closed.back_mut().unwrap_or(&mut self.open);
        if newest.len == 0 {
            newest.whole = whole;
        }
        if newest.len > 0 && (whole || newest.whole) {
            let heads = VecDeque::new();
            self.closed.push_back(Era { len: 1, whole, heads });
        } else {
            newest.len += 1;
        }
        self.first
            .wrapping_add(u32::try_from(self.closed.len()).expect("an era is a delivery at least"))
    }

    /// A delivery of `era` is done; returns what may be handed out now if another era is open.
    pub(super) fn leave(&mut self, era: u32) -> Option<VecDeque<usize>> {
        let index = self.index(era);
        self.era_mut(index).len -= 1;
        let mut opened = None;
        while self.open.len == 0
            && let Some(next) = self.closed.pop_front()
        {
            self.open = next;
            self.first = self.first.wrapping_add(1);
            opened = Some(std::mem::take(&mut self.open.heads));
        }
        opened
    }

    pub(super) fn is_done(&self) -> bool {
        self.open.len == 0
    }

    pub(super) fn is_open(&self, era: u32) -> bool {
        era == self.first
    }

    /// A delivery of a closed era has nothing of its era before it.
    pub(super) fn hold(&mut self, era: u32, id: usize) {
        let index = self.index(era);
        self.era_mut(index).heads.push_back(id);
    }

    /// A delivery joins the group that is being put together; returns whether the group has reached another era, whose
    /// [`Table::head`]s may join it too.
    pub(super) fn claim(&mut self) -> bool {
        self.claimed += 1;
        let complete = self.claimed == self.era_mut(self.reached).len;
        let reaches = complete && self.reached < self.closed.len();
        if reaches {
            self.reached += 1;
            self.claimed = 0;
        }
        reaches
    }

    /// Whether the group that is being put together has all of the eras before `era`.
    pub(super) fn has_reached(&self, era: u32) -> bool {
        self.index(era) <= self.reached
    }

    /// The oldest head of the era that the group that is being put together has reached.
    pub(super) fn head(&self) -> Option<usize> {
        self.closed
            .get(self.reached.checked_sub(1)?)?
            .heads
            .front()
            .copied()
    }

    pub(super) fn pop_head(&mut self) {
        if let Some(closed) = self.reached.checked_sub(1) {
            self.closed[closed].heads.pop_front();
        }
    }

    pub(super) fn forget_claims(&mut self) {
        self.reached = 0;
        self.claimed = 0;
    }

    fn index(&self, era: u32) -> usize {
        era.wrapping_sub(self.first) as usize
    }

    fn era_mut(&mut self, index: usize) -> &mut Era {
        match index.checked_sub(1) {
            None => &mut self.open,
            Some(closed) => &mut self.closed[closed],
        }
    }
}
