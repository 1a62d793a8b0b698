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
            // The first of its table.
            (newest.len, newest.whole) = (1, whole);
        } else if whole || newest.whole {
            let heads = VecDeque::new();
            self.closed.push_back(Era { len: 1, whole, heads });
        } else {
            newest.len += 1;
        }
        self.first
            .wrapping_add(u32::try_from(self.closed.len()).expect("an era is a delivery at least"))
    }

    /// A delivery of the open era is done; returns what may be handed out now if that opens another one.
    pub(super) fn leave(&mut self) -> VecDeque<usize> {
        self.open.len -= 1;
        if self.open.len == 0
            && let Some(next) = self.closed.pop_front()
        {
            self.open = next;
            self.first = self.first.wrapping_add(1);
        }
        std::mem::take(&mut self.open.heads)
    }

    pub(super) fn is_done(&self) -> bool {
        self.open.len == 0
    }

    pub(super) fn is_open(&self, era: u32) -> bool {
        era == self.first
    }

    /// The delivery that came last, of a closed era, has nothing of its era before it.
    pub(super) fn hold(&mut self, id: usize) {
        if let Some(newest) = self.closed.back_mut() {
            newest.heads.push_back(id);
        }
    }

    /// A delivery joins the group that is being put together; returns whether the group has reached another era, whose
    /// [`Table::head`]s may join it too.
    pub(super) fn claim(&mut self) -> bool {
        self.claimed += 1;
        let era = match self.reached.checked_sub(1) {
            None => &self.open,
            Some(closed) => &self.closed[closed],
        };
        let complete = self.claimed == era.len;
        let reaches = complete && self.reached < self.closed.len();
        if reaches {
            self.reached += 1;
            self.claimed = 0;
        }
        reaches
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
}
