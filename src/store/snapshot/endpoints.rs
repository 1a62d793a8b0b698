//! The tables `pgstream.snapshot_slots` and `pgstream.snapshot_endpoints`: what is left out of the stream for whom, because
//! they have it as rows.

use std::sync::Arc;

use pgstream_proto::Lsn;
use sqlx::{PgConnection, PgPool, Row};

use super::holds::release_all;
use crate::snapshot::model::{Exported, Relation};
use crate::store::StoreError;

/// Changes of a table that are left out for an endpoint: those of transactions that a snapshot sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The schema of the table.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// The endpoint's URL.
    pub endpoint: String,
    /// What the snapshot sees, as `pg_current_snapshot()` prints it.
    pub sees: String,
    /// All of that was written before this position.
    pub until: Lsn,
}

fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::table(action, "pgstream.snapshot_endpoints")
}

/// A slot was made: nothing of its stream has been sent to anyone. What was read for an earlier one of this name is read again,
/// since the changes between the two are missing; changes of that one that were held are held no longer.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn slot_made(pool: &PgPool, slot: &str) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.map_err(failed("write to"))?;
    release_all(&mut transaction, slot).await?;
    sqlx::query(
        "WITH tables AS (DELETE FROM pgstream.snapshot_tables WHERE slot = $1 AND backfill = 0),
              endpoints AS (DELETE FROM pgstream.snapshot_endpoints WHERE slot = $1)
         INSERT INTO pgstream.snapshot_slots (slot, started) VALUES ($1, false) ON CONFLICT DO NOTHING",
    )
    .bind(slot)
    .execute(&mut *transaction)
    .await
    .map_err(StoreError::table("write to", "pgstream.snapshot_slots"))?;
    transaction.commit().await.map_err(failed("write to"))
}

/// What the stream of a slot brings from here on is another history beyond `at`: what rows have brought says nothing of it, and
/// what was held from there on is held from `start`.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn history_ended(pool: &PgPool, slot: &str, at: Lsn, start: Lsn) -> Result<(), StoreError> {
    sqlx::query(
        "WITH held AS (UPDATE pgstream.snapshot_holds SET from_lsn = least(from_lsn, $3::pg_lsn) WHERE slot = $1)
         UPDATE pgstream.snapshot_endpoints SET snapshot = NULL, until_lsn = NULL, fresh = false
          WHERE slot = $1 AND until_lsn > $2::pg_lsn",
    )
    .bind(slot)
    .bind(at.to_string())
    .bind(start.to_string())
    .execute(pool)
    .await
    .map(drop)
    .map_err(failed("write to"))
}

/// The stream of a slot is about to be started, with the reading of these tables planned. What is planned later is not planned
/// before anything was sent, and of tables that were planned before and are not now, nobody notes who is.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn stream_starts(pool: &PgPool, slot: &str, planned: &[u32]) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE pgstream.snapshot_tables SET fresh = false
          WHERE slot = $1 AND backfill = 0 AND fresh AND state <> 'done' AND oid <> ALL ($2)",
    )
    .bind(slot)
    .bind(planned.iter().copied().map(i64::from).collect::<Vec<_>>())
    .execute(pool)
    .await
    .map_err(StoreError::table("write to", "pgstream.snapshot_tables"))?;
    // Rows of those that are not done may be missing, and are not read now: their changes must come.
    sqlx::query(
        "UPDATE pgstream.snapshot_endpoints AS e SET snapshot = NULL, until_lsn = NULL, fresh = false
           FROM pgstream.snapshot_tables AS t
          WHERE e.slot = $1 AND e.fresh AND t.slot = e.slot AND t.oid = e.oid AND t.backfill = 0 AND NOT t.fresh
            AND t.state <> 'done' AND t.oid <> ALL ($2)",
    )
    .bind(slot)
    .bind(planned.iter().copied().map(i64::from).collect::<Vec<_>>())
    .execute(pool)
    .await
    .map_err(failed("write to"))?;
    sqlx::query(
        "INSERT INTO pgstream.snapshot_slots AS s (slot, started) VALUES ($1, true)
             ON CONFLICT (slot) DO UPDATE SET started = true WHERE NOT s.started",
    )
    .bind(slot)
    .execute(pool)
    .await
    .map_err(StoreError::table("write to", "pgstream.snapshot_slots"))?;
    Ok(())
}

/// These endpoints may be sent changes of a table before its rows, so that nothing is ever left out for them.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn has_history(pool: &PgPool, slot: &str, oid: u32, endpoints: &[&str]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO pgstream.snapshot_endpoints (slot, oid, endpoint)
         SELECT $1, $2, e FROM unnest($3::text[]) AS e
             ON CONFLICT (slot, oid, endpoint) DO UPDATE SET fresh = false, snapshot = NULL, until_lsn = NULL",
    )
    .bind(slot)
    .bind(i64::from(oid))
    .bind(endpoints)
    .execute(pool)
    .await
    .map_err(failed("write to"))?;
    Ok(())
}

/// Tables begin to be read for endpoints that were never sent a change of them, and whose changes of them are held from now on.
/// Where it is known of one that it may have been sent changes, that holds.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn are_fresh(pool: &PgPool, slot: &str, fresh: &[(u32, Arc<str>)]) -> Result<(), StoreError> {
    let mut session = pool.acquire().await.map_err(failed("write to"))?;
    is_fresh(&mut session, slot, fresh).await
}

/// The same within a transaction.
pub(super) async fn is_fresh(
    session: &mut PgConnection,
    slot: &str,
    fresh: &[(u32, Arc<str>)],
) -> Result<(), StoreError> {
    sqlx::query(
        "WITH f AS (SELECT * FROM unnest($2::bigint[], $3::text[]) AS f(oid, endpoint)),
              tables AS (UPDATE pgstream.snapshot_tables AS t SET fresh = false FROM f
                          WHERE t.slot = $1 AND t.oid = f.oid AND t.backfill = 0)
         INSERT INTO pgstream.snapshot_endpoints (slot, oid, endpoint, fresh)
         SELECT $1, f.oid, f.endpoint, true FROM f ON CONFLICT DO NOTHING",
    )
    .bind(slot)
    .bind(fresh.iter().map(|(oid, _)| i64::from(*oid)).collect::<Vec<_>>())
    .bind(fresh.iter().map(|(_, endpoint)| &**endpoint).collect::<Vec<_>>())
    .execute(session)
    .await
    .map_err(failed("write to"))?;
    Ok(())
}

/// The rows of a table are about to be sent to these endpoints, under this snapshot. What it sees is left out for those that were
/// never sent a change of it. Where rows were sent under an earlier one, that one decides: what was deleted between the two is
/// still to be told.
pub(super) async fn sends_rows(
    session: &mut PgConnection,
    slot: &str,
    table: &Relation,
    snapshot: &Exported,
    endpoints: &[&str],
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE pgstream.snapshot_endpoints SET snapshot = $3, until_lsn = $4::pg_lsn
          WHERE slot = $1 AND oid = $2 AND endpoint = ANY ($5) AND fresh AND snapshot IS NULL",
    )
    .bind(slot)
    .bind(i64::from(table.oid))
    .bind(&snapshot.sees)
    .bind(&snapshot.lsn)
    .bind(endpoints)
    .execute(session)
    .await
    .map_err(failed("write to"))?;
    Ok(())
}

/// The rows of a table are about to be sent to these endpoints for a backfill, and may be before others: what is deleted between
/// the two has to be told. (One that was sent rows under an earlier snapshot is told of it.)
pub(super) async fn sends_other_rows(
    session: &mut PgConnection,
    slot: &str,
    table: &Relation,
    endpoints: &[&str],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO pgstream.snapshot_endpoints AS known (slot, oid, endpoint)
         SELECT $1, $2, e FROM unnest($3::text[]) AS e
             ON CONFLICT (slot, oid, endpoint) DO UPDATE SET fresh = false WHERE known.fresh AND known.snapshot IS NULL",
    )
    .bind(slot)
    .bind(i64::from(table.oid))
    .bind(endpoints)
    .execute(session)
    .await
    .map_err(failed("write to"))?;
    Ok(())
}

/// What is left out of the stream of a slot from `start` on: because of tables that are done, since of others rows may be
/// missing. What ends before, and what is known of tables that are gone, is forgotten.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn left_out(pool: &PgPool, slot: &str, start: Lsn) -> Result<Vec<LeftOut>, StoreError> {
    sqlx::query(
        "DELETE FROM pgstream.snapshot_endpoints AS e
          WHERE e.slot = $1
            AND NOT EXISTS (SELECT FROM pgstream.snapshot_holds AS h WHERE h.slot = e.slot AND h.endpoint = e.endpoint)
            AND NOT EXISTS (SELECT FROM pgstream.snapshot_tables AS t
                             WHERE t.slot = e.slot AND t.oid = e.oid AND t.backfill = 0
                               AND (t.state <> 'done' OR e.until_lsn >= $2::pg_lsn))",
    )
    .bind(slot)
    .bind(start.to_string())
    .execute(pool)
    .await
    .map_err(failed("delete from"))?;
    of(pool, slot, None).await
}

/// What is left out of the stream because of the rows of one table, which have all been submitted.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn left_out_of(pool: &PgPool, slot: &str, oid: u32) -> Result<Vec<LeftOut>, StoreError> {
    of(pool, slot, Some(oid)).await
}

async fn of(pool: &PgPool, slot: &str, oid: Option<u32>) -> Result<Vec<LeftOut>, StoreError> {
    let rows = sqlx::query(
        "SELECT t.schema_name, t.table_name, e.endpoint, e.snapshot, e.until_lsn::text AS until_lsn
           FROM pgstream.snapshot_endpoints AS e
           JOIN pgstream.snapshot_tables AS t ON t.slot = e.slot AND t.oid = e.oid AND t.backfill = 0
          WHERE e.slot = $1 AND e.snapshot IS NOT NULL AND CASE WHEN $2::bigint IS NULL THEN t.state = 'done' ELSE e.oid = $2 END",
    )
    .bind(slot)
    .bind(oid.map(i64::from))
    .fetch_all(pool)
    .await
    .map_err(failed("read"))?;
    let decode = |row: &sqlx::postgres::PgRow| {
        let until: &str = row.try_get("until_lsn")?;
        Ok(LeftOut {
            schema: row.try_get("schema_name")?,
            table: row.try_get("table_name")?,
            endpoint: row.try_get("endpoint")?,
            sees: row.try_get("snapshot")?,
            until: until
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(failed("read"))
}
