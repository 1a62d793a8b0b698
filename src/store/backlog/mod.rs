//! The table `pgstream.webhook_backlog`: what could not be delivered yet, for each endpoint in the order of `seq`; and
//! `pgstream.webhook_backlog_marks`, up to where the stream was written there.
//!
//! # The order of `seq`
//!
//! Of two appends for one endpoint, the one that commits first has the lower `seq`s, since each locks the endpoint's mark
//! before it draws any. So whoever reads behind the highest `seq` seen so far misses nothing.
//!
//! # Plans
//!
//! A backlog grows from nothing to millions of rows before anyone has counted them, so no statement here leaves it to the
//! planner's guesses whether it reads a few rows of an endpoint or all: each names the range of `seq` it is about, or takes
//! the first rows in the order of the primary key and looks at what they are only then. (Our sessions make no bitmap scans,
//! see [`mod@super::connect`].)

pub(super) mod columns;
mod removal;

use std::time::SystemTime;

use sqlx::{AssertSqlSafe, PgPool, Row as _};

use self::columns::{
    ARRAYS, COLUMNS, SELECTED, VALUES, bind, micros, position, read, said, span, time, words,
};
pub use self::removal::{Kind, Page, TooMuch, bury_oldest, discard_kind, oldest, page};
use super::StoreError;
use crate::delivery::model::{Attempts, Row, Written};
use crate::event::Position;

/// A row that was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its `webhook-id`.
    pub webhook_id: String,
    /// Its run.
    pub replay_run: i64,
    /// Its place.
    pub seq: i64,
}

/// Some rows, in the order of their `seq`.
#[derive(Debug)]
pub struct Chunk {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether nothing was behind them when they were read.
    pub end: bool,
}

/// A row that was tried again.
#[derive(Debug, Clone)]
pub struct Touched {
    /// Which row.
    pub seq: i64,
    /// What was tried so far.
    pub attempts: Attempts,
}

/// How much an endpoint has in its backlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Whose it is.
    pub endpoint: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// When the oldest was first tried or written, whichever is earlier.
    pub oldest: Option<SystemTime>,
}

/// The endpoint's mark is locked, and raised to `$24` to `$27` if that is further on or of another source.
const LOCK_AND_RAISE: &str = "INSERT INTO pgstream.webhook_backlog_marks AS m (endpoint, source, epoch, commit_lsn, lsn)
    VALUES ($1, $24::numeric, $25, $26::pg_lsn, $27::pg_lsn)
        ON CONFLICT (endpoint) DO UPDATE SET (source, epoch, commit_lsn, lsn) = (
    SELECT CASE WHEN k.keep THEN m.source ELSE excluded.source END, CASE WHEN k.keep THEN m.epoch ELSE excluded.epoch END,
           CASE WHEN k.keep THEN m.commit_lsn ELSE excluded.commit_lsn END, CASE WHEN k.keep THEN m.lsn ELSE excluded.lsn END
      FROM (SELECT excluded.source IS NULL OR (m.source = excluded.source
            AND (m.epoch, m.commit_lsn, m.lsn) >= (excluded.epoch, excluded.commit_lsn, excluded.lsn)) AS keep) AS k)
    RETURNING 1";

/// Appends rows in their order, and raises the endpoint's mark to `mark`, the last of them that is of the stream. One
/// statement. Returns the rows that the backlog did not have before.
///
/// # Errors
/// [`StoreError::Table`]: nothing was appended.
pub async fn append(
    pool: &PgPool,
    endpoint: &str,
    rows: &[Written<'_>],
    mark: Option<&Position>,
) -> Result<Vec<Appended>, StoreError> {
    // The sort stands between the lock and the drawing of seq.
    let text = format!(
        "WITH mark AS ({LOCK_AND_RAISE})
         INSERT INTO pgstream.webhook_backlog (endpoint, {COLUMNS})
         SELECT $1, {VALUES} FROM {ARRAYS} CROSS JOIN mark ORDER BY r.place
             ON CONFLICT ON CONSTRAINT webhook_backlog_once DO NOTHING
         RETURNING webhook_id, replay_run, seq"
    );
    let appended = bind(sqlx::query(AssertSqlSafe(text)).bind(endpoint), rows)
        .bind(mark.map(|mark| mark.source.to_string()))
        .bind(mark.map(|mark| i64::from(mark.epoch)))
        .bind(mark.map(|mark| mark.commit_lsn.to_string()))
        .bind(mark.map(|mark| mark.lsn.to_string()))
        .fetch_all(pool)
        .await
        .map_err(failed("append to"))?;
    let appended = appended.iter().map(|row| {
        Ok(Appended {
            webhook_id: row.try_get("webhook_id")?,
            replay_run: row.try_get("replay_run")?,
            seq: row.try_get("seq")?,
        })
    });
    appended.collect::<Result<_, _>>().map_err(failed("append to"))
}

/// Reads the rows behind `after`: at most `max_rows`, the first one in any case and the others as long as their payloads
/// fit into `max_bytes` together.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn load(
    pool: &PgPool,
    endpoint: &str,
    after: i64,
    max_rows: usize,
    max_bytes: u64,
) -> Result<Chunk, StoreError> {
    let text = format!(
        "SELECT {SELECTED}, found FROM (
             SELECT *, sum(bytes) OVER up_to AS total, row_number() OVER up_to AS place, count(*) OVER () AS found FROM (
                 SELECT * FROM pgstream.webhook_backlog WHERE endpoint = $1 AND seq > $2 ORDER BY seq LIMIT $3) AS first_ones
             WINDOW up_to AS (ORDER BY seq)) AS summed
          WHERE total <= $4::bigint OR place = 1 ORDER BY seq"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(endpoint)
        .bind(after)
        .bind(signed(max_rows))
        .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
        .fetch_all(pool)
        .await
        .map_err(failed("read"))?;
    let found = match rows.first() {
        Some(row) => row.try_get::<i64, _>("found").map_err(failed("read"))?,
        None => 0,
    };
    Ok(Chunk {
        end: found < signed(max_rows) && found == signed(rows.len()),
        rows: rows
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(failed("read"))?,
    })
}

/// Deletes rows that are done with, and says how many there were.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn delete(pool: &PgPool, endpoint: &str, seqs: &[i64]) -> Result<u64, StoreError> {
    sqlx::query(concat!(
        "DELETE FROM pgstream.webhook_backlog AS b USING unnest($2::bigint[]) AS r (seq)
          WHERE b.endpoint = $1 AND b.seq = r.seq AND b.seq ",
        span!("$2")
    ))
    .bind(endpoint)
    .bind(seqs)
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(failed("delete from"))
}

/// Writes down what was tried with rows that are still there.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn touch(pool: &PgPool, endpoint: &str, rows: &[Touched]) -> Result<(), StoreError> {
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    let attempts = || rows.iter().map(|row| &row.attempts);
    sqlx::query(concat!(
        "UPDATE pgstream.webhook_backlog AS b
            SET attempts = r.attempts, first_error = ",
        said!("r.first_error"),
        ", last_error = ",
        said!("r.last_error"),
        ", first_attempt_at = timestamptz 'epoch' + r.first_attempt * interval '1 microsecond',
                last_attempt_at = timestamptz 'epoch' + r.last_attempt * interval '1 microsecond'
           FROM unnest($2::bigint[], $3::integer[], $4::bytea[], $5::bytea[], $6::bigint[], $7::bigint[])
                AS r (seq, attempts, first_error, last_error, first_attempt, last_attempt)
          WHERE b.endpoint = $1 AND b.seq = r.seq AND b.seq ",
        span!("$2")
    ))
    .bind(endpoint)
    .bind(seqs)
    .bind(
        attempts()
            .map(|one| i32::try_from(one.count).unwrap_or(i32::MAX))
            .collect::<Vec<_>>(),
    )
    .bind(
        attempts()
            .map(|one| one.first_error.as_deref().map(words))
            .collect::<Vec<_>>(),
    )
    .bind(
        attempts()
            .map(|one| one.last_error.as_deref().map(words))
            .collect::<Vec<_>>(),
    )
    .bind(attempts().map(|one| one.first_at.map(micros)).collect::<Vec<_>>())
    .bind(attempts().map(|one| one.last_at.map(micros)).collect::<Vec<_>>())
    .execute(pool)
    .await
    .map_err(failed("write to"))?;
    Ok(())
}

/// What is summed up of an endpoint's rows.
const SUMS: &str = "count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes,
    (extract(epoch FROM min(least(first_attempt_at, appended_at))) * 1000000)::bigint AS oldest";

/// What each endpoint that has any rows has.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn totals(pool: &PgPool) -> Result<Vec<Totals>, StoreError> {
    let text =
        format!("SELECT endpoint, {SUMS} FROM pgstream.webhook_backlog GROUP BY endpoint ORDER BY endpoint");
    let rows = sqlx::query(AssertSqlSafe(text))
        .fetch_all(pool)
        .await
        .map_err(failed("read"))?;
    rows.iter()
        .map(read_totals)
        .collect::<Result<_, _>>()
        .map_err(failed("read"))
}

/// What all endpoints have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// The events, as far as they were counted.
    pub rows: u64,
    /// Their bytes of payload.
    pub bytes: u64,
    /// Since when the first of an endpoint waits: when it was first tried or written, whichever is earlier.
    pub oldest: Option<SystemTime>,
    /// The endpoints that have any.
    pub endpoints: u64,
}

/// What all endpoints have together. Reads one row of each, and counts no more than `most` rows, however many there are.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn sum(pool: &PgPool, most: u32) -> Result<Sum, StoreError> {
    // From one endpoint to the next one by the primary key.
    let (rows, bytes, endpoints, oldest): (i64, i64, i64, Option<i64>) = sqlx::query_as(
        "WITH RECURSIVE known (endpoint) AS (
             (SELECT endpoint FROM pgstream.webhook_backlog ORDER BY endpoint LIMIT 1)
              UNION ALL
             SELECT (SELECT b.endpoint FROM pgstream.webhook_backlog AS b
                      WHERE b.endpoint > k.endpoint ORDER BY b.endpoint LIMIT 1)
               FROM known AS k WHERE k.endpoint IS NOT NULL)
         SELECT counted.rows, counted.bytes, waiting.endpoints, (extract(epoch FROM waiting.oldest) * 1000000)::bigint
           FROM (SELECT count(*) AS rows, coalesce(sum(bytes), 0)::bigint AS bytes
                   FROM (SELECT bytes FROM pgstream.webhook_backlog LIMIT $1) AS first) AS counted
          CROSS JOIN (SELECT count(*) AS endpoints, min(f.since) AS oldest
                        FROM known AS k
                       CROSS JOIN LATERAL (SELECT least(first_attempt_at, appended_at) AS since
                                             FROM pgstream.webhook_backlog AS b
                                            WHERE b.endpoint = k.endpoint ORDER BY seq LIMIT 1) AS f) AS waiting",
    )
    .bind(i64::from(most))
    .fetch_one(pool)
    .await
    .map_err(failed("read"))?;
    Ok(Sum {
        rows: rows.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
        oldest: time(oldest),
        endpoints: endpoints.unsigned_abs(),
    })
}

/// Whether an endpoint has any rows.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn has_rows(pool: &PgPool, endpoint: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pgstream.webhook_backlog WHERE endpoint = $1)")
        .bind(endpoint)
        .fetch_one(pool)
        .await
        .map_err(failed("read"))
}

/// The endpoints that have any rows. Reads one row of each: whoever appends has a mark.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn waiting(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT m.endpoint FROM pgstream.webhook_backlog_marks AS m
          WHERE EXISTS (SELECT FROM pgstream.webhook_backlog AS b WHERE b.endpoint = m.endpoint)",
    )
    .fetch_all(pool)
    .await
    .map_err(failed("read"))
}

/// What this endpoint has.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn totals_of(pool: &PgPool, endpoint: &str) -> Result<Totals, StoreError> {
    let text =
        format!("SELECT $1::text AS endpoint, {SUMS} FROM pgstream.webhook_backlog WHERE endpoint = $1");
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(endpoint)
        .fetch_one(pool)
        .await
        .map_err(failed("read"))?;
    read_totals(&row).map_err(failed("read"))
}

fn read_totals(row: &sqlx::postgres::PgRow) -> Result<Totals, sqlx::Error> {
    let unsigned = |name| {
        row.try_get::<i64, _>(name)
            .map(|number| u64::try_from(number).unwrap_or_default())
    };
    Ok(Totals {
        endpoint: row.try_get("endpoint")?,
        rows: unsigned("rows")?,
        bytes: unsigned("bytes")?,
        oldest: time(row.try_get("oldest")?),
    })
}

/// The marks of all endpoints that have one.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn marks(pool: &PgPool) -> Result<Vec<(String, Position)>, StoreError> {
    let rows = sqlx::query(
        "SELECT endpoint, source::text AS source, epoch, commit_lsn::text AS commit_lsn, lsn::text AS lsn
           FROM pgstream.webhook_backlog_marks WHERE source IS NOT NULL",
    )
    .fetch_all(pool)
    .await
    .map_err(failed("read the marks of"))?;
    let marks = rows
        .iter()
        .map(|row| Ok((row.try_get("endpoint")?, position(row)?)));
    marks
        .collect::<Result<_, _>>()
        .map_err(failed("read the marks of"))
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::table(action, "pgstream.webhook_backlog")
}
