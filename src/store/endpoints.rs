//! The tables `pgstream.webhook_endpoints` and `pgstream.webhook_endpoint_health`, and news of what operators do.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use super::StoreError;
use super::backlog::columns::{micros, time};
use super::listening::{Heard, Listening};
use crate::endpoint::model::{EndpointOverrides, Order, Standing};

/// The channel on which it is told that an endpoint's settings (no payload) or backlog (its URL) have changed.
pub(super) const CHANNEL: &str = "pgstream_endpoints";

const COLUMNS: &str =
    "url, standing, reason, ordering, in_flight, timeout_ms, batch_size, batch_wait_ms, batch_bytes,
    (extract(epoch FROM changed_at) * 1000000)::bigint AS changed";

/// The settings of all endpoints that have any, in the order of their URLs.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn list(pool: &PgPool) -> Result<Vec<EndpointOverrides>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM pgstream.webhook_endpoints ORDER BY url");
    let rows = sqlx::query(AssertSqlSafe(text))
        .fetch_all(pool)
        .await
        .map_err(failed("read"))?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(failed("read"))
}

/// The settings of one endpoint, if it has any.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn get(pool: &PgPool, url: &str) -> Result<Option<EndpointOverrides>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM pgstream.webhook_endpoints WHERE url = $1");
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(url)
        .fetch_optional(pool)
        .await
        .map_err(failed("read"))?;
    row.as_ref().map(read).transpose().map_err(failed("read"))
}

fn read(row: &PgRow) -> Result<EndpointOverrides, sqlx::Error> {
    let millis = |name| -> Result<Option<Duration>, sqlx::Error> {
        let millis: Option<i64> = row.try_get(name)?;
        Ok(millis.map(|millis| Duration::from_millis(millis.unsigned_abs())))
    };
    let count = |name| -> Result<Option<usize>, sqlx::Error> {
        let count: Option<i32> = row.try_get(name)?;
        Ok(count.and_then(|count| usize::try_from(count).ok()))
    };
    let bytes: Option<i64> = row.try_get("batch_bytes")?;
    let standing: &str = row.try_get("standing")?;
    let order: Option<&str> = row.try_get("ordering")?;
    // The table allows no other names than these.
    Ok(EndpointOverrides {
        url: row.try_get("url")?,
        standing: standing.parse().unwrap_or_default(),
        reason: row.try_get("reason")?,
        order: order.and_then(|name| name.parse::<Order>().ok()),
        in_flight: count("in_flight")?,
        timeout: millis("timeout_ms")?,
        batch_size: count("batch_size")?,
        batch_wait: millis("batch_wait_ms")?,
        batch_bytes: bytes.map(i64::unsigned_abs),
        changed_at: time(row.try_get("changed")?).unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// Pauses, disables or activates an endpoint.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn set_standing(
    pool: &PgPool,
    url: &str,
    standing: Standing,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO pgstream.webhook_endpoints (url, standing, reason) VALUES ($1, $2, $3)
             ON CONFLICT (url) DO UPDATE
            SET standing = excluded.standing, reason = excluded.reason, changed_at = excluded.changed_at",
    )
    .bind(url)
    .bind(standing.as_str())
    .bind(reason)
    .execute(pool)
    .await
    .map_err(failed("write to"))?;
    Ok(())
}

/// Writes down how an endpoint does.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn record_health(
    pool: &PgPool,
    url: &str,
    health: &str,
    since: SystemTime,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO pgstream.webhook_endpoint_health (url, health, since, reason)
         VALUES ($1, $2, timestamptz 'epoch' + $3 * interval '1 microsecond', $4)
             ON CONFLICT (url) DO UPDATE SET health = excluded.health, since = excluded.since,
                reason = excluded.reason, changed_at = excluded.changed_at",
    )
    .bind(url)
    .bind(health)
    .bind(micros(since))
    .bind(reason)
    .execute(pool)
    .await
    .map_err(StoreError::table("write to", "pgstream.webhook_endpoint_health"))?;
    Ok(())
}

/// How an endpoint did when a running program last wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenHealth {
    /// The endpoint.
    pub url: String,
    /// Its state.
    pub health: String,
    /// Since when.
    pub since: SystemTime,
    /// Why.
    pub reason: Option<String>,
}

/// What is written down of all endpoints, or of one.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn health(pool: &PgPool, url: Option<&str>) -> Result<Vec<WrittenHealth>, StoreError> {
    let rows: Vec<(String, String, i64, Option<String>)> = sqlx::query_as(
        "SELECT url, health, (extract(epoch FROM since) * 1000000)::bigint, reason
           FROM pgstream.webhook_endpoint_health WHERE $1 IS NULL OR url = $1 ORDER BY url",
    )
    .bind(url)
    .fetch_all(pool)
    .await
    .map_err(StoreError::table("read", "pgstream.webhook_endpoint_health"))?;
    let row = |(url, health, since, reason)| WrittenHealth {
        url,
        health,
        since: time(Some(since)).unwrap_or(SystemTime::UNIX_EPOCH),
        reason,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// The endpoints that are written down as being anything but healthy.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn ill(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT url FROM pgstream.webhook_endpoint_health WHERE health <> 'healthy'")
        .fetch_all(pool)
        .await
        .map_err(StoreError::table("read", "pgstream.webhook_endpoint_health"))
}

/// An endpoint that does not take what it should, or is not to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Troubled {
    /// The endpoint.
    pub url: String,
    /// `paused`, `disabled`, or how it did when a running program last wrote it down.
    pub state: String,
    /// Since when.
    pub since: Option<SystemTime>,
    /// Why.
    pub reason: Option<String>,
}

/// The endpoints that somebody is subscribed with, or something waits for, and that are not both active and healthy.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn troubled(pool: &PgPool) -> Result<Vec<Troubled>, StoreError> {
    let rows: Vec<(String, String, Option<i64>, Option<String>)> = sqlx::query_as(
        "SELECT t.url, t.state, (extract(epoch FROM t.since) * 1000000)::bigint, t.reason
           FROM (SELECT url, standing AS state, changed_at AS since, reason
                   FROM pgstream.webhook_endpoints WHERE standing <> 'active'
                 UNION ALL
                 SELECT h.url, h.health, h.since, h.reason
                   FROM pgstream.webhook_endpoint_health AS h
                   LEFT JOIN pgstream.webhook_endpoints AS e ON e.url = h.url AND e.standing <> 'active'
                  WHERE h.health NOT IN ('healthy', 'paused', 'disabled') AND e.url IS NULL) AS t
          WHERE EXISTS (SELECT FROM pgstream.webhook_subscriptions AS s WHERE s.url = t.url)
             OR EXISTS (SELECT FROM pgstream.webhook_backlog AS b WHERE b.endpoint = t.url)
          ORDER BY t.url",
    )
    .fetch_all(pool)
    .await
    .map_err(StoreError::query("look for endpoints in trouble"))?;
    let row = |(url, state, since, reason)| Troubled {
        url,
        state,
        since: time(since),
        reason,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Hears of what operators do with endpoints. Holds one connection of the pool.
#[derive(Debug)]
pub struct Changes(Listening);

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The settings, and the backlogs of these endpoints.
    Backlogs(BTreeSet<String>),
    /// Anything: nothing could be heard for a while.
    Anything,
}

impl Changes {
    /// Begins to listen: what is committed from now on is heard of.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn listen(pool: &PgPool) -> Result<Self, StoreError> {
        let listening = Listening::start(pool, CHANNEL, "listen for changed endpoints");
        Ok(Self(listening.await?))
    }

    /// Waits until something has changed, or may have. Cancel-safe.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the connection is lost and cannot be made again; call it again later.
    pub async fn changed(&mut self) -> Result<Change, StoreError> {
        Ok(match self.0.heard().await? {
            Heard::Payloads(payloads) => {
                Change::Backlogs(payloads.into_iter().filter(|url| !url.is_empty()).collect())
            }
            Heard::Gap => Change::Anything,
        })
    }
}

fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::table(action, "pgstream.webhook_endpoints")
}
