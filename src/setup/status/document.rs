//! What `pgstream status --json` prints: version 1. Members are only ever added; a part that could not be looked at is `null`,
//! and `not_looked_at` says why.

use serde::Serialize;

use crate::config::PgUrl;
use crate::operator::backfills::Backfill;
use crate::operator::snapshots::SnapshotTable;
use crate::setup::findings::{Finding, NotLookedAt, Verdict};
use crate::store::PgPool;
use crate::store::figures::COUNTED_ROWS;

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The version of this document.
    pub version: u32,
    /// `healthy`, `problems` or `unknown`: exit code 0, 1 or 2.
    pub status: Verdict,
    /// What is wrong, each with what mends it.
    pub problems: Vec<Finding>,
    /// What is no problem yet, or may be meant to be so.
    pub hints: Vec<Finding>,
    /// The parts that could not be looked at, and why.
    pub not_looked_at: Vec<NotLookedAt>,
    /// What `init` makes in the databases.
    pub initialisation: Initialisation,
    /// The replication slot; `null` where there is none, too.
    pub slot: Option<SlotReport>,
    /// What the store remembers of the source; `null` where the slot was never streamed, too.
    pub remembered: Option<RememberedReport>,
    /// The configuration.
    pub config: ConfigReport,
    /// The database whose changes are streamed.
    pub source: SourceReport,
    /// The database of the subscriptions.
    pub store: Reach,
    /// Subscribed tables whose updates and deletes are not sent, because they name no row.
    pub tables_without_replica_identity: Option<Vec<UnidentifiedTable>>,
    /// Endpoints that do not take what they should, or are not to.
    pub endpoints_in_trouble: Option<Vec<TroubledEndpoint>>,
    /// What waits for endpoints.
    pub backlog: Option<BacklogReport>,
    /// What was not delivered for good.
    pub dead_letters: Option<DeadLetterReport>,
    /// The reading of existing rows.
    pub snapshot: Option<SnapshotReport>,
}

/// What `init` makes in the databases.
#[derive(Debug, Default, Serialize)]
pub struct Initialisation {
    /// Whether the source has schema `pgstream`.
    pub schema_exists: Option<bool>,
    /// Whether the source has table `pgstream.schema_log`.
    pub schema_log_exists: Option<bool>,
    /// The migrations of the source.
    pub source_migration: Option<MigrationReport>,
    /// The migrations of the store.
    pub store_migration: Option<MigrationReport>,
    /// The name of the replication slot.
    pub slot_name: Option<String>,
}

/// How far one set of migrations is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MigrationReport {
    /// The last one; `null` where there is none.
    pub version: Option<i64>,
    /// `success`, `pending`, `failed`, or `other_release`.
    pub state: &'static str,
    /// How many are still to be applied.
    pub pending: usize,
}

/// A replication slot. What is `null` the server does not say, or not to this role.
#[derive(Debug, Serialize)]
pub struct SlotReport {
    /// Its name.
    pub name: String,
    /// Its output plugin; `null` for a physical slot.
    pub plugin: Option<String>,
    /// Its database; `null` for a physical slot.
    pub database: Option<String>,
    /// Whether something streams from it.
    pub active: bool,
    /// The process of the server that does.
    pub active_pid: Option<i32>,
    /// Everything before this position has been confirmed.
    pub confirmed_flush_lsn: Option<String>,
    /// The WAL from here on is kept.
    pub restart_lsn: Option<String>,
    /// How far the confirmed position is behind the end of the WAL, in bytes.
    pub lag_bytes: Option<u64>,
    /// The same in seconds.
    pub lag_seconds: Option<f64>,
    /// How much WAL is kept, in bytes.
    pub retained_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// How much WAL may be written until it is in danger, in bytes.
    pub safe_wal_size: Option<i64>,
    /// How much WAL it may keep, in bytes; `null` for any amount.
    pub max_slot_wal_keep_size: Option<u64>,
    /// Why it cannot be used any more (PostgreSQL 17).
    pub invalidation_reason: Option<String>,
    /// Whether stand-bys are kept in step with it (PostgreSQL 17).
    pub failover: bool,
    /// Whether it is kept in step with that of another server (PostgreSQL 17).
    pub synced: bool,
    /// `sync_state` of its walsender.
    pub sync_state: Option<String>,
}

/// What is remembered of the source from one start to the next one.
#[derive(Debug, Serialize)]
pub struct RememberedReport {
    /// The identifier of the database cluster, as text: it may be larger than numbers of JSON are exact.
    pub system_identifier: String,
    /// Its timeline.
    pub timeline: u32,
    /// Part of the ids of its changes.
    pub epoch: u32,
    /// Everything up to this position is settled.
    pub confirmed_lsn: String,
}

/// The configuration.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigReport {
    /// Whether it is valid.
    pub valid: bool,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

impl ConfigReport {
    /// That of a configuration with these errors.
    #[must_use]
    pub fn new(errors: &[String]) -> Self {
        Self {
            valid: errors.is_empty(),
            errors: errors.to_vec(),
        }
    }
}

/// Whether a database can be reached.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reach {
    /// Its URL, password masked; `null` where the configuration does not say it.
    pub url: Option<String>,
    /// Whether it answers.
    pub reachable: bool,
    /// Why it does not.
    pub error: Option<String>,
}

impl Reach {
    pub(in crate::setup) fn new(url: &PgUrl, reached: &Result<PgPool, String>) -> Self {
        Self {
            url: Some(url.to_string()),
            reachable: reached.is_ok(),
            error: reached.as_ref().err().cloned(),
        }
    }
}

/// The database whose changes are streamed.
#[derive(Debug, Default, Serialize)]
pub struct SourceReport {
    /// Whether it can be reached.
    #[serde(flatten)]
    pub reach: Reach,
    /// The server's version.
    pub server_version: Option<String>,
    /// The encoding of the database.
    pub encoding: Option<String>,
    /// Whether transactions wait for our walsender, or would.
    pub synchronous_standby: Option<bool>,
    /// `synchronous_standby_names`.
    pub synchronous_standby_names: Option<String>,
}

/// A table without a replica identity.
#[derive(Debug, Serialize)]
pub struct UnidentifiedTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// The statement that mends it.
    pub remedy: String,
}

/// An endpoint in trouble.
#[derive(Debug, Serialize)]
pub struct TroubledEndpoint {
    /// Its URL.
    pub url: String,
    /// `paused`, `disabled`, `failing`, `outage`, `probing` or `draining`.
    pub state: String,
    /// Since when (RFC 3339, UTC).
    pub since: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl TroubledEndpoint {
    /// Its state, since when, and why, for people.
    #[must_use]
    pub fn condition(&self) -> String {
        let mut text = self.state.clone();
        if let Some(since) = &self.since {
            text.extend([" since ", since]);
        }
        if let Some(reason) = &self.reason {
            text.extend([": ", reason]);
        }
        text
    }
}

/// What waits for endpoints in the store.
#[derive(Debug, Default, Serialize)]
pub struct BacklogReport {
    /// The events; 100000 stands for more as well.
    pub rows: u64,
    /// The bytes of those that were counted.
    pub bytes: u64,
    /// Since when the oldest waits (RFC 3339, UTC).
    pub oldest: Option<String>,
    /// The endpoints that any wait for.
    pub endpoints: u64,
}

/// A number of rows for people. No more than so many are counted.
#[must_use]
pub fn counted(rows: u64) -> String {
    if rows >= u64::from(COUNTED_ROWS) {
        format!("{COUNTED_ROWS} or more")
    } else {
        rows.to_string()
    }
}

/// What was not delivered for good.
#[derive(Debug, Default, Serialize)]
pub struct DeadLetterReport {
    /// Events of endpoints; 100000 stands for more as well.
    pub undelivered: u64,
    /// Records without an endpoint: such as could not be read.
    pub without_endpoint: u64,
    /// The youngest of those.
    pub records: Vec<RecordReport>,
}

/// A record without an endpoint.
#[derive(Debug, Serialize)]
pub struct RecordReport {
    /// Its number, for `pgstream deadletters show`.
    pub id: i64,
    /// Why it is there, such as `unparsable`.
    pub reason: String,
    /// Where it is in the WAL.
    pub lsn: String,
    /// Since when (RFC 3339, UTC).
    pub died_at: String,
    /// What was wrong with it.
    pub error: Option<String>,
}

/// The reading of existing rows.
#[derive(Debug, Default, Serialize)]
pub struct SnapshotReport {
    /// The tables.
    pub tables: Vec<SnapshotTable>,
    /// The backfills.
    pub backfills: Vec<Backfill>,
    /// What is held back for endpoints that are sent rows.
    pub held: HeldReport,
}

/// What is held back.
#[derive(Debug, Default, Serialize)]
pub struct HeldReport {
    /// Tables whose changes are held back for an endpoint.
    pub holds: u64,
    /// The changes; 100000 stands for more as well.
    pub changes: u64,
    /// The bytes of those that were counted.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_counted_to_its_end_is_said_to_be_so() {
        assert_eq!(counted(99_999), "99999");
        assert_eq!(counted(100_000), "100000 or more");
    }
}
