//! The lock of the one program that works off the backlogs of a store.
//!
//! A slot has one reader, and that alone keeps two streams apart. What works off backlogs without a slot, or with another
//! one, is kept apart by this lock. It is the session's: whoever dies lets go of it.
//!
//! A session may be lost while its program lives, as when the server is restarted. Then the lock can be taken again; whether
//! somebody else had it meanwhile is seen by its term, which everyone raises who takes it for the first time.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::time::timeout;

use super::StoreError;

const KEY: &str = "'pgstream.webhook_backlog'::regclass::bigint";
/// How long a session may take to answer that has the lock.
const ANSWER: Duration = Duration::from_secs(5);

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct Drainer {
    session: PgConnection,
    held: Held,
}

/// A lock that is, or was, held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The number of those who have had it, this one included.
    pub term: i64,
    /// The process of the session that holds it, and when that began.
    pid: i32,
    since: String,
}

/// What became of a lock whose session was lost.
#[derive(Debug)]
pub enum Retaken {
    /// Nobody else had it.
    Ours(Drainer),
    /// The lost session is still there for the server, and has been told to end.
    NotYet,
    /// Somebody has it, or had it meanwhile.
    Others,
}

impl Drainer {
    /// Takes the lock if nobody else has it.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn try_acquire(store: &PgPool) -> Result<Option<Self>, StoreError> {
        let Some(mut session) = try_lock(store).await? else {
            return Ok(None);
        };
        let term = sqlx::query_scalar("UPDATE pgstream.webhook_terms SET term = term + 1 RETURNING term")
            .fetch_one(&mut session)
            .await
            .map_err(failed())?;
        Self::held(session, term).await.map(Some)
    }

    async fn held(mut session: PgConnection, term: i64) -> Result<Self, StoreError> {
        let (pid, since) = sqlx::query_as(
            "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        )
        .fetch_one(&mut session)
        .await
        .map_err(failed())?;
        let held = Held { term, pid, since };
        Ok(Self { session, held })
    }

    /// Takes a lock again whose session was lost.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn try_retake(store: &PgPool, held: &Held) -> Result<Retaken, StoreError> {
        // A server does not notice that a network is cut.
        let lingers: Option<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2",
        )
        .bind(held.pid)
        .bind(&held.since)
        .fetch_optional(store)
        .await
        .map_err(failed())?;
        if lingers == Some(true) {
            return Ok(Retaken::NotYet);
        }
        let Some(mut session) = try_lock(store).await? else {
            return Ok(Retaken::Others);
        };
        let last: i64 = sqlx::query_scalar("SELECT term FROM pgstream.webhook_terms")
            .fetch_one(&mut session)
            .await
            .map_err(failed())?;
        if last != held.term {
            return Ok(Retaken::Others);
        }
        Self::held(session, last).await.map(Retaken::Ours)
    }

    /// What is held.
    #[must_use]
    pub fn what(&self) -> &Held {
        &self.held
    }

    /// Whether the session is still there.
    pub async fn is_there(&mut self) -> bool {
        matches!(timeout(ANSWER, self.session.ping()).await, Ok(Ok(())))
    }

    /// Gives the lock back.
    pub async fn release(self) {
        // Where the farewell fails, the server lets go as soon as it notices.
        let _ = timeout(ANSWER, self.session.close()).await;
    }
}

/// A session that has the lock.
async fn try_lock(store: &PgPool) -> Result<Option<PgConnection>, StoreError> {
    // Out of the pool, which would keep the session, and the lock with it.
    let mut session = store.acquire().await.map_err(failed())?.detach();
    // A role's time limit would let go of the lock. Not every server knows it.
    session
        .execute("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'")
        .await
        .map_err(failed())?;
    let is_ours: bool =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT pg_try_advisory_lock({KEY})")))
            .fetch_one(&mut session)
            .await
            .map_err(failed())?;
    if !is_ours {
        // Its connection must not wait for a farewell: it has nothing.
        drop(session);
        return Ok(None);
    }
    Ok(Some(session))
}

fn failed() -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::query("lock the backlogs")
}
