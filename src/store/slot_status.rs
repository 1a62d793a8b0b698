//! How the slot does: what `status` and the watch of a running program look at. Reads only.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgPool, Row};

use super::StoreError;
use super::slots::{COLUMNS, Slot};

/// A slot, and how it does at this moment. What is `None` the server does not say, or not to this role.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotStatus {
    /// What it is.
    pub slot: Slot,
    /// Whether something streams from it.
    pub active: bool,
    /// Everything before this position has been confirmed.
    pub confirmed_flush_lsn: Option<String>,
    /// The WAL from this position on is kept for it.
    pub restart_lsn: Option<String>,
    /// How far the confirmed position is behind the end of the WAL, in bytes.
    pub lag_bytes: Option<u64>,
    /// How much WAL is kept for it, in bytes.
    pub retained_bytes: Option<u64>,
    /// How long ago the WAL was written that was confirmed last, in seconds.
    pub lag_seconds: Option<f64>,
    /// How much WAL may be written until it is in danger of being lost, in bytes; below zero where it is already.
    pub safe_wal_size: Option<i64>,
    /// `max_slot_wal_keep_size` in bytes; `None` where slots may keep any amount.
    pub max_slot_wal_keep_size: Option<u64>,
    /// `sync_state` of the walsender that streams from it. Only members of `pg_read_all_stats` may see it.
    pub sync_state: Option<String>,
    /// `synchronous_standby_names`, which everybody may see.
    pub synchronous_standby_names: String,
}

impl FromRow<'_, PgRow> for SlotStatus {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let bytes = |column: &str| -> Result<Option<u64>, sqlx::Error> {
            let bytes: Option<i64> = row.try_get(column)?;
            Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()))
        };
        Ok(Self {
            slot: Slot::from_row(row)?,
            active: row.try_get("active")?,
            confirmed_flush_lsn: row.try_get("confirmed_flush_lsn")?,
            restart_lsn: row.try_get("restart_lsn")?,
            lag_bytes: bytes("lag_bytes")?,
            retained_bytes: bytes("retained_bytes")?,
            lag_seconds: row.try_get("lag_seconds")?,
            safe_wal_size: row.try_get("safe_wal_size")?,
            max_slot_wal_keep_size: bytes("max_slot_wal_keep_size")?,
            sync_state: row.try_get("sync_state")?,
            synchronous_standby_names: row.try_get("synchronous_standby_names")?,
        })
    }
}

/// Looks at the slot of this name.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn find(pool: &PgPool, name: &str) -> Result<Option<SlotStatus>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS}, s.active, s.confirmed_flush_lsn::text AS confirmed_flush_lsn,
                s.restart_lsn::text AS restart_lsn, s.safe_wal_size,
                CASE WHEN s.confirmed_flush_lsn IS NOT NULL
                     THEN greatest(pg_wal_lsn_diff(wal.written, s.confirmed_flush_lsn), 0)::bigint END AS lag_bytes,
                CASE WHEN s.restart_lsn IS NOT NULL
                     THEN greatest(pg_wal_lsn_diff(wal.written, s.restart_lsn), 0)::bigint END AS retained_bytes,
                extract(epoch FROM r.flush_lag)::double precision AS lag_seconds,
                (SELECT nullif(setting::bigint, -1) * 1048576 FROM pg_settings
                  WHERE name = 'max_slot_wal_keep_size') AS max_slot_wal_keep_size,
                r.sync_state, current_setting('synchronous_standby_names') AS synchronous_standby_names
           FROM pg_replication_slots AS s
          CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                  ELSE pg_current_wal_lsn() END) AS wal (written)
           LEFT JOIN pg_stat_replication AS r ON r.pid = s.active_pid
          WHERE s.slot_name = $1"
    );
    sqlx::query_as(AssertSqlSafe(text))
        .bind(name)
        .fetch_optional(pool)
        .await
        .map_err(StoreError::query("look at the replication slot"))
}

/// Who transactions of the server wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synchronous {
    /// `synchronous_standby_names`.
    pub names: String,
    /// The names of the stand-bys that stream from the server.
    pub standbys: Vec<String>,
}

/// Asks who transactions wait for.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn synchronous(pool: &PgPool) -> Result<Synchronous, StoreError> {
    let (names, standbys) = sqlx::query_as(
        "SELECT current_setting('synchronous_standby_names'),
                ARRAY(SELECT DISTINCT r.application_name FROM pg_stat_replication AS r
                       WHERE r.application_name <> ''
                         AND NOT EXISTS (SELECT FROM pg_replication_slots AS s
                                          WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
                       ORDER BY 1)",
    )
    .fetch_one(pool)
    .await
    .map_err(StoreError::query("ask for the synchronous stand-bys"))?;
    Ok(Synchronous { names, standbys })
}
