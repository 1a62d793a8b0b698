//! Listening on a channel of the store.

use sqlx::postgres::PgListener;
use sqlx::{Executor, PgPool};

use super::StoreError;

/// Hears what is notified on one channel. Holds one connection of the pool.
#[derive(Debug)]
pub(super) struct Listening {
    listener: PgListener,
    /// What this is for, as it reads after "cannot".
    action: &'static str,
    /// Whether something may have been notified that nobody listened to.
    deaf: bool,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// These payloads.
    Payloads(Vec<String>),
    /// Nothing, but the connection was away for a while: anything may have been said.
    Gap,
}

impl Listening {
    /// Begins to listen: what is committed from now on is heard.
    pub(super) async fn start(
        pool: &PgPool,
        channel: &str,
        action: &'static str,
    ) -> Result<Self, StoreError> {
        let mut listener = PgListener::connect_with(pool)
            .await
            .map_err(StoreError::query(action))?;
        listener
            .listen(channel)
            .await
            .map_err(StoreError::query(action))?;
        Ok(Self {
            listener,
            action,
            deaf: false,
        })
    }

    /// Waits for news: what is waiting already comes at once. Cancel-safe.
    pub(super) async fn heard(&mut self) -> Result<Heard, StoreError> {
        let failed = StoreError::query(self.action);
        if self.deaf {
            self.listener.execute("SELECT").await.map_err(failed)?;
            self.deaf = false;
            return Ok(Heard::Gap);
        }
        match self.listener.try_recv().await {
            Ok(Some(first)) => {
                let mut payloads = vec![first.payload().to_owned()];
                while let Some(next) = self.listener.next_buffered() {
                    payloads.push(next.payload().to_owned());
                }
                Ok(Heard::Payloads(payloads))
            }
            Ok(None) => Ok(Heard::Gap),
            Err(error) => {
                self.deaf = true;
                Err(failed(error))
            }
        }
    }
}
