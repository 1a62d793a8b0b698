//! The ledger of what is settled: from deliveries back to the LSN that may be confirmed.
//!
//! # The invariant
//!
//! Let the transactions received since the start be `t1, t2, …` in stream order, each with its end (the end of its
//! commit record, `nextlsn`). Then at any time
//!
//! 1. the confirmed LSN is the start, the end of a received transaction, or a position that the server reported
//!    while nothing was open; never a position inside a transaction;
//! 2. if the confirmed LSN is at or beyond the end of `ti`, then every delivery of `t1 … ti` is settled;
//! 3. the confirmed LSN never goes down.
//!
//! A token that is dropped without being settled leaves its transaction open for good. That is the safe side: after a
//! restart PostgreSQL sends that transaction again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pgstream_proto::Lsn;
use tokio::sync::Notify;

/// Fewer open transactions than this are not looked through for settled ones.
const MERGE_AT_LEAST: usize = 64;

/// Knows every transaction that is not settled yet, oldest first.
///
/// Its owner is the task that reads the stream; the only thing shared with the workers is the count inside each
/// [`SettleToken`].
#[derive(Debug)]
pub struct Ledger {
    /// Transactions with unsettled deliveries, and settled ones behind them that were not merged yet. The unsettled
    /// are bounded by the byte budget, each holds an event; the settled by [`merge_settled`](Self::merge_settled).
    open: VecDeque<OpenTransaction>,
    /// How many there may be before the settled ones are merged.
    merge_at: usize,
    confirmed: Lsn,
    settled: Arc<Notify>,
}

#[derive(Debug)]
struct OpenTransaction {
    pending: Arc<Pending>,
    /// What may be confirmed once this transaction and all before it are settled: its own end, or the end of a later
    /// transaction that had nothing to deliver.
    end: Lsn,
}

/// Counts the unsettled deliveries of one transaction.
#[derive(Debug)]
struct Pending {
    deliveries: AtomicUsize,
    settled: Arc<Notify>,
}

/// A transaction that is being read: hands out a token for each of its deliveries.
///
/// One that matches nothing never allocates.
#[derive(Debug, Default)]
pub struct Transaction {
    pending: Option<Arc<Pending>>,
}

/// Deliveries that belong to no transaction of the stream, and are waited for together.
///
/// It is settled once it is [closed](Self::close) and each of its tokens is settled; never, if one was dropped.
#[derive(Debug)]
pub struct Group {
    pending: Arc<Pending>,
}

/// The obligation to settle one delivery. Whoever holds it either settles it or leaves its transaction unconfirmed.
#[derive(Debug)]
#[must_use = "a token that is not settled holds back the confirmed LSN for good"]
pub struct SettleToken {
    pending: Arc<Pending>,
}

impl Ledger {
    /// A ledger that starts at `start`, the position up to which everything is settled already.
    ///
    /// `settled` is notified whenever the last delivery of a transaction has been settled.
    #[must_use]
    pub fn new(start: Lsn, settled: Arc<Notify>) -> Self {
        Self {
            open: VecDeque::new(),
            merge_at: MERGE_AT_LEAST,
            confirmed: start,
            settled,
        }
    }

    /// A token for one more delivery of `transaction`, which is still being read.
    pub fn token(&self, transaction: &mut Transaction) -> SettleToken {
        let pending = transaction.pending.get_or_insert_with(|| {
            Arc::new(Pending {
                deliveries: AtomicUsize::new(0),
                settled: Arc::clone(&self.settled),
            })
        });
        pending.deliveries.fetch_add(1, Ordering::Relaxed);
        SettleToken {
            pending: Arc::clone(pending),
        }
    }

    /// `transaction` has been read to its commit, whose record ends at `end`.
    pub fn commit(&mut self, transaction: Transaction, end: Lsn) {
        match transaction.pending {
            Some(pending) => {
                self.open.push_back(OpenTransaction { pending, end });
                if self.open.len() >= self.merge_at {
                    self.merge_settled();
                }
            }
            None => self.extend(end),
        }
    }

    /// The server has sent everything up to `wal_end`. Only to be called between transactions.
    ///
    /// This is what lets the slot of an idle database follow the WAL that others write.
    pub fn idle(&mut self, wal_end: Lsn) {
        if self.is_settled() {
            self.extend(wal_end);
        }
    }

    /// The position that may be confirmed now: commits up to it have nothing unsettled.
    pub fn confirmed(&mut self) -> Lsn {
        while let Some(oldest) = self.open.front()
            && oldest.pending.is_settled()
        {
            self.confirmed = self.confirmed.max(oldest.end);
            self.open.pop_front();
        }
        self.confirmed
    }

    /// Whether every transaction read so far is settled.
    pub fn is_settled(&mut self) -> bool {
        self.confirmed();
        self.open.is_empty()
    }

    /// Gives the ends of settled transactions to those before them, so that one delivery that is not made for a long
    /// time does not have the ledger remember everything that came after it.
    ///
    /// What is left is looked through again when it has doubled, so a transaction costs a constant time on average.
    fn merge_settled(&mut self) {
        self.confirmed();
        let mut unsettled: VecDeque<OpenTransaction> = VecDeque::new();
        for transaction in self.open.drain(..) {
            match unsettled.back_mut() {
                Some(before) if transaction.pending.is_settled() => {
                    before.end = before.end.max(transaction.end);
                }
                _ => unsettled.push_back(transaction),
            }
        }
        self.merge_at = (unsettled.len() * 2).max(MERGE_AT_LEAST);
        self.open = unsettled;
    }

    /// Moves the end of the newest open transaction, or the confirmed LSN if there is none.
    fn extend(&mut self, end: Lsn) {
        let newest = self
            .open
            .back_mut()
            .map_or(&mut self.confirmed, |newest| &mut newest.end);
        *newest = (*newest).max(end);
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    /// A group without deliveries yet.
    #[must_use]
    pub fn new() -> Self {
        let pending = Pending {
            // One for the group itself, until it is closed.
            deliveries: AtomicUsize::new(1),
            settled: Arc::new(Notify::new()),
        };
        Self {
            pending: Arc::new(pending),
        }
    }

    /// A token for one more delivery.
    pub fn token(&self) -> SettleToken {
        self.pending.deliveries.fetch_add(1, Ordering::Relaxed);
        SettleToken {
            pending: Arc::clone(&self.pending),
        }
    }

    /// No delivery is added any more. Resolves once all of them are settled.
    pub async fn close(self) {
        SettleToken {
            pending: Arc::clone(&self.pending),
        }
        .settle();
        while !self.pending.is_settled() {
            // What was notified before is not lost: one permit is kept.
            self.pending.settled.notified().await;
        }
    }
}

impl Pending {
    fn is_settled(&self) -> bool {
        // Pairs with the release in `settle`: what a worker wrote before it settled is visible from here on.
        self.deliveries.load(Ordering::Acquire) == 0
    }
}

impl SettleToken {
    /// The delivery is settled: delivered, durably stored, or discarded and counted.
    pub fn settle(self) {
        if self.pending.deliveries.fetch_sub(1, Ordering::Release) == 1 {
            self.pending.settled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn a_group_is_settled_with_its_last_delivery() {
        Group::new().close().await;
        let group = Group::new();
        let (first, second) = (group.token(), group.token());
        first.settle();
        let mut closed = std::pin::pin!(group.close());
        assert!(closed.as_mut().now_or_never().is_none());
        second.settle();
        closed.await;
        let group = Group::new();
        drop(group.token());
        let mut closed = std::pin::pin!(group.close());
        assert!(
            closed.as_mut().now_or_never().is_none(),
            "a lost delivery is never settled"
        );
    }

    fn ledger(start: u64) -> Ledger {
        Ledger::new(Lsn::new(start), Arc::new(Notify::new()))
    }

    #[test]
    fn an_unmatched_transaction_is_confirmed_at_its_end() {
        let mut ledger = ledger(10);
        ledger.commit(Transaction::default(), Lsn::new(20));
        assert_eq!(ledger.confirmed(), Lsn::new(20));
    }

    #[test]
    fn an_unmatched_transaction_waits_for_the_open_one_before_it() {
        let mut ledger = ledger(10);
        let mut first = Transaction::default();
        let token = ledger.token(&mut first);
        ledger.commit(first, Lsn::new(20));
        ledger.commit(Transaction::default(), Lsn::new(30));
        ledger.idle(Lsn::new(99));
        assert_eq!(ledger.confirmed(), Lsn::new(10));
        token.settle();
        assert_eq!(ledger.confirmed(), Lsn::new(30));
    }

    #[test]
    fn settling_all_before_the_commit_confirms_nothing_yet() {
        let mut ledger = ledger(10);
        let mut first = Transaction::default();
        ledger.token(&mut first).settle();
        assert_eq!(ledger.confirmed(), Lsn::new(10));
        ledger.commit(first, Lsn::new(20));
        assert_eq!(ledger.confirmed(), Lsn::new(20));
    }

    #[test]
    fn a_dropped_token_holds_its_transaction_back_for_good() {
        let mut ledger = ledger(10);
        let mut first = Transaction::default();
        drop(ledger.token(&mut first));
        ledger.commit(first, Lsn::new(20));
        ledger.idle(Lsn::new(30));
        assert_eq!(ledger.confirmed(), Lsn::new(10));
        assert!(!ledger.is_settled());
    }

    #[test]
    fn one_delivery_that_is_never_made_does_not_have_everything_behind_it_remembered() {
        let mut ledger = ledger(0);
        let mut stuck = Transaction::default();
        let token = ledger.token(&mut stuck);
        ledger.commit(stuck, Lsn::new(1));
        for end in 2..100_000 {
            let mut settled = Transaction::default();
            ledger.token(&mut settled).settle();
            ledger.commit(settled, Lsn::new(end));
            assert!(ledger.open.len() <= MERGE_AT_LEAST);
        }
        assert_eq!(ledger.confirmed(), Lsn::ZERO);
        token.settle();
        assert_eq!(ledger.confirmed(), Lsn::new(99_999));
    }

    #[test]
    fn the_last_settlement_of_a_transaction_wakes_the_owner() {
        let settled = Arc::new(Notify::new());
        let ledger = Ledger::new(Lsn::ZERO, Arc::clone(&settled));
        let mut transaction = Transaction::default();
        let tokens = [ledger.token(&mut transaction), ledger.token(&mut transaction)];
        for token in tokens {
            assert!(futures_util::FutureExt::now_or_never(settled.notified()).is_none());
            token.settle();
        }
        assert!(futures_util::FutureExt::now_or_never(settled.notified()).is_some());
    }

    /// What may happen to a ledger.
    #[derive(Debug, Clone)]
    enum Step {
        /// A transaction with so many deliveries, of which so many are settled before its commit is read.
        Transaction { deliveries: usize, settled_early: usize },
        /// The n-th of the unsettled deliveries (modulo their number) is settled.
        Settle(usize),
        /// A keepalive.
        Keepalive,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_usize, 0..4_usize).prop_map(|(deliveries, settled_early)| Step::Transaction {
                deliveries,
                settled_early
            }),
            any::<usize>().prop_map(Step::Settle),
            Just(Step::Keepalive),
        ]
    }

    /// The same in the plainest words: all events of the stream in order, with what is unsettled in each.
    #[derive(Default)]
    struct Model {
        ends: Vec<(u64, usize)>,
        confirmed: u64,
    }

    impl Model {
        fn confirmed(&mut self) -> u64 {
            let settled = self.ends.iter().take_while(|(_, unsettled)| *unsettled == 0);
            self.confirmed = settled
                .map(|(end, _)| *end)
                .max()
                .unwrap_or(0)
                .max(self.confirmed);
            self.confirmed
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_model(steps in proptest::collection::vec(step(), 0..1000)) {
            let mut ledger = ledger(0);
            let mut model = Model::default();
            let mut position = 0;
            let mut tokens: Vec<(usize, SettleToken)> = Vec::new();
            for step in steps {
                position += 10;
                match step {
                    Step::Transaction { deliveries, settled_early } => {
                        let mut transaction = Transaction::default();
                        let index = model.ends.len();
                        let mut mine: Vec<_> =
                            (0..deliveries).map(|_| (index, ledger.token(&mut transaction))).collect();
                        for (_, token) in mine.drain(..settled_early.min(deliveries)) {
                            token.settle();
                        }
                        model.ends.push((position, mine.len()));
                        tokens.append(&mut mine);
                        ledger.commit(transaction, Lsn::new(position));
                    }
                    Step::Settle(choice) if !tokens.is_empty() => {
                        let (index, token) = tokens.remove(choice % tokens.len());
                        model.ends[index].1 -= 1;
                        token.settle();
                    }
                    Step::Settle(_) => {}
                    Step::Keepalive => {
                        if model.ends.iter().all(|(_, unsettled)| *unsettled == 0) {
                            model.ends.push((position, 0));
                        }
                        ledger.idle(Lsn::new(position));
                    }
                }
                prop_assert_eq!(ledger.confirmed(), Lsn::new(model.confirmed()));
                prop_assert_eq!(ledger.is_settled(), tokens.is_empty());
            }
        }
    }
}
