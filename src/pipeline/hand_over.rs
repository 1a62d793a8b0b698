//! From rows to changes: when tables are read for whom, and which changes those rows have brought already.
//!
//! # The invariant
//!
//! Let `S` be the snapshot that a table was read under for an endpoint that was never sent a change of it before. Then the
//! endpoint gets each row that `S` shows, and of the changes of the table exactly those of transactions that `S` does not
//! see, after the rows.
//!
//! - *Nothing before.* Before the first change is matched against the set of subscriptions with which an endpoint begins to
//!   receive the rows, its changes of the table are held (see [`holds`](super::holds)): they come behind the rows. The table
//!   is read meanwhile, and the stream goes on.
//! - *Nothing twice.* What `S` sees is left out for that endpoint. `S` is compared by the number of the transaction, so that
//!   it does not matter in which order commits became visible.
//! - *Nothing lost.* A commit may be read from the stream before other sessions see it. So the snapshot is only taken when
//!   every transaction that was read before the hold can be seen: otherwise its changes, which went by without that endpoint,
//!   would be in neither. (The last `MAX_RECENT` of them are asked about. With that many behind it, or a restart of this
//!   program, a transaction is unseen only where its commit waits for a stand-by.)
//!
//! For an endpoint that may have been sent changes before, nothing is left out: it gets the rows, and behind them all changes
//! of transactions that were committed after the hold began. The rows come behind what was pending for it. In the end it has
//! what the table has. A backfill is such a reading, for one endpoint; it begins between two transactions, since the first of
//! one may have been sent already.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use pgstream_proto::Lsn;

use crate::delivery::model::Hold;
use crate::progress::Visibility;
use crate::subscription::matcher::SubscriptionSet;

/// How many transactions are remembered that were read last.
const MAX_RECENT: usize = 4096;

/// The beginning of readings: what is held from then on. They go on by themselves.
pub type Beginning = Pin<Box<dyn Future<Output = Vec<Hold>> + Send>>;

/// Where in its history the stream is.
#[derive(Debug, Clone)]
pub struct StreamPosition {
    /// What is committed from here on has not been matched yet.
    pub from: Lsn,
    /// The transactions of these numbers have been read before: what they did has to be seen by the readers.
    pub recent: Vec<u32>,
    /// Whether it is between two transactions.
    pub at_rest: bool,
}

/// Tables whose rows are still to be read, and who reads them.
pub trait Snapshots: Send {
    /// Whether anything is to be begun before a change is matched against this set, the stream being at rest or not.
    fn is_due(&self, set: &SubscriptionSet, at_rest: bool) -> bool;

    /// Begins it.
    fn begin(&mut self, set: Arc<SubscriptionSet>, position: StreamPosition) -> Beginning;

    /// Counts what was asked for in other ways than by subscriptions, to be begun at rest.
    fn requests(&self) -> u64;

    /// Nothing is read from the stream any more: neither needs anything be from tables.
    fn end(&mut self) {}
}

/// Nothing is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn is_due(&self, _: &SubscriptionSet, _: bool) -> bool {
        false
    }

    fn begin(&mut self, _: Arc<SubscriptionSet>, _: StreamPosition) -> Beginning {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn requests(&self) -> u64 {
        0
    }
}

/// Changes of a table that are left out for an endpoint, which has them as rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Stands for the table.
    pub hash: u64,
    /// The endpoint's URL.
    pub endpoint: Arc<str>,
    /// Which transactions the rows are of.
    pub sees: Visibility,
    /// All of these were written before this position.
    pub until: Lsn,
}

/// What the stream knows of it.
pub(super) struct HandOver {
    snapshots: Box<dyn Snapshots>,
    /// The generation of subscriptions with which nothing is to be begun.
    settled_for: Option<u64>,
    /// So many requests are begun.
    begun_requests: u64,
    /// By the hash of the table.
    left_out: HashMap<u64, Vec<LeftOut>>,
    /// The end of the last of them.
    until: Lsn,
    recent: VecDeque<u32>,
    /// The end of the last transaction that was read.
    from: Lsn,
    /// A beginning that no record waits for: of this generation, and so many requests.
    pub(super) beginning: Option<(u64, u64, Beginning)>,
}

impl HandOver {
    /// That of a stream that starts there.
    pub(super) fn new(snapshots: Box<dyn Snapshots>, left_out: Vec<LeftOut>, start: Lsn) -> Self {
        let mut hand_over = Self {
            snapshots,
            settled_for: None,
            begun_requests: 0,
            left_out: HashMap::new(),
            until: Lsn::ZERO,
            recent: VecDeque::new(),
            from: start,
            beginning: None,
        };
        hand_over.add(left_out);
        hand_over
    }

    /// Whether anything is left out beyond this position.
    pub(super) fn reaches(&self, at: Lsn) -> bool {
        self.until > at
    }

    /// Whether it is known that nothing is to be begun at rest, with this generation of subscriptions.
    pub(super) fn is_settled_at_rest(&self, generation: u64) -> bool {
        self.settled_for == Some(generation) && self.begun_requests == self.snapshots.requests()
    }

    /// Begins what is to be begun before a change is matched against this set, if there is anything.
    pub(super) fn begin(&mut self, set: &Arc<SubscriptionSet>) -> Option<Beginning> {
        let generation = set.generation();
        if self.settled_for == Some(generation) {
            return None;
        }
        if self.snapshots.is_due(set, false) {
            let position = self.position(false);
            return Some(self.snapshots.begin(Arc::clone(set), position));
        }
        self.settled_for = Some(generation);
        None
    }

    /// Begins what is to be begun between two transactions, into [`beginning`](Self::beginning); returns whether there is
    /// anything.
    pub(super) fn begin_at_rest(&mut self, set: &Arc<SubscriptionSet>) -> bool {
        let (generation, requests) = (set.generation(), self.snapshots.requests());
        if self.is_settled_at_rest(generation) {
            return false;
        }
        if self.snapshots.is_due(set, true) {
            let position = self.position(true);
            let beginning = self.snapshots.begin(Arc::clone(set), position);
            self.beginning = Some((generation, requests, beginning));
            return true;
        }
        self.settled_for = Some(generation);
        self.begun_requests = requests;
        false
    }

    fn position(&self, at_rest: bool) -> StreamPosition {
        StreamPosition {
            from: self.from,
            recent: self.recent.iter().copied().collect(),
            at_rest,
        }
    }

    /// Everything is begun, for this generation.
    pub(super) fn begun(&mut self, generation: u64) {
        self.settled_for = Some(generation);
    }

    /// The same, and for so many requests.
    pub(super) fn begun_at_rest(&mut self, generation: u64, requests: u64) {
        self.settled_for = Some(generation);
        self.begun_requests = requests;
    }

    /// Nothing is read any more.
    pub(super) fn end(&mut self) {
        self.beginning = None;
        self.snapshots.end();
    }

    /// This much is left out from now on.
    pub(super) fn add(&mut self, left_out: Vec<LeftOut>) {
        for one in left_out {
            self.until = self.until.max(one.until);
            let of_table = self.left_out.entry(one.hash).or_default();
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

    /// It was read to its commit, which ends there.
    pub(super) fn read(&mut self, xid: Option<u32>, end: Lsn) {
        self.from = self.from.max(end);
        if let Some(xid) = xid {
            if self.recent.len() == MAX_RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(xid);
        }
    }

    /// Whether a change of this table by this transaction is left out for an endpoint.
    pub(super) fn leaves_out(&self, table: u64, xid: Option<u32>, commit_lsn: Lsn, endpoint: &str) -> bool {
        !self.left_out.is_empty()
            && self
                .left_out
                .get(&table)
                .is_some_and(|of_table| leaves_out(of_table, table, (xid, commit_lsn), endpoint))
    }
}

/// Whether one of these has a change of this table left out for an endpoint, which was committed there by this transaction.
pub(super) fn leaves_out(
    left_out: &[LeftOut],
    table: u64,
    (xid, commit_lsn): (Option<u32>, Lsn),
    endpoint: &str,
) -> bool {
    xid.is_some_and(|xid| {
        left_out.iter().any(|one| {
            one.hash == table && *one.endpoint == *endpoint && commit_lsn <= one.until && one.sees.sees(xid)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::table_hash;

    fn left_out(endpoint: &str, sees: &str, until: u64) -> LeftOut {
        LeftOut {
            hash: table_hash("s", "t"),
            endpoint: endpoint.into(),
            sees: sees.parse().unwrap(),
            until: Lsn::new(until),
        }
    }

    #[test]
    fn only_what_was_seen_is_left_out_for_whom_it_was_read() {
        let waiting = Box::new(Waiting::default());
        let mut hand_over = HandOver::new(waiting, vec![left_out("a", "5:20:7", 100)], Lsn::ZERO);
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
        hand_over.add(vec![left_out("a", "5:20:7", 100), left_out("b", "9:30:", 200)]);
        assert!(leaves_out(&hand_over, t, 25, 150, "b"));
        hand_over.transaction(Lsn::new(150));
        assert!(leaves_out(&hand_over, t, 25, 150, "b"));
        hand_over.transaction(Lsn::new(201));
        assert!(hand_over.left_out.is_empty());
    }

    /// Tables that wait, and requests.
    #[derive(Default)]
    struct Waiting {
        tables: bool,
        asked: u64,
        begun: u64,
    }

    impl Snapshots for Waiting {
        fn is_due(&self, _: &SubscriptionSet, at_rest: bool) -> bool {
            self.tables || (at_rest && self.asked > self.begun)
        }

        fn begin(&mut self, _: Arc<SubscriptionSet>, position: StreamPosition) -> Beginning {
            assert_eq!(position.recent.len(), MAX_RECENT);
            assert_eq!(position.recent.last(), Some(&5000));
            assert_eq!(position.from, Lsn::new(5000));
            self.tables = false;
            if position.at_rest {
                self.begun = self.asked;
            }
            Box::pin(std::future::ready(Vec::new()))
        }

        fn requests(&self) -> u64 {
            self.asked
        }
    }

    #[test]
    fn each_set_is_asked_about_until_nothing_is_due_and_requests_at_rest() {
        let waiting = Waiting {
            tables: true,
            asked: 1,
            begun: 0,
        };
        let mut hand_over = HandOver::new(Box::new(waiting), Vec::new(), Lsn::ZERO);
        for xid in 0..=5000 {
            hand_over.read(Some(xid), Lsn::new(u64::from(xid)));
        }
        let set = |generation| Arc::new(SubscriptionSet::new(generation, Vec::new()));
        assert!(hand_over.begin(&set(1)).is_some());
        hand_over.begun(1);
        assert!(hand_over.begin(&set(1)).is_none());
        assert!(
            !hand_over.is_settled_at_rest(1),
            "a request is not begun within a transaction"
        );
        assert!(hand_over.begin_at_rest(&set(1)));
        hand_over.begun_at_rest(1, 1);
        assert!(hand_over.is_settled_at_rest(1) && !hand_over.begin_at_rest(&set(1)));
        assert!(!hand_over.is_settled_at_rest(2));
        assert!(hand_over.begin(&set(2)).is_none());
        assert!(hand_over.is_settled_at_rest(2));
    }
}
