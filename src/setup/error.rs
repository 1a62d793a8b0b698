//! Why `init` or `tear-down` could not do its work, for the operator who has to mend it.

use std::fmt;

use super::Precondition;
use crate::store::StoreError;
use crate::store::blockers::Blocker;
use crate::store::known::Undelivered;

/// At most so many transactions are named in one message.
const MAX_NAMED: usize = 10;

/// A failure of `init` or `tear-down`.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The slot's name is not one that PostgreSQL accepts.
    #[error("{0}")]
    SlotName(String),
    /// The server, or the role, cannot do what pgstream needs. Nothing has been changed.
    #[error(transparent)]
    Precondition(#[from] Precondition),
    /// The slot's creation waited too long. No half-built slot is left.
    #[error(
        "gave up creating replication slot {slot} after {seconds} s: it has to wait for every transaction that is \
         open at that time; {}; end them and run init again",
        Waiting(blockers)
    )]
    SlotTimeout {
        /// The slot.
        slot: String,
        /// How long was waited.
        seconds: u64,
        /// Who was in the way.
        blockers: Vec<Blocker>,
    },
    /// The slot is being used. Nothing has been removed.
    #[error(
        "replication slot {slot} is in use by PID {pid}, nothing was removed: stop pgstream (or whatever else reads \
         the slot; SELECT pg_terminate_backend({pid}) ends it) and run tear-down again"
    )]
    SlotInUse {
        /// The slot.
        slot: String,
        /// The process that uses it.
        pid: i32,
    },
    /// Events would be lost. Nothing has been removed.
    #[error(
        "{target} holds {} undelivered events in backlogs and {} dead letters, which would be deleted; nothing was \
         removed: have them delivered or discard them (see `pgstream endpoints list`), or give --force",
        undelivered.backlog,
        undelivered.dead_letters
    )]
    Undelivered {
        /// The database's URL, password masked.
        target: String,
        /// What would be lost.
        undelivered: Undelivered,
    },
    /// Something of the operator's depends on schema `pgstream`. Nothing has been removed.
    #[error(
        "schema pgstream of {target} cannot be removed, because objects that are not pgstream's depend on it or lie in \
         it; nothing was removed there: drop or move them and run tear-down again ({detail})"
    )]
    Dependents {
        /// The database's URL, password masked.
        target: String,
        /// PostgreSQL's list of them.
        detail: String,
    },
    /// Other transactions use our objects. Nothing has been removed.
    #[error(
        "schema pgstream of {target} cannot be removed while other transactions use it, nothing was removed there; \
         {}; end them and run tear-down again",
        Waiting(blockers)
    )]
    SchemaInUse {
        /// The database's URL, password masked.
        target: String,
        /// Who was in the way.
        blockers: Vec<Blocker>,
    },
    /// A database did not do what it was told.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// "waiting for A, B and 3 more".
pub(super) struct Waiting<'a>(pub(super) &'a [Blocker]);

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return formatter.write_str("none of them is open any more");
        };
        write!(formatter, "waiting for {first}")?;
        for other in others.iter().take(MAX_NAMED - 1) {
            write!(formatter, ", {other}")?;
        }
        match self.0.len().saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}
