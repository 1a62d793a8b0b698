//! The table `pgstream.webhook_subscriptions`, and news of its changes.

use sqlx::PgPool;

use super::StoreError;
use super::listening::Listening;
use crate::subscription::model::{EventTypes, Subscription};

/// The channel on which the table's trigger tells that it has changed.
const CHANNEL: &str = "pgstream_subscriptions";

/// All subscriptions, in the order of their key.
///
/// # Errors
/// [`StoreError::Query`], or [`StoreError::Subscription`] for a row that cannot be understood: never a part of the
/// set, for what is left out would not be delivered.
pub async fn list(pool: &PgPool) -> Result<Vec<Subscription>, StoreError> {
    let rows: Vec<(String, String, String, Vec<String>)> = sqlx::query_as(
        "SELECT url, schema_name, table_name, event_types FROM pgstream.webhook_subscriptions
          ORDER BY url, schema_name, table_name",
    )
    .fetch_all(pool)
    .await
    .map_err(StoreError::query("read pgstream.webhook_subscriptions"))?;
    rows.into_iter()
        .map(
            |(url, schema, table, letters)| match EventTypes::from_letters(&letters) {
                Ok(event_types) => Ok(Subscription {
                    url,
                    schema,
                    table,
                    event_types,
                }),
                Err(source) => Err(StoreError::Subscription { url, source }),
            },
        )
        .collect()
}

/// Stores a subscription; one with the same URL, schema and table is replaced.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn upsert(pool: &PgPool, subscription: &Subscription) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO pgstream.webhook_subscriptions (url, schema_name, table_name, event_types)
         VALUES ($1, $2, $3, $4)
             ON CONFLICT (url, schema_name, table_name) DO UPDATE SET event_types = excluded.event_types",
    )
    .bind(&subscription.url)
    .bind(&subscription.schema)
    .bind(&subscription.table)
    .bind(subscription.event_types.letters())
    .execute(pool)
    .await
    .map_err(StoreError::query("write to pgstream.webhook_subscriptions"))?;
    Ok(())
}

/// Deletes the subscription of this URL, schema and table, and says whether there was one.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn delete(pool: &PgPool, url: &str, schema: &str, table: &str) -> Result<bool, StoreError> {
    let outcome = sqlx::query(
        "DELETE FROM pgstream.webhook_subscriptions WHERE url = $1 AND schema_name = $2 AND table_name = $3",
    )
    .bind(url)
    .bind(schema)
    .bind(table)
    .execute(pool)
    .await
    .map_err(StoreError::query("delete from pgstream.webhook_subscriptions"))?;
    Ok(outcome.rows_affected() > 0)
}

/// Hears of every change of the table, whoever makes it.
///
/// Holds one connection of the pool.
#[derive(Debug)]
pub struct Changes(Listening);

impl Changes {
    /// Begins to listen: what is committed from now on is heard of.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn listen(pool: &PgPool) -> Result<Self, StoreError> {
        let listening = Listening::start(pool, CHANNEL, "listen for changed subscriptions");
        Ok(Self(listening.await?))
    }

    /// Waits until the table has changed, or may have: a connection lost and made anew counts, because nothing was
    /// heard while it was away. Cancel-safe.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the connection is lost and cannot be made again; call it again later.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        self.0.heard().await.map(drop)
    }
}
