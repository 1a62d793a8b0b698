//! The tables `pgstream.snapshot_holds` and `pgstream.snapshot_held`: the changes that are held back for an endpoint while it
//! is sent the rows of their table.

use std::sync::Arc;

use pgstream_proto::Lsn;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};

use super::endpoints::is_fresh;
use crate::delivery::model::{Hold, Written};
use crate::event::TableKey;
use crate::store::StoreError;
use crate::store::backlog::columns::{ARRAYS, COLUMNS, VALUES, bind};
use crate::store::backlog_lock::{lock, tell};

/// A change that is held, as far as it matters whether it is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The schema of its table.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// The number of its transaction.
    pub xid: Option<u32>,
    /// Where that was committed.
    pub commit_lsn: Lsn,
}

/// What one step of a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Changes that are in the backlog now.
    pub put: u64,
    /// Their bytes of payload.
    pub bytes: u64,
    /// Changes that are not held any more, for whatever reason.
    pub taken: u64,
    /// The last of them; those behind it come next.
    pub last: Option<i64>,
}

/// So many bytes of payload are moved at one time, but for one larger change.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::table(action, "pgstream.snapshot_holds")
}

/// What is committed from `from` on is held for these endpoints and tables, some of which were never sent a change of some of
/// them. Returns the holds: where one was there before, it stays as it is. One transaction.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn hold(
    pool: &PgPool,
    slot: &str,
    wanted: &[(Arc<str>, TableKey)],
    fresh: &[(u32, Arc<str>)],
    from: Lsn,
) -> Result<Vec<Hold>, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed("write to"))?;
    is_fresh(&mut transaction, slot, fresh).await?;
    let keys = wanted.iter().map(|(_, table)| table.0.cast_signed());
    let rows = sqlx::query(
        "INSERT INTO pgstream.snapshot_holds AS h (slot, endpoint, table_key, from_lsn)
         SELECT DISTINCT $1, w.endpoint, w.table_key, $4::pg_lsn
           FROM unnest($2::text[], $3::bigint[]) AS w(endpoint, table_key)
             ON CONFLICT (slot, endpoint, table_key) DO UPDATE SET endpoint = excluded.endpoint
         RETURNING id, endpoint, table_key, from_lsn::text AS from_lsn",
    )
    .bind(slot)
    .bind(wanted.iter().map(|(endpoint, _)| &**endpoint).collect::<Vec<_>>())
    .bind(keys.collect::<Vec<_>>())
    .bind(from.to_string())
    .fetch_all(&mut *transaction)
    .await
    .map_err(failed("write to"))?;
    transaction.commit().await.map_err(failed("write to"))?;
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(failed("read"))
}

/// The holds of a slot, which an earlier program has left.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn holds(pool: &PgPool, slot: &str) -> Result<Vec<Hold>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, endpoint, table_key, from_lsn::text AS from_lsn FROM pgstream.snapshot_holds WHERE slot = $1",
    )
    .bind(slot)
    .fetch_all(pool)
    .await
    .map_err(failed("read"))?;
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(failed("read"))
}

/// What is held altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldTotals {
    /// Tables whose changes are held back for an endpoint.
    pub holds: u64,
    /// The changes.
    pub changes: u64,
    /// Their bytes of payload.
    pub bytes: u64,
}

/// What is held for a slot. No more than `most` changes are counted.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn held_totals(pool: &PgPool, slot: &str, most: u32) -> Result<HeldTotals, StoreError> {
    let (holds, changes, bytes): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pgstream.snapshot_holds WHERE slot = $1), count(*),
                coalesce(sum(bytes), 0)::bigint
           FROM (SELECT c.bytes
                   FROM pgstream.snapshot_holds AS h
                   JOIN pgstream.snapshot_held AS c ON c.hold = h.id
                  WHERE h.slot = $1 LIMIT $2) AS first",
    )
    .bind(slot)
    .bind(i64::from(most))
    .fetch_one(pool)
    .await
    .map_err(failed("read"))?;
    Ok(HeldTotals {
        holds: holds.unsigned_abs(),
        changes: changes.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
    })
}

/// The bytes that are held by a hold.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn held_bytes(pool: &PgPool, hold: i64) -> Result<u64, StoreError> {
    sqlx::query_scalar("SELECT coalesce(sum(bytes), 0)::bigint FROM pgstream.snapshot_held WHERE hold = $1")
        .bind(hold)
        .fetch_one(pool)
        .await
        .map(i64::unsigned_abs)
        .map_err(failed("read"))
}

/// Writes changes down that are held, in their order, each with the number of its transaction. Those that are there already
/// stay. Returns the bytes of the others.
///
/// # Errors
/// [`StoreError::Table`]: nothing was written.
pub async fn keep(
    pool: &PgPool,
    hold: i64,
    rows: &[Written<'_>],
    xids: &[Option<u32>],
) -> Result<u64, StoreError> {
    // The sort stands before the drawing of seq.
    let text = format!(
        "WITH put AS (
         INSERT INTO pgstream.snapshot_held (hold, xid, {COLUMNS})
         SELECT $1, ($24::bigint[])[r.place], {VALUES} FROM {ARRAYS} ORDER BY r.place
             ON CONFLICT ON CONSTRAINT snapshot_held_once DO NOTHING RETURNING bytes)
         SELECT coalesce(sum(bytes), 0)::bigint AS bytes FROM put"
    );
    let row = bind(sqlx::query(AssertSqlSafe(text)).bind(hold), rows)
        .bind(xids.iter().map(|xid| xid.map(i64::from)).collect::<Vec<_>>())
        .fetch_one(pool)
        .await
        .map_err(failed("write to"))?;
    row.try_get("bytes")
        .map(i64::unsigned_abs)
        .map_err(failed("write to"))
}

/// Moves the first of the changes that are held, of those behind `after`, behind the backlog of their endpoint: at most `limit`, and
/// not many bytes. Those that are left out are deleted. One transaction.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn release(
    pool: &PgPool,
    hold: &Hold,
    after: i64,
    is_left_out: impl Fn(&Held) -> bool + Send,
    limit: u32,
) -> Result<Released, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed("write to"))?;
    lock(&mut transaction, &[&hold.endpoint])
        .await
        .map_err(failed("write to"))?;
    let first = sqlx::query(
        "SELECT seq, schema_name, table_name, xid, commit_lsn::text AS commit_lsn, bytes FROM pgstream.snapshot_held
          WHERE hold = $1 AND seq > $3 ORDER BY seq LIMIT $2",
    )
    .bind(hold.id)
    .bind(i64::from(limit))
    .bind(after)
    .fetch_all(&mut *transaction)
    .await
    .map_err(failed("read"))?;
    let mut taken: Vec<i64> = Vec::with_capacity(first.len());
    let mut left_out: Vec<i64> = Vec::new();
    let mut sum = 0;
    for row in &first {
        let seq: i64 = row.try_get("seq").map_err(failed("read"))?;
        sum += row
            .try_get("bytes")
            .map(i64::unsigned_abs)
            .map_err(failed("read"))?;
        if sum > MOST_BYTES && !taken.is_empty() {
            break;
        }
        taken.push(seq);
        if is_left_out(&held(row).map_err(failed("read"))?) {
            left_out.push(seq);
        }
    }
    let text = format!(
        "WITH gone AS (DELETE FROM pgstream.snapshot_held WHERE hold = $1 AND seq = ANY($2) RETURNING *),
              put AS (
         INSERT INTO pgstream.webhook_backlog (endpoint, {COLUMNS})
         SELECT $4, {COLUMNS} FROM gone WHERE seq <> ALL($3) ORDER BY seq
             ON CONFLICT ON CONSTRAINT webhook_backlog_once DO NOTHING RETURNING bytes)
         SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM put"
    );
    let (put, bytes): (i64, i64) = sqlx::query_as(AssertSqlSafe(text))
        .bind(hold.id)
        .bind(&taken)
        .bind(left_out)
        .bind(&*hold.endpoint)
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed("write to"))?;
    transaction.commit().await.map_err(failed("write to"))?;
    Ok(Released {
        put: put.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
        taken: taken.len() as u64,
        last: taken.last().copied(),
    })
}

/// Moves all changes that are held for a slot behind the backlogs of their endpoints, and ends its holds.
pub(super) async fn release_all(session: &mut PgConnection, slot: &str) -> Result<(), StoreError> {
    let endpoints: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT endpoint FROM pgstream.snapshot_holds WHERE slot = $1")
            .bind(slot)
            .fetch_all(&mut *session)
            .await
            .map_err(failed("read"))?;
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    lock(session, &endpoints).await.map_err(failed("write to"))?;
    let of_slot = "(SELECT id FROM pgstream.snapshot_holds WHERE slot = $1)";
    for statement in [
        format!(
            "INSERT INTO pgstream.webhook_backlog (endpoint, {COLUMNS})
             SELECT (SELECT h.endpoint FROM pgstream.snapshot_holds AS h WHERE h.id = hold), {COLUMNS}
               FROM pgstream.snapshot_held WHERE hold IN {of_slot}
              ORDER BY seq ON CONFLICT ON CONSTRAINT webhook_backlog_once DO NOTHING"
        ),
        format!("DELETE FROM pgstream.snapshot_held WHERE hold IN {of_slot}"),
        "DELETE FROM pgstream.snapshot_holds WHERE slot = $1".to_owned(),
    ] {
        sqlx::query(AssertSqlSafe(statement))
            .bind(slot)
            .execute(&mut *session)
            .await
            .map_err(failed("write to"))?;
    }
    tell(session, &endpoints).await.map_err(failed("write to"))
}

/// Nothing is held by this hold any more.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn end_hold(pool: &PgPool, hold: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM pgstream.snapshot_holds WHERE id = $1")
        .bind(hold)
        .execute(pool)
        .await
        .map(drop)
        .map_err(failed("delete from"))
}

fn lsn(row: &PgRow, column: &str) -> Result<Lsn, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn decode(row: &PgRow) -> Result<Hold, sqlx::Error> {
    Ok(Hold {
        id: row.try_get("id")?,
        endpoint: row.try_get::<&str, _>("endpoint")?.into(),
        table: TableKey(row.try_get::<i64, _>("table_key")?.cast_unsigned()),
        from: lsn(row, "from_lsn")?,
    })
}

fn held(row: &PgRow) -> Result<Held, sqlx::Error> {
    let xid: Option<i64> = row.try_get("xid")?;
    Ok(Held {
        schema: row.try_get("schema_name")?,
        table: row.try_get("table_name")?,
        xid: xid.and_then(|xid| u32::try_from(xid).ok()),
        commit_lsn: lsn(row, "commit_lsn")?,
    })
}
