//! Where transactions begin and end.

use std::collections::HashSet;
use std::sync::Arc;

use pgstream_proto::Lsn;
use pgstream_proto::wal2json::Header;

use super::seen::Seen;
use super::{StreamIntake, out_of_place};
use crate::pipeline::PipelineError;
use crate::progress::Transaction;
use crate::subscription::cache::CacheMode;
use crate::subscription::matcher::SubscriptionSet;

/// The transaction that is being read.
pub(super) struct OpenTransaction {
    pub(super) commit_lsn: Lsn,
    /// The end of its commit record, if the plugin printed it with the begin.
    pub(super) end: Option<Lsn>,
    pub(super) settling: Transaction,
    /// Whether it is none, but stands for a message outside of one.
    pub(super) is_lone: bool,
    /// Whether it changes anything that is not our own.
    pub(super) is_notable: bool,
    /// Its number, if the plugin printed it.
    pub(super) xid: Option<u32>,
    /// The version of its newest entry of the schema log that was read, if it wrote any.
    pub(super) version: Option<i64>,
    /// The names of the tables that its next entry touches.
    pub(super) touched: HashSet<String>,
    /// Whether it was waited for in vain that others can see what it did.
    pub(super) is_unseen: bool,
    /// Whether it is known that it has left no partitioned table.
    pub(super) has_no_partitions: bool,
    /// The one set it is matched against. Absent until a fresh one was asked for and came.
    pub(super) set: Option<Arc<SubscriptionSet>>,
}

impl StreamIntake {
    pub(super) fn begin(&mut self, wal_start: Lsn, header: &Header<'_>) -> Result<(), PipelineError> {
        if self.open.is_some() {
            return Err(out_of_place(wal_start, "a transaction begins within another one"));
        }
        let commit_lsn = header.lsn.ok_or(PipelineError::Incomplete {
            wal_start,
            field: "lsn",
        })?;
        self.hand_over.transaction(commit_lsn);
        self.open(commit_lsn, header.nextlsn, false);
        if let Some(open) = &mut self.open {
            open.xid = header.xid;
        }
        if let Some(injector) = &mut self.injector {
            injector.begin();
        }
        Ok(())
    }

    pub(super) fn open(&mut self, commit_lsn: Lsn, end: Option<Lsn>, is_lone: bool) {
        // The set that is current now holds for the whole transaction. Where nothing keeps it fresh, a fresh one is
        // asked for before the first match.
        let set = match self.subscriptions.mode() {
            CacheMode::Refreshed { .. } => Some(self.subscriptions.current()),
            CacheMode::OnDemand => None,
        };
        self.open = Some(OpenTransaction {
            commit_lsn,
            end,
            settling: Transaction::default(),
            is_lone,
            is_notable: false,
            xid: None,
            version: None,
            touched: HashSet::new(),
            is_unseen: false,
            has_no_partitions: false,
            set,
        });
        self.occurrences.reset();
        self.raw.reset();
    }

    /// A message outside of a transaction is dealt with.
    pub(super) fn close_lone(&mut self) {
        if let Some(open) = self.open.take_if(|open| open.is_lone) {
            let end = open.end.unwrap_or(open.commit_lsn);
            self.received(open, end);
        }
    }

    /// A transaction was received as a whole.
    fn received(&mut self, open: OpenTransaction, end: Lsn) {
        if open.is_notable {
            self.notable = end;
        }
        self.received = self.received.max(end);
        self.seen = Seen::default();
        self.counts.transaction();
        self.ledger.commit(open.settling, end);
    }

    /// The only ends that are ever confirmed: the `nextlsn` of a commit, and that of a message outside of one.
    pub(super) fn commit(&mut self, wal_start: Lsn, header: &Header<'_>) -> Result<(), PipelineError> {
        let open = self
            .open
            .take()
            .ok_or_else(|| out_of_place(wal_start, "a commit without a begin"))?;
        let end = header.nextlsn.ok_or(PipelineError::Incomplete {
            wal_start,
            field: "nextlsn",
        })?;
        self.hand_over.read(open.xid, end);
        self.received(open, end);
        Ok(())
    }
}
