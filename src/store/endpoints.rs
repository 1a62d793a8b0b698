//! The tables `pgstream.webhook_endpoints` (what the operator wants of an endpoint) and
//! `pgstream.webhook_endpoint_health` (how it did when `run` last said so), and news of what an operator did.

use std::time::{Duration, SystemTime};

use sqlx::PgPool;

use super::StoreError;
use super::changes::Listener;
use super::moment::{from_micros, to_micros};
use crate::endpoint::model::{EndpointOverrides, Order, Standing};

/// The channel on which the table's trigger and the operator's commands tell what has changed. A payload is the URL
/// that is concerned; an empty one means that any may be.
pub(super) const CHANNEL: &str = "pgstream_endpoints";

const COLUMNS: &str =
    "url, standing, reason, ordering, in_flight, timeout_ms, batch_size, batch_wait_ms, batch_bytes";

/// One setting of an endpoint, as an operator changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is the default from now on, also when that changes.
    Reset,
    /// It is this from now on.
    To(T),
}

impl<T> Change<T> {
    /// Whether it stays as it is.
    #[must_use]
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The value to be stored.
    fn value(self) -> Option<T> {
        match self {
            Self::To(value) => Some(value),
            Self::Keep | Self::Reset => None,
        }
    }
}

/// What an operator changes of an endpoint's settings. The values have to fit their columns, which whoever reads them
/// from an operator sees to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingChanges {
    /// The order of its deliveries.
    pub order: Change<Order>,
    /// How many requests may be in flight at one time.
    pub in_flight: Change<usize>,
    /// How long an exchange may take, in whole milliseconds.
    pub timeout: Change<Duration>,
    /// How many events a request may hold.
    pub batch_size: Change<usize>,
    /// How long a batch may wait to become full, in whole milliseconds.
    pub batch_wait: Change<Duration>,
    /// How many bytes of events a request may hold.
    pub batch_bytes: Change<u64>,
}

/// How an endpoint did when `run` last said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The endpoint.
    pub url: String,
    /// Its state, such as `healthy` or `outage`.
    pub health: String,
    /// Since when.
    pub since: SystemTime,
    /// Why.
    pub reason: Option<String>,
}

type Row = (
    String,
    String,
    Option<String>,
    Option<String>,
    Option<i32>,
    Option<i64>,
    Option<i32>,
    Option<i64>,
    Option<i64>,
);

/// All that is configured, in the order of the URLs.
///
/// # Errors
/// [`StoreError::Query`], or [`StoreError::Endpoint`] for a row that cannot be understood.
pub async fn list(pool: &PgPool) -> Result<Vec<EndpointOverrides>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM pgstream.webhook_endpoints ORDER BY url");
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(text))
        .fetch_all(pool)
        .await
        .map_err(StoreError::query("read pgstream.webhook_endpoints"))?;
    rows.into_iter().map(overrides).collect()
}

/// What is configured of one endpoint, if anything is.
///
/// # Errors
/// As [`list`].
pub async fn get(pool: &PgPool, url: &str) -> Result<Option<EndpointOverrides>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM pgstream.webhook_endpoints WHERE url = $1");
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(text))
        .bind(url)
        .fetch_optional(pool)
        .await
        .map_err(StoreError::query("read pgstream.webhook_endpoints"))?;
    row.map(overrides).transpose()
}

fn overrides(row: Row) -> Result<EndpointOverrides, StoreError> {
    let (url, standing, reason, ordering, in_flight, timeout, batch_size, batch_wait, batch_bytes) = row;
    let wrong = |problem: String| StoreError::Endpoint {
        url: url.clone(),
        problem,
    };
    let standing: Standing = standing.parse().map_err(wrong)?;
    let order: Option<Order> = ordering.map(|name| name.parse()).transpose().map_err(wrong)?;
    let number = |column: &str, value: Option<i64>| {
        let converted = value.map(u64::try_from).transpose();
        converted.map_err(|_| wrong(format!("{column} is negative")))
    };
    let in_flight = number("in_flight", in_flight.map(i64::from))?;
    let timeout = number("timeout_ms", timeout)?;
    let batch_size = number("batch_size", batch_size.map(i64::from))?;
    let batch_wait = number("batch_wait_ms", batch_wait)?;
    let batch_bytes = number("batch_bytes", batch_bytes)?;
    // Non-negative 32-bit numbers fit wherever this runs.
    let count = |value: Option<u64>| value.map(|value| usize::try_from(value).unwrap_or(usize::MAX));
    Ok(EndpointOverrides {
        standing,
        reason,
        order,
        in_flight: count(in_flight),
        timeout: timeout.map(Duration::from_millis),
        batch_size: count(batch_size),
        batch_wait: batch_wait.map(Duration::from_millis),
        batch_bytes,
        url,
    })
}

/// Changes settings of one endpoint; its standing stays.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn set(pool: &PgPool, url: &str, changes: SettingChanges) -> Result<(), StoreError> {
    let keeps = [
        changes.order.is_keep(),
        changes.in_flight.is_keep(),
        changes.timeout.is_keep(),
        changes.batch_size.is_keep(),
        changes.batch_wait.is_keep(),
        changes.batch_bytes.is_keep(),
    ];
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    sqlx::query(
        "INSERT INTO pgstream.webhook_endpoints AS here
                (url, ordering, in_flight, timeout_ms, batch_size, batch_wait_ms, batch_bytes)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (url) DO UPDATE SET
                ordering = CASE WHEN $8[1] THEN here.ordering ELSE excluded.ordering END,
                in_flight = CASE WHEN $8[2] THEN here.in_flight ELSE excluded.in_flight END,
                timeout_ms = CASE WHEN $8[3] THEN here.timeout_ms ELSE excluded.timeout_ms END,
                batch_size = CASE WHEN $8[4] THEN here.batch_size ELSE excluded.batch_size END,
                batch_wait_ms = CASE WHEN $8[5] THEN here.batch_wait_ms ELSE excluded.batch_wait_ms END,
                batch_bytes = CASE WHEN $8[6] THEN here.batch_bytes ELSE excluded.batch_bytes END,
                changed_at = now()",
    )
    .bind(url)
    .bind(changes.order.value().map(Order::as_str))
    .bind(changes.in_flight.value().map(count))
    .bind(changes.timeout.value().map(millis))
    .bind(changes.batch_size.value().map(count))
    .bind(changes.batch_wait.value().map(millis))
    .bind(
        changes
            .batch_bytes
            .value()
            .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
    )
    .bind(&keeps[..])
    .execute(pool)
    .await
    .map_err(StoreError::query("write to pgstream.webhook_endpoints"))?;
    Ok(())
}

/// Makes one endpoint active, paused or disabled, and keeps why; its settings stay.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn set_standing(
    pool: &PgPool,
    url: &str,
    standing: Standing,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO pgstream.webhook_endpoints (url, standing, reason) VALUES ($1, $2, $3)
             ON CONFLICT (url) DO UPDATE SET
                standing = excluded.standing, reason = excluded.reason, changed_at = now()",
    )
    .bind(url)
    .bind(standing.as_str())
    .bind(reason)
    .execute(pool)
    .await
    .map_err(StoreError::query("write to pgstream.webhook_endpoints"))?;
    Ok(())
}

/// Keeps how an endpoint does, for the operator's eyes.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn record_health(
    pool: &PgPool,
    url: &str,
    health: &str,
    since: SystemTime,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO pgstream.webhook_endpoint_health (url, health, since, reason, changed_at)
         VALUES ($1, $2, 'epoch'::timestamptz + $3 * interval '1 microsecond', $4, now())
             ON CONFLICT (url) DO UPDATE SET health = excluded.health, since = excluded.since,
                reason = excluded.reason, changed_at = excluded.changed_at",
    )
    .bind(url)
    .bind(health)
    .bind(to_micros(since))
    .bind(reason)
    .execute(pool)
    .await
    .map_err(StoreError::query("write to pgstream.webhook_endpoint_health"))?;
    Ok(())
}

/// How every endpoint did that `run` said something of, in the order of the URLs.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn health(pool: &PgPool) -> Result<Vec<Health>, StoreError> {
    let rows: Vec<(String, String, i64, Option<String>)> = sqlx::query_as(
        "SELECT url, health, (extract(epoch FROM since) * 1000000)::bigint, reason
           FROM pgstream.webhook_endpoint_health ORDER BY url",
    )
    .fetch_all(pool)
    .await
    .map_err(StoreError::query("read pgstream.webhook_endpoint_health"))?;
    let row = |(url, health, since, reason)| Health {
        url,
        health,
        since: from_micros(since),
        reason,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum News {
    /// These endpoints: rows were put into their backlogs or taken out.
    Urls(Vec<String>),
    /// Anything, settings and standings included.
    Anything,
}

/// Hears of every change of the settings, whoever makes it, and of what an operator does to backlogs.
///
/// Holds one connection of the pool.
#[derive(Debug)]
pub struct Changes(Listener);

impl Changes {
    /// Begins to listen: what is committed from now on is heard of.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn listen(pool: &PgPool) -> Result<Self, StoreError> {
        let listener = Listener::listen(pool, CHANNEL, "listen for changed endpoints").await?;
        Ok(Self(listener))
    }

    /// Waits until something has changed, or may have: a connection lost and made anew counts, because nothing was
    /// heard while it was away. Cancel-safe.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the connection is lost and cannot be made again; call it again later.
    pub async fn changed(&mut self) -> Result<News, StoreError> {
        Ok(match self.0.heard().await? {
            Some(urls) if urls.iter().all(|url| !url.is_empty()) => News::Urls(urls),
            _ => News::Anything,
        })
    }
}
