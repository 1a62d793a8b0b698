//! From rows to changes: where the stream waits while tables are read, and which of its changes those rows have brought
//! already.
//!
//! # The invariant
//!
//! Let `S` be the snapshot that a table was read under for an endpoint that was never sent a change of it before. Then the
//! endpoint gets each row that `S` shows, and of the changes of the table exactly those of transactions that `S` does not
//! see, after the rows.
//!
//! - *Nothing before.* Tables are read for an endpoint before the first change is matched against the set of subscriptions
//!   with which it begins to receive the rows: the stream stands still from there until the rows are submitted.
//! - *Nothing twice.* What `S` sees is left out for that endpoint. `S` is compared by the number of the transaction, so that
//!   it does not matter in which order commits became visible.
//! - *Nothing lost.* A commit may be read from the stream before other sessions see it. So the snapshot is only taken when
//!   every transaction that was read before can be seen: otherwise its changes, which went by without that endpoint, would be
//!   in neither. (The last `MAX_RECENT` of them are asked about. With that many behind it, or a restart of this program, a
//!   transaction is unseen only where its commit waits for a stand-by.)
//!
//! For an endpoint that may have been sent changes before, nothing is left out: it gets the rows, and behind them all changes
//! that the stream has not brought yet. In the end it has what the table has.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use pgstream_proto::Lsn;

use crate::event::table_hash;
use crate::progress::Visibility;
use crate::subscription::matcher::SubscriptionSet;

/// How many transactions are remembered that were read last.
const MAX_RECENT: usize = 4096;

/// A reading that is under way: what is left out of the stream because of it.
pub type Reading = Pin<Box<dyn Future<Output = Vec<LeftOut>> + Send>>;

/// Tables whose rows are still to be read, and who reads them.
pub trait Snapshots: Send {
    /// Whether anything is to be done before a change is matched against this set.
    fn is_due(&self, set: &SubscriptionSet) -> bool;

    /// Does it. The transactions of these numbers have been read before: what they did has to be seen first.
    fn read(&mut self, set: Arc<SubscriptionSet>, recent: Vec<u32>) -> Reading;
}

/// Changes of a table that are left out for an endpoint, which has them as rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The schema of the table.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// The endpoint's URL.
    pub endpoint: Arc<str>,
    /// Which transactions the rows are of.
    pub sees: Visibility,
    /// All of these were written before this position.
    pub until: Lsn,
}

/// What the stream knows of it.
#[derive(Default)]
pub(super) struct HandOver {
    snapshots: Option<Box<dyn Snapshots>>,
    /// The generation of subscriptions with which nothing is to be read.
    settled_for: Option<u64>,
    /// By the hash of the table.
    left_out: HashMap<u64, Vec<LeftOut>>,
    /// The end of the last of them.
    until: Lsn,
    recent: VecDeque<u32>,
    /// A reading that no record waits for.
    pub(super) reading: Option<(u64, Reading)>,
}

impl HandOver {
    pub(super) fn new(snapshots: Option<Box<dyn Snapshots>>, left_out: Vec<LeftOut>) -> Self {
        let mut hand_over = Self {
            snapshots,
            ..Self::default()
        };
        hand_over.add(left_out);
        hand_over
    }

    /// Whether nothing is to be read in this run.
    pub(super) fn is_over(&self) -> bool {
        self.snapshots.is_none()
    }

    /// Whether it is known that nothing is to be read with this generation of subscriptions.
    pub(super) fn is_settled_for(&self, generation: u64) -> bool {
        self.is_over() || self.settled_for == Some(generation)
    }

    /// Begins what is to be done before a change is matched against this set, if there is anything.
    pub(super) fn begin(&mut self, set: &Arc<SubscriptionSet>) -> Option<Reading> {
        let generation = set.generation();
        if self.is_settled_for(generation) {
            return None;
        }
        let recent = self.recent.iter().copied().collect();
        match &mut self.snapshots {
            Some(snapshots) if snapshots.is_due(set) => Some(snapshots.read(Arc::clone(set), recent)),
            _ => {
                self.settled_for = Some(generation);
                None
            }
        }
    }

    /// It is done, for this generation.
    pub(super) fn end(&mut self, generation: u64, left_out: Vec<LeftOut>) {
        self.settled_for = Some(generation);
        self.add(left_out);
    }

    fn add(&mut self, left_out: Vec<LeftOut>) {
        for one in left_out {
            self.until = self.until.max(one.until);
            let of_table = self
                .left_out
                .entry(table_hash(&one.schema, &one.table))
                .or_default();
            // Read once more, it is known already.
            if !of_table.contains(&one) {
                of_table.push(one);
            }
        }
    }

    /// A transaction begins that commits there.
    pub(super) fn transaction(&mut self, commit_lsn: Lsn) {
        if commit_lsn > self.until && !self.left_out.is_empty() {
            self.left_out.clear();
        }
    }

    /// It was read to its commit.
    pub(super) fn read(&mut self, xid: Option<u32>) {
        if self.snapshots.is_some()
            && let Some(xid) = xid
        {
            if self.recent.len() == MAX_RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(xid);
        }
    }

    /// Whether a change of this table by this transaction is left out for an endpoint.
    pub(super) fn leaves_out(&self, table: u64, xid: Option<u32>, commit_lsn: Lsn, endpoint: &str) -> bool {
        if self.left_out.is_empty() {
            return false;
        }
        let (Some(of_table), Some(xid)) = (self.left_out.get(&table), xid) else {
            return false;
        };
        of_table
            .iter()
            .any(|one| *one.endpoint == *endpoint && commit_lsn <= one.until && one.sees.sees(xid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(endpoint: &str, sees: &str, until: u64) -> LeftOut {
        LeftOut {
            schema: "s".to_owned(),
            table: "t".to_owned(),
            endpoint: endpoint.into(),
            sees: sees.parse().unwrap(),
            until: Lsn::new(until),
        }
    }

    #[test]
    fn only_what_was_seen_is_left_out_for_whom_it_was_read() {
        let mut hand_over = HandOver::new(None, vec![left_out("a", "5:20:7", 100)]);
        let (t, other) = (table_hash("s", "t"), table_hash("s", "u"));
        let leaves_out = |hand_over: &HandOver, table, xid, lsn, endpoint| {
            hand_over.leaves_out(table, Some(xid), Lsn::new(lsn), endpoint)
        };
        assert!(leaves_out(&hand_over, t, 6, 50, "a"));
        assert!(!leaves_out(&hand_over, t, 7, 50, "a"), "it was open");
        assert!(!leaves_out(&hand_over, t, 20, 50, "a"), "it came later");
        assert!(!leaves_out(&hand_over, t, 6, 50, "b"));
        assert!(!leaves_out(&hand_over, other, 6, 50, "a"));
        assert!(
            !leaves_out(&hand_over, t, 6, 101, "a"),
            "a number that comes again"
        );
        assert!(!hand_over.leaves_out(t, None, Lsn::new(50), "a"));
        hand_over.end(1, vec![left_out("a", "5:20:7", 100), left_out("b", "9:30:", 200)]);
        assert!(leaves_out(&hand_over, t, 25, 150, "b"));
        hand_over.transaction(Lsn::new(150));
        assert!(leaves_out(&hand_over, t, 25, 150, "b"));
        hand_over.transaction(Lsn::new(201));
        assert!(hand_over.left_out.is_empty());
    }

    struct Waiting(bool);

    impl Snapshots for Waiting {
        fn is_due(&self, _: &SubscriptionSet) -> bool {
            self.0
        }

        fn read(&mut self, _: Arc<SubscriptionSet>, recent: Vec<u32>) -> Reading {
            assert_eq!(recent.len(), MAX_RECENT);
            assert_eq!(recent.last(), Some(&5000));
            self.0 = false;
            Box::pin(std::future::ready(Vec::new()))
        }
    }

    #[test]
    fn each_set_is_asked_about_until_nothing_is_due() {
        let mut hand_over = HandOver::new(Some(Box::new(Waiting(true))), Vec::new());
        for xid in 0..=5000 {
            hand_over.read(Some(xid));
        }
        let set = |generation| Arc::new(SubscriptionSet::new(generation, Vec::new()));
        assert!(hand_over.begin(&set(1)).is_some());
        hand_over.end(1, Vec::new());
        assert!(hand_over.is_settled_for(1) && hand_over.begin(&set(1)).is_none());
        assert!(!hand_over.is_settled_for(2));
        assert!(hand_over.begin(&set(2)).is_none());
        assert!(hand_over.is_settled_for(2));
    }
}
