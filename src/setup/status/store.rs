//! What is looked at in the store.

use tokio::time::Instant;

use super::document::{
    BacklogReport, DeadLetterReport, HeldReport, MigrationReport, RecordReport, SnapshotReport,
    TroubledEndpoint,
};
use super::source::migration_report;
use crate::operator::documents::timestamp;
use crate::operator::{backfills, snapshots};
use crate::setup::findings::{NotLookedAt, by, chain, keep};
use crate::store::backlog::{self, Sum};
use crate::store::endpoints::{self, Troubled};
use crate::store::figures::COUNTED_ROWS;
use crate::store::letters::{self, Letter};
use crate::store::snapshot::held_totals;
use crate::store::sources::{self, Source};
use crate::store::{MigrationSet, PgPool, StoreError, migrate, subscriptions};
use crate::subscription::model::Subscription;

/// So many records without an endpoint are listed.
const MAX_RECORDS: u32 = 10;

/// What was found. `None` was not looked at, or is not there yet.
#[derive(Debug, Default)]
pub(super) struct StoreFacts {
    pub(super) migration: Option<MigrationReport>,
    /// What is remembered of the source that the slot belongs to.
    pub(super) remembered: Option<Option<Source>>,
    pub(super) subscriptions: Option<Vec<Subscription>>,
    pub(super) troubled: Option<Vec<TroubledEndpoint>>,
    pub(super) backlog: Option<BacklogReport>,
    pub(super) dead_letters: Option<DeadLetterReport>,
    pub(super) snapshot: Option<SnapshotReport>,
    pub(super) missing: Vec<NotLookedAt>,
}

/// Looks at all of it side by side, once it is known that the tables are there.
pub(super) async fn look(pool: &PgPool, slot: &str, deadline: Instant) -> StoreFacts {
    let mut facts = StoreFacts::default();
    let migration = by(deadline, migrate::applied(pool, MigrationSet::Store)).await;
    let migration = keep("store_migration", migration, &mut facts.missing);
    facts.migration = migration.map(migration_report);
    if facts.migration.is_some_and(|found| found.version.is_none()) {
        return facts;
    }
    let (remembered, subscriptions, troubled, backlog, dead_letters, snapshot) = tokio::join!(
        by(deadline, sources::find(pool, slot)),
        by(deadline, subscriptions::list(pool)),
        by(deadline, endpoints::troubled(pool)),
        by(deadline, backlog::sum(pool, COUNTED_ROWS)),
        by(deadline, dead_letters(pool)),
        by(deadline, snapshot(pool, slot)),
    );
    let is_pending = facts.migration.is_some_and(|found| found.state == "pending");
    let missing = &mut facts.missing;
    facts.remembered = match remembered {
        // The store of an earlier release has no such table.
        Err(_) if is_pending => None,
        looked => keep("remembered", looked, missing),
    };
    facts.subscriptions = keep("subscriptions", subscriptions, missing);
    facts.troubled = keep("endpoints_in_trouble", troubled, missing)
        .map(|found| found.into_iter().map(TroubledEndpoint::from).collect());
    facts.backlog = keep("backlog", backlog, missing).map(BacklogReport::from);
    facts.dead_letters = keep("dead_letters", dead_letters, missing);
    facts.snapshot = keep("snapshot", snapshot, missing);
    facts
}

async fn dead_letters(pool: &PgPool) -> Result<DeadLetterReport, StoreError> {
    let (undelivered, without_endpoint) = letters::count_some(pool, COUNTED_ROWS).await?;
    let records = match without_endpoint {
        0 => Vec::new(),
        _ => letters::without_endpoint(pool, MAX_RECORDS).await?,
    };
    Ok(DeadLetterReport {
        undelivered,
        without_endpoint,
        records: records.into_iter().map(RecordReport::from).collect(),
    })
}

/// Why the reading of rows could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoSnapshot(String);

async fn snapshot(pool: &PgPool, slot: &str) -> Result<SnapshotReport, NoSnapshot> {
    let failed = |error: &dyn std::error::Error| NoSnapshot(chain(error));
    let tables = snapshots::list(pool)
        .await
        .map_err(|error| failed(&error))?
        .tables;
    let backfills = backfills::list(pool)
        .await
        .map_err(|error| failed(&error))?
        .backfills;
    let held = held_totals(pool, slot, COUNTED_ROWS)
        .await
        .map_err(|error| failed(&error))?;
    Ok(SnapshotReport {
        tables: tables.into_iter().filter(|table| table.slot == slot).collect(),
        backfills: backfills.into_iter().filter(|one| one.slot == slot).collect(),
        held: HeldReport {
            holds: held.holds,
            changes: held.changes,
            bytes: held.bytes,
        },
    })
}

impl From<Troubled> for TroubledEndpoint {
    fn from(found: Troubled) -> Self {
        Self {
            url: found.url,
            state: found.state,
            since: found.since.map(timestamp),
            reason: found.reason,
        }
    }
}

impl From<Sum> for BacklogReport {
    fn from(found: Sum) -> Self {
        Self {
            rows: found.rows,
            bytes: found.bytes,
            oldest: found.oldest.map(timestamp),
            endpoints: found.endpoints,
        }
    }
}

impl From<Letter> for RecordReport {
    fn from(letter: Letter) -> Self {
        Self {
            id: letter.id,
            reason: letter.reason,
            lsn: letter.lsn,
            died_at: timestamp(letter.died_at),
            error: letter.last_error,
        }
    }
}
