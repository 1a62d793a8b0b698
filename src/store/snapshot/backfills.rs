//! Backfills: tables that an operator has read once more for one endpoint. Rows of `pgstream.snapshot_tables` as well.

use sqlx::{AssertSqlSafe, PgPool};

use super::state::{COLUMNS, TableRow, failed, number, root, row, write};
use crate::snapshot::model::Relation;
use crate::store::StoreError;
use crate::store::listening::{Heard, Listening};

/// The channel on which it is told that one was asked for, or cancelled.
const CHANNEL: &str = "pgstream_backfills";
/// How long is remembered what has become of one, in days.
const REMEMBERED: i32 = 7;

/// Asks for a backfill of these tables for an endpoint; returns its number. Forgets old ones.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn request(
    pool: &PgPool,
    slot: &str,
    endpoint: &str,
    tables: &[Relation],
) -> Result<i64, StoreError> {
    let forget = sqlx::query(
        "DELETE FROM pgstream.snapshot_tables
          WHERE backfill <> 0 AND finished_at < now() - make_interval(days => $1)",
    );
    write(pool, forget.bind(REMEMBERED)).await?;
    let each = |of: fn(&Relation) -> i64| tables.iter().map(of).collect::<Vec<i64>>();
    sqlx::query_scalar(
        "WITH run AS MATERIALIZED (SELECT nextval('pgstream.snapshot_runs') AS run),
              asked AS (
         INSERT INTO pgstream.snapshot_tables (slot, backfill, endpoint, oid, schema_name, table_name, root, fresh, run,
                                               estimated_rows, total_bytes)
         SELECT $1, run.run, $2, a.oid, a.schema_name, a.table_name, a.root, false, run.run, a.rows, a.bytes
           FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[])
                AS a(oid, schema_name, table_name, root, rows, bytes), run)
         SELECT run FROM run",
    )
    .bind(slot)
    .bind(endpoint)
    .bind(each(|table| i64::from(table.oid)))
    .bind(tables.iter().map(|table| table.schema.as_str()).collect::<Vec<_>>())
    .bind(tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>())
    .bind(tables.iter().map(|table| table.root.as_ref().map(root)).collect::<Vec<_>>())
    .bind(each(|table| number(table.rows)))
    .bind(each(|table| number(table.bytes)))
    .fetch_one(pool)
    .await
    .map_err(failed("write to"))
}

/// The tables of all backfills, of the newest first, the largest of each first.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn backfills(pool: &PgPool) -> Result<Vec<TableRow>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM pgstream.snapshot_tables WHERE backfill <> 0
          ORDER BY backfill DESC, total_bytes DESC, schema_name, table_name"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .fetch_all(pool)
        .await
        .map_err(failed("read"))?;
    rows.iter()
        .map(row)
        .collect::<Result<_, _>>()
        .map_err(failed("read"))
}

/// Cancels what is not done yet of a backfill. None if there is no such backfill; otherwise the number of tables that were not
/// done.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn cancel(pool: &PgPool, backfill: i64) -> Result<Option<u64>, StoreError> {
    let (all, cancelled): (i64, i64) = sqlx::query_as(
        "WITH cancelled AS (
             UPDATE pgstream.snapshot_tables SET state = 'cancelled', finished_at = now()
              WHERE backfill = $1 AND backfill <> 0 AND state IN ('pending', 'reading') RETURNING 1)
         SELECT (SELECT count(*) FROM pgstream.snapshot_tables WHERE backfill = $1 AND backfill <> 0),
                (SELECT count(*) FROM cancelled)",
    )
    .bind(backfill)
    .fetch_one(pool)
    .await
    .map_err(failed("write to"))?;
    Ok((all > 0).then_some(cancelled.unsigned_abs()))
}

/// A table of a backfill cannot be read.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn fail(
    pool: &PgPool,
    slot: &str,
    (oid, backfill): (u32, i64),
    problem: &str,
) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE pgstream.snapshot_tables SET state = 'failed', problem = $4, finished_at = now()
          WHERE slot = $1 AND oid = $2 AND backfill = $3 AND state <> 'cancelled'",
    );
    let update = update.bind(slot).bind(i64::from(oid)).bind(backfill);
    write(pool, update.bind(problem)).await
}

/// Hears of backfills that are asked for or cancelled. Holds one connection of the pool.
#[derive(Debug)]
pub struct BackfillNews(Listening);

impl BackfillNews {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn listen(pool: &PgPool) -> Result<Self, StoreError> {
        let listening = Listening::start(pool, CHANNEL, "listen for backfills");
        Ok(Self(listening.await?))
    }

    /// Waits until there may be news. Cancel-safe.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the connection is lost and cannot be made again; call it again later.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        match self.0.heard().await? {
            Heard::Payloads(_) | Heard::Gap => Ok(()),
        }
    }
}
