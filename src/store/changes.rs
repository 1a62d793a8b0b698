//! News of changes, over a channel of LISTEN and NOTIFY.

use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{Executor, PgPool};

use super::StoreError;

/// Hears what is told on one channel.
///
/// Holds one connection of the pool.
#[derive(Debug)]
pub(super) struct Listener {
    listener: PgListener,
    /// What it listens for, as it reads after "cannot".
    action: &'static str,
    /// Whether something may have been told that nobody listened to.
    deaf: bool,
}

impl Listener {
    /// Begins to listen: what is committed from now on is heard of.
    pub(super) async fn listen(
        pool: &PgPool,
        channel: &'static str,
        action: &'static str,
    ) -> Result<Self, StoreError> {
        let failed = || StoreError::query(action);
        let mut listener = PgListener::connect_with(pool).await.map_err(failed())?;
        listener.listen(channel).await.map_err(failed())?;
        Ok(Self {
            listener,
            action,
            deaf: false,
        })
    }

    /// Waits until something is told and returns the payloads of all that has been, or `None` when something may have
    /// been: a connection lost and made anew counts, because nothing was heard while it was away. Cancel-safe.
    ///
    /// Fails when the connection is lost and cannot be made again; call it again later.
    pub(super) async fn heard(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        let failed = StoreError::query(self.action);
        if self.deaf {
            self.listener.execute("SELECT").await.map_err(failed)?;
            self.deaf = false;
            return Ok(None);
        }
        let first = match self.listener.try_recv().await {
            Ok(first) => first,
            Err(error) => {
                self.deaf = true;
                return Err(failed(error));
            }
        };
        // Several changes at once are one piece of news.
        let mut payloads = Vec::new();
        let payload = |notification: PgNotification| notification.payload().to_owned();
        while let Some(next) = self.listener.next_buffered() {
            payloads.push(payload(next));
        }
        // Without a first one the connection was lost and made anew.
        Ok(first.map(|first| {
            payloads.insert(0, payload(first));
            payloads
        }))
    }
}
