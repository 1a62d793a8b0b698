//! What monitoring asks of the store: whether it answers, and what is in it. Bounded in what it reads, whatever there is.

use std::time::SystemTime;

use sqlx::{Executor, PgPool, PgTransaction};

use super::StoreError;
use super::backlog::columns::time;

/// So many dead letters, and so many held changes, are counted; more count as so many.
pub const COUNTED_ROWS: u32 = 100_000;

/// Ends each statement on the server: one that only its client has given up would still wait there, and whoever is given
/// its session next would wait for it.
const LIMIT: &str = "SET LOCAL statement_timeout = '2s'";

/// What is in the store at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Dead letters, up to [`COUNTED_ROWS`].
    pub dead_letters: u64,
    /// Changes that are held while rows are read, up to [`COUNTED_ROWS`].
    pub held_changes: u64,
    /// Tables of this slot whose rows are read or were, by their state.
    pub snapshot_tables: Vec<(String, u64)>,
    /// Since when the first row of an endpoint's backlog waits: when it was first tried or written, whichever is earlier.
    pub waiting_since: Vec<(String, SystemTime)>,
}

/// Asks whether the tables that the program works with can be read, without reading any: what has locked one of them keeps
/// this waiting too.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn answers(pool: &PgPool) -> Result<(), StoreError> {
    let failed = |source| StoreError::query("look at the tables of schema pgstream")(source);
    let mut looking = begin(pool).await.map_err(failed)?;
    sqlx::query(
        "SELECT FROM pgstream.webhook_subscriptions, pgstream.webhook_endpoints, pgstream.webhook_backlog,
                pgstream.webhook_dead_letters
          WHERE false",
    )
    .execute(&mut *looking)
    .await
    .map_err(failed)?;
    looking.commit().await.map_err(failed)
}

async fn begin(pool: &PgPool) -> Result<PgTransaction<'static>, sqlx::Error> {
    let mut looking = pool.begin().await?;
    looking.execute(LIMIT).await?;
    Ok(looking)
}

/// Looks at what is in the store, and at the backlogs of these endpoints.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn figures(pool: &PgPool, slot: &str, endpoints: &[&str]) -> Result<StoreFigures, StoreError> {
    let failed = |source| StoreError::query("look at what waits in schema pgstream")(source);
    let mut looking = begin(pool).await.map_err(failed)?;
    let (dead_letters, held_changes): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM (SELECT FROM pgstream.webhook_dead_letters LIMIT $1) AS letters),
                (SELECT count(*) FROM (SELECT FROM pgstream.snapshot_held LIMIT $1) AS held)",
    )
    .bind(i64::from(COUNTED_ROWS))
    .fetch_one(&mut *looking)
    .await
    .map_err(failed)?;
    let tables: Vec<(String, i64)> = sqlx::query_as(
        "SELECT state, count(*) FROM pgstream.snapshot_tables WHERE slot = $1 GROUP BY state ORDER BY state",
    )
    .bind(slot)
    .fetch_all(&mut *looking)
    .await
    .map_err(failed)?;
    let waiting: Vec<(String, Option<i64>)> = sqlx::query_as(
        "SELECT e.url, (extract(epoch FROM b.since) * 1000000)::bigint
           FROM unnest($1::text[]) AS e (url)
          CROSS JOIN LATERAL (SELECT least(first_attempt_at, appended_at) AS since
                                FROM pgstream.webhook_backlog WHERE endpoint = e.url ORDER BY seq LIMIT 1) AS b",
    )
    .bind(endpoints)
    .fetch_all(&mut *looking)
    .await
    .map_err(failed)?;
    looking.commit().await.map_err(failed)?;
    let since = |(url, micros)| time(micros).map(|since| (url, since));
    Ok(StoreFigures {
        dead_letters: dead_letters.unsigned_abs(),
        held_changes: held_changes.unsigned_abs(),
        snapshot_tables: tables
            .into_iter()
            .map(|(state, tables)| (state, tables.unsigned_abs()))
            .collect(),
        waiting_since: waiting.into_iter().filter_map(since).collect(),
    })
}
