//! What all tables together know of endpoints.

use std::time::SystemTime;

use sqlx::PgPool;

use super::StoreError;
use super::backlog::columns::time;

/// The URLs that subscriptions, settings, backlogs and dead letters name, once each and in order. A row of settings
/// that sets nothing names none.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn endpoints(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT url FROM pgstream.webhook_subscriptions
          UNION SELECT url FROM pgstream.webhook_endpoints
                 WHERE standing <> 'active'
                    OR num_nonnulls(ordering, in_flight, timeout_ms, batch_size, batch_wait_ms, batch_bytes) > 0
          UNION SELECT endpoint FROM pgstream.webhook_backlog
          UNION SELECT endpoint FROM pgstream.webhook_dead_letters WHERE endpoint IS NOT NULL
          ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .map_err(StoreError::query("look up the endpoints"))
}

/// Whether [`endpoints`] has this URL.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn has_endpoint(pool: &PgPool, url: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pgstream.webhook_subscriptions WHERE url = $1)
             OR EXISTS (SELECT FROM pgstream.webhook_endpoints
                         WHERE url = $1
                           AND (standing <> 'active'
                                OR num_nonnulls(ordering, in_flight, timeout_ms, batch_size, batch_wait_ms,
                                                batch_bytes) > 0))
             OR EXISTS (SELECT FROM pgstream.webhook_backlog WHERE endpoint = $1)
             OR EXISTS (SELECT FROM pgstream.webhook_dead_letters WHERE endpoint = $1)",
    )
    .bind(url)
    .fetch_one(pool)
    .await
    .map_err(StoreError::query("look up an endpoint"))
}

/// The last error of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// What went wrong.
    pub text: String,
    /// When, where that is known.
    pub at: Option<SystemTime>,
}

/// The youngest error that the backlog and the dead letters of an endpoint remember.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn last_error(pool: &PgPool, url: &str) -> Result<Option<LastError>, StoreError> {
    let row: Option<(String, Option<i64>)> = sqlx::query_as(
        "SELECT last_error, (extract(epoch FROM last_attempt_at) * 1000000)::bigint
           FROM (SELECT last_error, last_attempt_at FROM pgstream.webhook_backlog
                  WHERE endpoint = $1 AND last_error IS NOT NULL
                 UNION ALL
                 SELECT last_error, last_attempt_at FROM pgstream.webhook_dead_letters
                  WHERE endpoint = $1 AND last_error IS NOT NULL) errors
          ORDER BY last_attempt_at DESC NULLS LAST LIMIT 1",
    )
    .bind(url)
    .fetch_optional(pool)
    .await
    .map_err(StoreError::query("look up the last error of an endpoint"))?;
    Ok(row.map(|(text, at)| LastError { text, at: time(at) }))
}

/// What would be lost with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Undelivered {
    /// Rows of the backlog.
    pub backlog: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

impl Undelivered {
    /// Whether there is nothing to lose.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.backlog == 0 && self.dead_letters == 0
    }
}

/// How much is undelivered. A store without the tables, or with some of them only, has nothing in those it lacks.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn undelivered(pool: &PgPool) -> Result<Undelivered, StoreError> {
    let failed = || StoreError::query("count what is undelivered");
    let tables: (bool, bool) = sqlx::query_as(
        "SELECT to_regclass('pgstream.webhook_backlog') IS NOT NULL,
                to_regclass('pgstream.webhook_dead_letters') IS NOT NULL",
    )
    .fetch_one(pool)
    .await
    .map_err(failed())?;
    let mut found = Undelivered::default();
    for (exists, text, count) in [
        (
            tables.0,
            "SELECT count(*) FROM pgstream.webhook_backlog",
            &mut found.backlog,
        ),
        (
            tables.1,
            "SELECT count(*) FROM pgstream.webhook_dead_letters",
            &mut found.dead_letters,
        ),
    ] {
        if exists {
            let rows: i64 = sqlx::query_scalar(text).fetch_one(pool).await.map_err(failed())?;
            *count = rows.unsigned_abs();
        }
    }
    Ok(found)
}
