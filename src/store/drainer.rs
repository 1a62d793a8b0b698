//! The lock of the one program that works off the backlogs of a store.
//!
//! A slot has one reader, and that alone keeps two streams apart. What works off backlogs without a slot, or with another
//! one, is kept apart by this lock. It is the session's: whoever dies lets go of it.

use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::StoreError;

const KEY: &str = "'pgstream.webhook_backlog'::regclass::bigint";

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct Drainer {
    session: PgConnection,
}

impl Drainer {
    /// Takes the lock if nobody else has it.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn try_acquire(store: &PgPool) -> Result<Option<Self>, StoreError> {
        let failed = || StoreError::query("lock the backlogs");
        // Out of the pool, which would keep the session, and the lock with it.
        let mut session = store.acquire().await.map_err(failed())?.detach();
        // A role's time limit would let go of the lock. Not every server knows it.
        session
            .execute(
                "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'",
            )
            .await
            .map_err(failed())?;
        let is_ours: bool =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT pg_try_advisory_lock({KEY})")))
                .fetch_one(&mut session)
                .await
                .map_err(failed())?;
        Ok(is_ours.then_some(Self { session }))
    }

    /// Gives the lock back.
    pub async fn release(self) {
        // Where the farewell fails, the server lets go as soon as it notices.
        let _ = self.session.close().await;
    }
}
