//! Going on without a transaction that cannot be sent: the slot is advanced past it, and that is written down.

use pgstream_proto::Lsn;

use super::{Precondition, preconditions};
use crate::config::PgUrl;
use crate::event::{Position, Source};
use crate::store::{self, MigrationSet, PgPool, StoreError, dead_letters, server, slots, sources};

/// What is to be skipped.
#[derive(Clone, Debug)]
pub struct SkipOptions {
    /// The database whose changes are streamed.
    pub source: PgUrl,
    /// The database of the dead letters, where it is another one.
    pub store: Option<PgUrl>,
    /// The slot.
    pub slot: String,
    /// Where it is to be: everything up to here that is not confirmed is skipped.
    pub to: Lsn,
}

/// Why nothing was skipped.
#[derive(Debug, thiserror::Error)]
pub enum SkipError {
    /// There is no such slot.
    #[error(
        "replication slot {slot:?} does not exist: name another one with --replication-slot, or run `pgstream init`"
    )]
    NoSlot {
        /// Its name.
        slot: String,
    },
    /// The slot is another one.
    #[error(transparent)]
    Precondition(#[from] Precondition),
    /// Somebody streams from the slot.
    #[error("replication slot {slot} is in use by PID {pid}: stop pgstream first")]
    InUse {
        /// The slot.
        slot: String,
        /// The process that uses it.
        pid: i32,
    },
    /// The slot is there already.
    #[error(
        "replication slot {slot} is at {confirmed}, so there is nothing to skip up to {to}: give the end of the transaction, as \
         the error said that `pgstream run` ended with"
    )]
    Behind {
        /// The slot.
        slot: String,
        /// Where it is.
        confirmed: Lsn,
        /// Where it was to be.
        to: Lsn,
    },
    /// The server has not come there yet.
    #[error(
        "the WAL ends at {wal_end}, before {to}: what would be skipped has not been written yet. Give the end of the \
         transaction, as the error said that `pgstream run` ended with"
    )]
    Ahead {
        /// The end of the WAL.
        wal_end: Lsn,
        /// Where the slot was to be.
        to: Lsn,
    },
    /// Another program has moved the slot meanwhile.
    #[error("replication slot {slot} has moved from {expected} to {found} meanwhile: look again")]
    Moved {
        /// The slot.
        slot: String,
        /// Where it was.
        expected: Lsn,
        /// Where it is.
        found: Lsn,
    },
    /// A database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What will be skipped.
#[derive(Debug)]
pub struct Skip {
    slot: String,
    /// Where the slot is.
    pub from: Lsn,
    /// Where it will be.
    pub to: Lsn,
    /// What was delivered or kept before the program ended, as far as it was written down.
    pub settled: Option<Lsn>,
    source: PgPool,
    store: PgPool,
    identity: Source,
}

/// Looks what would be skipped.
///
/// # Errors
/// [`SkipError`]: nothing can be skipped so.
pub async fn plan(options: &SkipOptions) -> Result<Skip, SkipError> {
    let SkipOptions { slot, to, .. } = options;
    let source = store::connect(&options.source).await?;
    let store = match &options.store {
        Some(url) => store::connect(url).await?,
        None => source.clone(),
    };
    store::migrate(&store, MigrationSet::Store).await?;
    let from = unused(&source, slot).await?;
    if *to <= from {
        return Err(SkipError::Behind {
            slot: slot.clone(),
            confirmed: from,
            to: *to,
        });
    }
    let wal_end = server::wal_end(&source).await?;
    if *to > wal_end {
        return Err(SkipError::Ahead { wal_end, to: *to });
    }
    let known = sources::find(&store, slot).await?;
    let found = store::schema_log::identify(&source).await?;
    Ok(Skip {
        slot: slot.clone(),
        from,
        to: *to,
        settled: known.map(|known| known.confirmed),
        identity: Source {
            system_identifier: u64::from_ne_bytes(found.system_identifier.to_ne_bytes()),
            epoch: known.map_or(1, |known| known.epoch),
        },
        source,
        store,
    })
}

impl Skip {
    /// Advances the slot. What is skipped is written down before, as a dead letter without an endpoint, so that nothing is
    /// lost silently even if this is interrupted.
    ///
    /// # Errors
    /// [`SkipError`]
    pub async fn carry_out(&self) -> Result<Lsn, SkipError> {
        let Self { slot, from, to, .. } = self;
        let found = unused(&self.source, slot).await?;
        if found != *from {
            return Err(SkipError::Moved {
                slot: slot.clone(),
                expected: *from,
                found,
            });
        }
        let position = Position {
            source: self.identity.system_identifier,
            epoch: self.identity.epoch,
            commit_lsn: *to,
            lsn: *from,
        };
        let gap = format!(
            r#"{{"skipped":{{"slot":{},"from":"{from}","to":"{to}"}}}}"#,
            serde_json::Value::from(slot.as_str())
        );
        let problem = format!("skipped by `pgstream skip`: what was committed between {from} and {to}");
        let id = self.identity.skipped_id(*from, *to);
        dead_letters::bury_raw(&self.store, &id, &position, gap.as_bytes(), ("skipped", &problem)).await?;
        // Before the slot moves: behind it, a program would take the slot for one that somebody else has moved.
        sources::skipping(&self.store, slot, *to).await?;
        let end = slots::advance(&self.source, slot, *to).await?;
        sources::skipped(&self.store, slot, *to).await?;
        Ok(end)
    }
}

/// Where a slot of ours is that nobody uses.
async fn unused(source: &PgPool, name: &str) -> Result<Lsn, SkipError> {
    let database = server::describe(source).await?.database;
    let slot = slots::find(source, name)
        .await?
        .ok_or_else(|| SkipError::NoSlot {
            slot: name.to_owned(),
        })?;
    preconditions::check_slot(name, &slot, &database)?;
    preconditions::check_slot_usable(name, &slot)?;
    if let Some(pid) = slot.active_pid {
        return Err(SkipError::InUse {
            slot: name.to_owned(),
            pid,
        });
    }
    Ok(slot.confirmed.unwrap_or(Lsn::ZERO))
}
