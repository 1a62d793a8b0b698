//! Replication slots: look, try, make, drop.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection, PgPool, Row};

use pgstream_proto::Lsn;
use tokio::time::timeout;

use super::StoreError;
use crate::connect::sqlstate::{CANNOT_CONNECT_NOW, QUERY_CANCELED};

/// The output plugin of our slots.
pub const PLUGIN: &str = "wal2json";

/// The first version, as a number, whose slots stand-bys can be kept in step with.
pub const FAILOVER_SINCE: i32 = 170_000;

/// How long a trial slot may take. The server loads the plugin before it begins to wait for transactions, so a trial
/// that takes longer has succeeded in what it is for.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the server may take to say who streams from a slot.
const ANSWER: Duration = Duration::from_secs(5);

/// A slot, as `pg_replication_slots` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its output plugin; a physical slot has none.
    pub plugin: Option<String>,
    /// The database it decodes; a physical slot has none.
    pub database: Option<String>,
    /// The process that uses it at the moment.
    pub active_pid: Option<i32>,
    /// `lost` when the server has removed WAL that the slot still needed.
    pub wal_status: Option<String>,
    /// What it has confirmed; a physical slot has confirmed nothing.
    pub confirmed: Option<Lsn>,
    /// Why it cannot be used any more, where the server says so (PostgreSQL 17).
    pub invalidation_reason: Option<String>,
    /// Whether stand-bys are kept in step with it (PostgreSQL 17).
    pub failover: bool,
    /// Whether it is kept in step with that of another server, and so cannot be used (PostgreSQL 17).
    pub synced: bool,
}

impl FromRow<'_, PgRow> for Slot {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            plugin: row.try_get("plugin")?,
            database: row.try_get("database")?,
            active_pid: row.try_get("active_pid")?,
            wal_status: row.try_get("wal_status")?,
            confirmed: row
                .try_get::<Option<&str>, _>("confirmed")?
                .and_then(|confirmed| confirmed.parse().ok()),
            invalidation_reason: row.try_get("invalidation_reason")?,
            failover: row.try_get("failover")?,
            synced: row.try_get("synced")?,
        })
    }
}

/// The columns of a [`Slot`] out of `pg_replication_slots AS s`. Those that older servers lack are taken out of the row as a
/// whole, so that one statement does for all of them.
pub(super) const COLUMNS: &str =
    "s.plugin::text AS plugin, s.database::text AS database, s.active_pid, s.wal_status,
    s.confirmed_flush_lsn::text AS confirmed,
    to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason,
    coalesce((to_jsonb(s) ->> 'failover')::boolean, false) AS failover,
    coalesce((to_jsonb(s) ->> 'synced')::boolean, false) AS synced";

/// The slot of this name, in whatever database it is.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn find(pool: &PgPool, name: &str) -> Result<Option<Slot>, StoreError> {
    sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM pg_replication_slots AS s WHERE s.slot_name = $1"
    )))
    .bind(name)
    .fetch_optional(pool)
    .await
    .map_err(StoreError::query("look up the replication slot"))
}

/// A process of the server that has streamed from a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walsender {
    /// It does not any more.
    Gone,
    /// It does.
    There,
    /// It does, and waits for nobody at this moment.
    AtWork,
}

/// What this process of the server does, which has streamed from the slot. `None` if that cannot be found out. A server that
/// lets nobody in because it is shut down, or starts, has none, where it says so itself: that it cannot be reached means
/// nothing for a connection that is there already.
///
/// One that is idle, or stands still since it was, waits for something: for WAL, or for us. One that stands still in the
/// middle of its work cannot be told from one that goes on with it.
pub async fn walsender(pool: &PgPool, name: &str, pid: i32) -> Option<Walsender> {
    // A session of its own: the pool would try for long to get another one where the server lets nobody in.
    let looking = async {
        let mut session = PgConnection::connect_with(&pool.connect_options()).await?;
        // What it is is hidden from roles that may not see what it waits for either.
        let is_at_work: Result<Option<bool>, _> = sqlx::query_scalar(
            "SELECT coalesce(a.backend_type = 'walsender' AND coalesce(a.wait_event_type, '') IN ('', 'IO', 'LWLock'), false)
               FROM pg_replication_slots AS s LEFT JOIN pg_stat_activity AS a ON a.pid = s.active_pid
              WHERE s.slot_name = $1 AND s.active_pid = $2",
        )
        .bind(name)
        .bind(pid)
        .fetch_optional(&mut session)
        .await;
        close(session).await;
        is_at_work
    };
    match timeout(ANSWER, looking).await {
        Ok(Ok(None)) => Some(Walsender::Gone),
        Ok(Ok(Some(false))) => Some(Walsender::There),
        Ok(Ok(Some(true))) => Some(Walsender::AtWork),
        Ok(Err(error)) => {
            let error = StoreError::query("ask who streams from the slot")(error);
            let lets_nobody_in = error.sqlstate() == Some(CANNOT_CONNECT_NOW) && !error.is_of_the_way();
            lets_nobody_in.then_some(Walsender::Gone)
        }
        Err(_) => None,
    }
}

/// Advances a slot that nobody uses, and says where it is then.
///
/// # Errors
/// [`StoreError::Query`]; SQLSTATE `55006` means that it is in use.
pub async fn advance(pool: &PgPool, name: &str, to: Lsn) -> Result<Lsn, StoreError> {
    const ACTION: &str = "advance the replication slot";
    let end: String =
        sqlx::query_scalar("SELECT end_lsn::text FROM pg_replication_slot_advance($1, $2::pg_lsn)")
            .bind(name)
            .bind(to.to_string())
            .fetch_one(pool)
            .await
            .map_err(StoreError::query(ACTION))?;
    end.parse()
        .map_err(|_| StoreError::query(ACTION)(sqlx::Error::Decode(format!("{end:?} is not an LSN").into())))
}

/// Finds out whether a slot of our plugin can be made, by making a temporary one and dropping it again.
///
/// # Errors
/// [`StoreError::Query`] with the SQLSTATE of whatever forbids it.
pub async fn try_plugin(pool: &PgPool) -> Result<(), StoreError> {
    let name = format!("pgstream_trial_{:08x}", fastrand::u32(..));
    let mut session = own_session(pool, TRIAL_TIMEOUT).await?;
    let outcome = create_in(&mut session, &name, Creation::Trial).await;
    // A temporary slot outlives its failed creation; it must not take the place of the real one.
    sqlx::query("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1")
        .bind(&name)
        .execute(&mut session)
        .await
        .map_err(StoreError::query("drop the trial replication slot"))?;
    close(session).await;
    match outcome {
        Err(error) if error.sqlstate() == Some(QUERY_CANCELED) => Ok(()),
        outcome => outcome,
    }
}

/// Makes a slot. The server waits for every transaction that is open at that time, prepared ones included; after
/// `limit` it gives up and removes the half-built slot. It does the same when our end of the connection is gone, so
/// that a program that is killed, or drops this future, leaves nothing behind.
///
/// # Errors
/// [`StoreError::Query`]; SQLSTATE [`QUERY_CANCELED`] means that `limit` has passed.
pub async fn create(pool: &PgPool, name: &str, failover: bool, limit: Duration) -> Result<(), StoreError> {
    let creation = if failover {
        Creation::Failover
    } else {
        Creation::Lasting
    };
    let mut session = own_session(pool, limit).await?;
    let outcome = create_in(&mut session, name, creation).await;
    close(session).await;
    outcome
}

/// Which kind of slot is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Creation {
    /// One that ends with its session.
    Trial,
    /// One that stays.
    Lasting,
    /// One that stays, and that stand-bys are kept in step with.
    Failover,
}

impl Creation {
    /// The statement. What only newer servers know is said only where it is asked for.
    const fn statement(self) -> &'static str {
        match self {
            Self::Trial => "SELECT FROM pg_create_logical_replication_slot($1, $2, temporary => true)",
            Self::Lasting => "SELECT FROM pg_create_logical_replication_slot($1, $2)",
            Self::Failover => "SELECT FROM pg_create_logical_replication_slot($1, $2, failover => true)",
        }
    }
}

async fn create_in(session: &mut PgConnection, name: &str, creation: Creation) -> Result<(), StoreError> {
    sqlx::query(creation.statement())
        .bind(name)
        .bind(PLUGIN)
        .execute(session)
        .await
        .map_err(StoreError::query("create the replication slot"))?;
    Ok(())
}

/// A session that is not given back to the pool, in which no statement takes longer than `limit`.
async fn own_session(pool: &PgPool, limit: Duration) -> Result<PgConnection, StoreError> {
    let failed = || StoreError::query("open a session for the replication slot");
    let mut session = pool.acquire().await.map_err(failed())?.detach();
    // Zero would mean no limit.
    let limit = limit.as_millis().clamp(1, i32::MAX as u128).to_string();
    set(&mut session, "statement_timeout", &limit)
        .await
        .map_err(failed())?;
    // Not every platform can look whether a client is still there; where it cannot, the limit alone has to do.
    let _ = set(&mut session, "client_connection_check_interval", "500ms").await;
    Ok(session)
}

/// Ends a session whose work is done: how it ends changes nothing.
async fn close(session: PgConnection) {
    let _ = session.close().await;
}

/// Drops a slot that nobody uses.
///
/// # Errors
/// [`StoreError::Query`]; SQLSTATE `55006` means that it is in use, `42704` that there is none.
pub async fn drop(pool: &PgPool, name: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_drop_replication_slot($1)")
        .bind(name)
        .execute(pool)
        .await
        .map_err(StoreError::query("drop the replication slot"))?;
    Ok(())
}

async fn set(session: &mut PgConnection, name: &str, value: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config($1, $2, false)")
        .bind(name)
        .bind(value)
        .execute(session)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{Creation, Walsender, walsender};
    use crate::config::PgUrl;
    use crate::store::relay::Relay;

    /// A server that is being shut down, and its port.
    async fn shut_down() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let length = stream.read_u32().await.unwrap();
                stream
                    .read_exact(&mut vec![0; length as usize - 4])
                    .await
                    .unwrap();
                let refusal = b"E\0\0\0\x1eSFATAL\0C57P03\0Mshut down\0\0";
                stream.write_all(refusal).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn only_what_the_server_says_itself_means_that_nobody_streams() {
        let (shut_down, dead) = (shut_down().await, {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            listener.local_addr().unwrap().port()
        });
        for (servers, expected) in [
            (vec![shut_down], Some(Walsender::Gone)),
            (vec![dead], None),
            // It is on the first.
            (vec![shut_down, dead], Some(Walsender::Gone)),
            (vec![dead, shut_down], None),
        ] {
            let hosts: Vec<String> = servers.iter().map(|port| format!("127.0.0.1:{port}")).collect();
            let url = PgUrl::parse(&format!("postgres://u@{}/d?sslmode=disable", hosts.join(","))).unwrap();
            let relay = Relay::bind(url, 0).unwrap();
            let options = relay.lead(PgConnectOptions::new_without_pgpass().username("u"));
            let serving = tokio::spawn(relay.serve(pending()));
            let pool = PgPoolOptions::new().connect_lazy_with(options);
            assert_eq!(walsender(&pool, "slot", 1).await, expected, "{servers:?}");
            serving.abort();
        }
    }

    #[test]
    fn older_servers_are_not_told_what_they_do_not_know() {
        for (creation, knows) in [
            (Creation::Trial, "temporary => true"),
            (Creation::Lasting, "($1, $2)"),
            (Creation::Failover, "failover => true"),
        ] {
            let statement = creation.statement();
            assert!(statement.contains(knows), "{statement}");
            let says_failover = statement.contains("failover");
            assert_eq!(says_failover, creation == Creation::Failover, "{statement}");
        }
    }
}
