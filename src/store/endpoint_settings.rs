//! The settings in `pgstream.webhook_endpoints`, as an operator changes them.

use std::time::Duration;

use sqlx::PgPool;

use super::StoreError;
use crate::endpoint::model::Order;

/// One setting, as an operator changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Setting<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is the default from now on, also when that changes.
    Reset,
    /// It is this from now on.
    To(T),
}

impl<T> Setting<T> {
    /// Whether it stays as it is.
    const fn is_kept(&self) -> bool {
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

/// What an operator changes of an endpoint's settings. The values have to keep to the limits of the table, which whoever
/// reads them from an operator sees to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingChanges {
    /// The order of its deliveries.
    pub order: Setting<Order>,
    /// How many requests may be in flight at one time.
    pub in_flight: Setting<usize>,
    /// How long an exchange may take, in whole milliseconds.
    pub timeout: Setting<Duration>,
    /// How many events a request may hold.
    pub batch_size: Setting<usize>,
    /// How long a batch may wait to become full, in whole milliseconds.
    pub batch_wait: Setting<Duration>,
    /// How many bytes of events a request may hold.
    pub batch_bytes: Setting<u64>,
}

/// Changes settings of one endpoint; its standing stays.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn set(pool: &PgPool, url: &str, changes: &SettingChanges) -> Result<(), StoreError> {
    let keeps = [
        changes.order.is_kept(),
        changes.in_flight.is_kept(),
        changes.timeout.is_kept(),
        changes.batch_size.is_kept(),
        changes.batch_wait.is_kept(),
        changes.batch_bytes.is_kept(),
    ];
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
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
                changed_at = excluded.changed_at",
    )
    .bind(url)
    .bind(changes.order.value().map(Order::as_str))
    .bind(changes.in_flight.value().map(count))
    .bind(changes.timeout.value().map(millis))
    .bind(changes.batch_size.value().map(count))
    .bind(changes.batch_wait.value().map(millis))
    .bind(changes.batch_bytes.value().map(bytes))
    .bind(&keeps[..])
    .execute(pool)
    .await
    .map_err(StoreError::table("write to", "pgstream.webhook_endpoints"))?;
    Ok(())
}
