//! Changes that are held back for an endpoint while it is sent the rows of their table.
//!
//! # The invariant
//!
//! Let `H` be a hold of a table for an endpoint, from the moment that it is opened, between two changes of the stream, until
//! it is closed, between two others. Then of the changes of the table that the endpoint is to get,
//!
//! 1. those before are in the endpoint's lanes, or behind them, when the first row is submitted; so a row comes behind what
//!    was pending for it;
//! 2. those in between are written to the store, in the order of the stream, and settled by that: they cost no memory and
//!    hold no WAL;
//! 3. when all rows are settled, and everything from before `H` is, they are moved behind the endpoint's backlog, in their
//!    order, but for those that the rows have brought already; only then those after are submitted, which come behind them.
//!
//! In 3, *before* is what an earlier program may have read as well: the mark of an endpoint says of everything before it that it
//! is dealt with, though changes may have been on their way to the store as held ones when that program was killed. They are
//! read again, and have to be held again: so no hold is released before everything up to the mark is settled.
//!
//! So a row of the table and its changes are ordered as if all of them had come in one stream. A hold is durable before the
//! first change that it holds is read, and gone only after the last one is moved: whoever starts anew goes on with it.
//! Changes that were committed before a hold began are never held by it, though they are read again after a restart.
//!
//! # Who does it
//!
//! The intake knows the holds ([`Holds`]) and gives changes over; one task, the [keeper], writes and moves them; whoever
//! reads rows opens holds and releases them ([`Releases`]). To close one, the keeper moves what there is, has the intake
//! stop at the next change that would be held, moves the rest, and lets the intake go on.

mod keeper;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pgstream_proto::Lsn;
use slog::Logger;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::keeper::{Change, Keeper, Told};
use super::hand_over::LeftOut;
use crate::delivery::model::Hold;
use crate::delivery::{Dispatcher, Outbox};
use crate::endpoint::Order;
use crate::event::{Event, TableKey};
use crate::progress::{Budget, SettleToken};
use crate::store::PgPool;

/// What the keeper needs.
pub struct HoldParts {
    /// The position up to which everything is settled at the start.
    pub start: Lsn,
    /// Holds that an earlier program has left.
    pub open: Vec<Hold>,
    /// Where held changes are written to.
    pub store: PgPool,
    /// Where they go in the end.
    pub dispatcher: Arc<Dispatcher>,
    /// What is in flight.
    pub budget: Arc<Budget>,
    /// Wakes the stream.
    pub wake: Arc<Notify>,
    /// So many bytes may be in the backlog of an endpoint. With half of that held, reading pauses.
    pub max_bytes: u64,
    /// Where trouble is told.
    pub log: Logger,
}

/// The holds as the intake knows them.
pub struct Holds {
    /// By the table in the order, and by the endpoint's URL.
    open: HashMap<TableKey, HashMap<Arc<str>, Hold>>,
    /// Those that are about to be closed: nothing is held by them any more.
    closing: HashSet<i64>,
    to_keeper: mpsc::UnboundedSender<Told>,
    closings: mpsc::UnboundedReceiver<Closing>,
    confirmed: watch::Sender<Lsn>,
    budget: Arc<Budget>,
    /// Ends with the intake.
    _keeper: tokio::task::JoinSet<()>,
}

/// What the keeper has the intake do.
#[derive(Debug)]
pub(super) enum Closing {
    /// Hold nothing any more by this hold, and read no change that it would hold. This much is left out from now on.
    Stop(i64, Vec<LeftOut>),
    /// Go on: it is closed.
    GoOn(i64),
}

/// Releases holds, once everything that was submitted before them is settled.
#[derive(Clone)]
pub struct Releases {
    to_keeper: mpsc::UnboundedSender<Told>,
    confirmed: watch::Receiver<Lsn>,
}

impl Releases {
    /// The rows for which these changes are held are settled, or not sent: however much is held, it may be written.
    pub fn rows_are_done(&self, hold: i64) {
        // Otherwise the program ends, and the next one does it.
        let _ = self.to_keeper.send(Told::Unbound(hold));
    }

    /// More rows are sent for which these changes are held.
    pub fn more_rows(&self, hold: i64) {
        let _ = self.to_keeper.send(Told::Bound(hold));
    }

    /// Waits until everything is settled that was submitted before the hold, and everything that was committed up to `mark`.
    /// Only then may it be closed. Cancel-safe.
    pub async fn all_before(&self, hold: &Hold, mark: Lsn) {
        let mut confirmed = self.confirmed.clone();
        let is_settled = confirmed.wait_for(|confirmed| *confirmed >= hold.from && *confirmed > mark);
        if is_settled.await.is_err() {
            // The intake is gone, and the program ends.
            std::future::pending::<()>().await;
        }
    }

    /// Closes a hold. Of what is held, and of what comes later, this much is left out. Returns when it is closed, which needs
    /// the intake.
    pub async fn close(&self, hold: Hold, left_out: Vec<LeftOut>) {
        let (closed, closing) = oneshot::channel();
        if self.to_keeper.send(Told::Release(hold, left_out, closed)).is_ok() {
            let _ = closing.await;
        }
    }
}

impl Holds {
    /// What the intake, and what readers of rows need. Starts the keeper.
    #[must_use]
    pub fn start(parts: HoldParts) -> (Self, Releases) {
        let (to_keeper, told) = mpsc::unbounded_channel();
        let (closing, closings) = mpsc::unbounded_channel();
        let (confirmed, watched) = watch::channel(parts.start);
        let budget = Arc::clone(&parts.budget);
        let open = parts.open.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(Keeper::new(parts, told, closing).run());
        let mut holds = Self {
            open: HashMap::new(),
            closing: HashSet::new(),
            to_keeper: to_keeper.clone(),
            closings,
            confirmed,
            budget,
            _keeper: tasks,
        };
        holds.open(open);
        let releases = Releases {
            to_keeper,
            confirmed: watched,
        };
        (holds, releases)
    }

    /// What has to be held for an endpoint so that a table's rows are in order.
    #[must_use]
    pub fn table(outbox: &Outbox, table: TableKey) -> TableKey {
        match outbox.order() {
            // Whatever comes later comes behind the rows.
            Order::Serial => Hold::ALL,
            Order::Key | Order::Unordered => table,
        }
    }

    /// Holds are opened. One that is open already stays.
    pub(super) fn open(&mut self, holds: Vec<Hold>) {
        for hold in holds {
            let of_table = self.open.entry(hold.table).or_default();
            of_table.entry(Arc::clone(&hold.endpoint)).or_insert(hold);
        }
        self.budget.reserve_for_rows(!self.open.is_empty());
    }

    /// The hold that a change of this table is held by for this endpoint, if it is.
    pub(super) fn hold(&self, table: TableKey, commit_lsn: Lsn, endpoint: &Arc<str>) -> Option<&Hold> {
        if self.open.is_empty() {
            return None;
        }
        [Hold::ALL, table]
            .into_iter()
            .filter_map(|table| self.open.get(&table)?.get(endpoint))
            .find(|hold| commit_lsn >= hold.from)
    }

    /// Whether changes of this table have to wait for a hold to be closed.
    pub(super) fn is_closing(&self, table: TableKey, receivers: &[Arc<Outbox>]) -> bool {
        !self.closing.is_empty()
            && receivers.iter().any(|outbox| {
                [Hold::ALL, table].into_iter().any(|table| {
                    let of_table = self.open.get(&table);
                    let hold = of_table.and_then(|of_table| of_table.get(outbox.target().url()));
                    hold.is_some_and(|hold| self.closing.contains(&hold.id))
                })
            })
    }

    /// Whether any hold is about to be closed.
    pub(super) fn are_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// Gives a change over, to be held.
    pub(super) fn keep(
        &self,
        hold: &Hold,
        outbox: &Arc<Outbox>,
        (event, xid): (&Arc<Event>, Option<u32>),
        token: SettleToken,
    ) {
        let change = Change {
            hold: hold.id,
            outbox: Arc::clone(outbox),
            event: Arc::clone(event),
            xid,
            token,
        };
        // Where the keeper is gone, the token is dropped: nothing is confirmed any more.
        let _ = self.to_keeper.send(Told::Keep(change));
    }

    /// Whether the keeper has anything to have done.
    pub(super) fn has_closings(&self) -> bool {
        !self.closings.is_empty()
    }

    /// What the keeper has to have done next. Cancel-safe.
    pub(super) async fn closing(&mut self) -> Closing {
        match self.closings.recv().await {
            Some(closing) => closing,
            // It is gone, with the program.
            None => std::future::pending().await,
        }
    }

    /// The same, if it is there already.
    pub(super) fn try_closing(&mut self) -> Option<Closing> {
        self.closings.try_recv().ok()
    }

    /// Does it. Returns what is left out from now on.
    pub(super) fn close(&mut self, closing: Closing) -> Vec<LeftOut> {
        match closing {
            Closing::Stop(hold, left_out) => {
                self.closing.insert(hold);
                let _ = self.to_keeper.send(Told::Stopped(hold));
                left_out
            }
            Closing::GoOn(closed) => {
                self.closing.remove(&closed);
                self.open.retain(|_, of_table| {
                    of_table.retain(|_, hold| hold.id != closed);
                    !of_table.is_empty()
                });
                self.budget.reserve_for_rows(!self.open.is_empty());
                Vec::new()
            }
        }
    }

    /// Nothing is read any more: what was given over may be written, however much that is.
    pub(super) fn end(&self) {
        let _ = self.to_keeper.send(Told::End);
    }

    /// Everything up to here is settled.
    pub(super) fn confirmed(&self, lsn: Lsn) {
        self.confirmed.send_if_modified(|confirmed| {
            let is_news = *confirmed < lsn;
            *confirmed = (*confirmed).max(lsn);
            is_news
        });
    }
}
