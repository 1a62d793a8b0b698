//! The table `pgstream.webhook_dead_letters`, as far as the delivery of events writes to it.

use std::time::SystemTime;

use sqlx::{AssertSqlSafe, PgPool};

use super::StoreError;
use super::backlog::columns::{ARRAYS, COLUMNS, VALUES, bind, micros, said, span, words};
use crate::delivery::model::Written;
use crate::event::Position;

/// An event that is a dead letter already is one still: what was tried last counts.
pub(super) const UPDATE: &str =
    "ON CONFLICT (endpoint, webhook_id, replay_run) WHERE endpoint IS NOT NULL DO UPDATE
    SET reason = excluded.reason, attempts = excluded.attempts, last_error = excluded.last_error,
        last_attempt_at = excluded.last_attempt_at, died_at = excluded.died_at";

/// Writes dead letters of one endpoint in this order, each with its reason, and deletes the rows of the backlog that they
/// were. One statement.
///
/// # Errors
/// [`StoreError::Table`]: nothing was written or deleted.
pub async fn bury(
    pool: &PgPool,
    endpoint: Option<&str>,
    letters: &[(Written<'_>, &str)],
    rows: &[i64],
) -> Result<(), StoreError> {
    let text = format!(
        "WITH gone AS (DELETE FROM pgstream.webhook_backlog AS b USING unnest($25::bigint[]) AS r (seq)
                        WHERE b.endpoint = $1 AND b.seq = r.seq AND b.seq {})
         INSERT INTO pgstream.webhook_dead_letters AS d (endpoint, reason, {COLUMNS})
         SELECT $1, ($24::text[])[r.place], {VALUES} FROM (
             SELECT DISTINCT ON (r.webhook_id, r.replay_run) r.* FROM {ARRAYS}
              ORDER BY r.webhook_id, r.replay_run, r.place DESC) AS r
          ORDER BY r.place {UPDATE}",
        span!("$25")
    );
    let written: Vec<Written<'_>> = letters.iter().map(|(written, _)| *written).collect();
    let reasons: Vec<&str> = letters.iter().map(|(_, reason)| *reason).collect();
    bind(sqlx::query(AssertSqlSafe(text)).bind(endpoint), &written)
        .bind(reasons)
        .bind(rows)
        .execute(pool)
        .await
        .map_err(failed("write to"))?;
    Ok(())
}

/// Writes what belongs to no endpoint, as it is: a record that could not be read, or what was skipped. Writing it again changes
/// nothing.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn bury_raw(
    pool: &PgPool,
    webhook_id: &str,
    position: &Position,
    raw: &[u8],
    (reason, problem): (&str, &str),
) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "INSERT INTO pgstream.webhook_dead_letters
                (webhook_id, origin, source, epoch, commit_lsn, lsn, payload, first_error, last_error, reason)
         SELECT $1, 'stream', $2::numeric, $3, $4::pg_lsn, $5::pg_lsn, $6, said, said, $8 FROM (SELECT ",
        said!("$7::bytea"),
        " AS said) AS r
             ON CONFLICT (webhook_id) WHERE endpoint IS NULL DO NOTHING",
    ))
    .bind(webhook_id)
    .bind(position.source.to_string())
    .bind(i64::from(position.epoch))
    .bind(position.commit_lsn.to_string())
    .bind(position.lsn.to_string())
    .bind(raw)
    .bind(words(problem))
    .bind(reason)
    .execute(pool)
    .await
    .map_err(failed("write to"))?;
    Ok(())
}

/// Deletes dead letters that died before `before`, at most `limit`, and says how many.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn clean(pool: &PgPool, before: SystemTime, limit: usize) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM pgstream.webhook_dead_letters WHERE id IN (
             SELECT id FROM pgstream.webhook_dead_letters
              WHERE died_at < timestamptz 'epoch' + $1 * interval '1 microsecond' ORDER BY died_at LIMIT $2)",
    )
    .bind(micros(before))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
    .map_err(failed("delete from"))
}

fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::table(action, "pgstream.webhook_dead_letters")
}
