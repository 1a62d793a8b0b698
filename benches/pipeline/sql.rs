//! A session in which statements run one by one.

use std::thread;
use std::time::{Duration, Instant};

use pgstream::config::PgUrl;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::runtime::{Builder, Runtime};

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(2);

/// A session and the runtime that drives it.
pub(crate) struct Sql {
    session: PgConnection,
    runtime: Runtime,
}

impl Sql {
    /// Opens a session where this URL points to.
    pub(crate) fn open(url: &PgUrl) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(url.servers[0].port)
            .username(&url.user)
            .password("")
            .database(&url.dbname)
            .ssl_mode(PgSslMode::Disable);
        let session = runtime
            .block_on(PgConnection::connect_with(&options))
            .expect("the cluster accepts connections");
        Self { session, runtime }
    }

    /// Runs statements.
    pub(crate) fn run(&mut self, text: &str) {
        let done = self
            .runtime
            .block_on(self.session.execute(AssertSqlSafe(text.to_owned())));
        if let Err(error) = done {
            panic!("{text}: {error}");
        }
    }

    /// One value of one row.
    pub(crate) fn value<T>(&mut self, text: &str) -> T
    where
        T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
    {
        let query = sqlx::query_scalar(AssertSqlSafe(text.to_owned()));
        match self.runtime.block_on(query.fetch_one(&mut self.session)) {
            Ok(value) => value,
            Err(error) => panic!("{text}: {error}"),
        }
    }

    /// Waits until this query answers true; returns when that was.
    pub(crate) fn wait_for(&mut self, condition: &str) -> Instant {
        let deadline = Instant::now() + DEADLINE;
        while !self.value::<bool>(condition) {
            assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {condition}");
            thread::sleep(POLL);
        }
        Instant::now()
    }
}
