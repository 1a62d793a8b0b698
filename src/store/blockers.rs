//! Who else's transaction something waits for.

use std::fmt;

use sqlx::{AssertSqlSafe, PgPool};

use super::StoreError;

/// A transaction that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// The open transaction of a session.
    Session {
        /// The process, for `pg_terminate_backend`.
        pid: i32,
        /// The database it is connected to.
        database: String,
        /// The name its application gave, or the empty text.
        application: String,
        /// For how long the transaction has been open.
        seconds: i64,
    },
    /// A transaction prepared for two-phase commit.
    Prepared {
        /// Its identifier, for `COMMIT PREPARED` and `ROLLBACK PREPARED`.
        gid: String,
        /// The database in which it has to be ended.
        database: String,
        /// How long ago it was prepared.
        seconds: i64,
    },
}

impl fmt::Display for Blocker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session {
                pid,
                database,
                application,
                seconds,
            } => {
                write!(formatter, "PID {pid} (database {database}, ")?;
                if !application.is_empty() {
                    write!(formatter, "application {application:?}, ")?;
                }
                write!(formatter, "open for {seconds} s)")
            }
            Self::Prepared {
                gid,
                database,
                seconds,
            } => write!(
                formatter,
                "prepared transaction '{gid}' (database {database}, for {seconds} s)"
            ),
        }
    }
}

/// The writing transactions that a new slot has to wait for: those of the whole server, oldest first.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn of_slot_creation(pool: &PgPool) -> Result<Vec<Blocker>, StoreError> {
    find(
        pool,
        "SELECT a.pid, NULL::text, coalesce(a.datname, '-'), a.application_name, a.xact_start AS since
           FROM pg_stat_activity AS a
          WHERE a.backend_xid IS NOT NULL
         UNION ALL
         SELECT NULL, p.gid, p.database, NULL, p.prepared
           FROM pg_prepared_xacts AS p",
    )
    .await
}

/// The transactions of this database that hold locks on tables or sequences of schema `pgstream`, oldest first.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn of_removal(pool: &PgPool) -> Result<Vec<Blocker>, StoreError> {
    // A prepared transaction has no process; its locks lead to it because it holds one on its own id as well.
    find(
        pool,
        "WITH ours AS (
             SELECT l.pid, l.virtualtransaction
               FROM pg_locks AS l
               JOIN pg_class AS c ON c.oid = l.relation
               JOIN pg_namespace AS n ON n.oid = c.relnamespace
              WHERE n.nspname = 'pgstream' AND l.granted AND l.locktype = 'relation'
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         )
         SELECT a.pid, NULL::text, a.datname::text, a.application_name, a.xact_start AS since
           FROM pg_stat_activity AS a
          WHERE a.pid IN (SELECT pid FROM ours)
         UNION ALL
         SELECT NULL, p.gid, p.database, NULL, p.prepared
           FROM pg_prepared_xacts AS p
          WHERE p.transaction IN (SELECT l.transactionid
                                    FROM pg_locks AS l
                                    JOIN ours USING (virtualtransaction)
                                   WHERE l.locktype = 'transactionid' AND l.pid IS NULL AND ours.pid IS NULL)",
    )
    .await
}

/// Runs a query for (pid, gid, database, application, since).
async fn find(pool: &PgPool, query: &str) -> Result<Vec<Blocker>, StoreError> {
    type Row = (Option<i32>, Option<String>, String, Option<String>, i64);
    let text = format!(
        "SELECT pid, gid, database::text, application,
                coalesce(extract(epoch FROM clock_timestamp() - since), 0)::bigint
           FROM ({query}) AS found (pid, gid, database, application, since)
          ORDER BY since"
    );
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(text))
        .fetch_all(pool)
        .await
        .map_err(StoreError::query("look for the transactions in the way"))?;
    Ok(rows
        .into_iter()
        .filter_map(|(pid, gid, database, application, seconds)| match (pid, gid) {
            (_, Some(gid)) => Some(Blocker::Prepared {
                gid,
                database,
                seconds,
            }),
            (Some(pid), None) => Some(Blocker::Session {
                pid,
                database,
                application: application.unwrap_or_default(),
                seconds,
            }),
            (None, None) => None,
        })
        .collect())
}
