//! The backlog of one endpoint, moved to another.

use sqlx::PgPool;

use super::StoreError;
use super::backlog_lock::{lock, tell};

/// How much there is to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The rows.
    pub rows: u64,
    /// The `seq` of the last one.
    pub last: i64,
}

/// What one step of a move did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The rows that the one endpoint has no more.
    pub taken: u64,
    /// The rows that the other one has more: fewer, where it had the same events already.
    pub put: u64,
    /// Whether there were more to be taken when it ended.
    pub more: bool,
}

/// What the backlog of an endpoint holds now.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn extent(pool: &PgPool, endpoint: &str) -> Result<Extent, StoreError> {
    let (rows, last): (i64, Option<i64>) =
        sqlx::query_as("SELECT count(*), max(seq) FROM pgstream.webhook_backlog WHERE endpoint = $1")
            .bind(endpoint)
            .fetch_one(pool)
            .await
            .map_err(StoreError::query("read pgstream.webhook_backlog"))?;
    Ok(Extent {
        rows: rows.unsigned_abs(),
        last: last.unwrap_or_default(),
    })
}

/// Moves the first rows of the backlog of `from` behind that of `to`, at most `limit` and none with a `seq` above
/// `last`, in one transaction: whatever interrupts it, a row is in one of the two. Where both have a row of the same
/// event and replay, that of `to` stays. A replay is still one. The rows are as if they had never been tried, since `to` never was.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn step(pool: &PgPool, from: &str, to: &str, last: i64, limit: u32) -> Result<Moved, StoreError> {
    let failed = || StoreError::query("move the backlog");
    let mut transaction = pool.begin().await.map_err(failed())?;
    lock(&mut transaction, &[from, to]).await.map_err(failed())?;
    let (taken, put): (i64, i64) = sqlx::query_as(
        "WITH picked AS (SELECT seq FROM pgstream.webhook_backlog WHERE endpoint = $1 AND seq <= $3
                          ORDER BY seq LIMIT $4 FOR UPDATE),
              gone AS (DELETE FROM pgstream.webhook_backlog it USING picked
                        WHERE it.endpoint = $1 AND it.seq = picked.seq
                       RETURNING it.*),
              put AS (INSERT INTO pgstream.webhook_backlog
                        (endpoint, webhook_id, replay_run, origin, schema_name, table_name, root_schema, root_table,
                         action, table_key, lane, moved_to, key_set, source, epoch, commit_lsn, lsn, payload)
                      SELECT $2, webhook_id, replay_run, CASE origin WHEN 'replay' THEN origin ELSE 'move' END, schema_name, table_name, root_schema, root_table,
                             action, table_key, lane, moved_to, key_set, source, epoch, commit_lsn, lsn, payload
                        FROM gone ORDER BY seq
                          ON CONFLICT (endpoint, webhook_id, replay_run) DO NOTHING
                      RETURNING 1)
         SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM put)",
    )
    .bind(from)
    .bind(to)
    .bind(last)
    .bind(i64::from(limit))
    .fetch_one(&mut *transaction)
    .await
    .map_err(failed())?;
    tell(&mut transaction, &[from, to]).await.map_err(failed())?;
    let more = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pgstream.webhook_backlog WHERE endpoint = $1 AND seq <= $2)",
    )
    .bind(from)
    .bind(last)
    .fetch_one(&mut *transaction)
    .await
    .map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    Ok(Moved {
        taken: taken.unsigned_abs(),
        put: put.unsigned_abs(),
        more,
    })
}
