//! A throwaway PostgreSQL for one test, sessions on it, and what `init` is told about it.

use std::future::Future;
use std::time::{Duration, Instant};

use pgstream::config::PgUrl;
use pgstream::demo::cluster::{Cluster, Installation};
use pgstream::setup::{InitOptions, InitReport, SetupError, TearDownOptions, init};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// How long a condition may take to come true.
const DEADLINE: Duration = Duration::from_secs(30);

/// The slot of most tests.
pub(crate) const SLOT: &str = "pgstream_tutorial_slot";

/// The installed PostgreSQL.
pub(crate) fn installation() -> Installation {
    Installation::find().unwrap_or_else(|error| panic!("{error}"))
}

/// A new server with these settings.
pub(crate) fn cluster(settings: &[(&str, &str)]) -> Cluster {
    Cluster::start(&installation(), settings).unwrap_or_else(|error| panic!("{error}"))
}

/// The URL of a database, for the superuser.
pub(crate) fn url(cluster: &Cluster, dbname: &str) -> PgUrl {
    PgUrl::parse(&cluster.url(dbname)).expect("a cluster's URL is valid")
}

/// The URL of database `postgres` for another role.
pub(crate) fn url_as(cluster: &Cluster, role: &str) -> PgUrl {
    PgUrl::parse(&cluster.url_as(role, "postgres")).expect("a cluster's URL is valid")
}

/// A session in database `postgres`.
pub(crate) async fn session(cluster: &Cluster) -> PgConnection {
    session_in(&url(cluster, "postgres")).await
}

/// A session wherever this URL points to, with the server's default settings.
pub(crate) async fn session_in(url: &PgUrl) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(url.servers[0].port)
        .username(&url.user)
        .password("")
        .database(&url.dbname)
        .ssl_mode(PgSslMode::Disable)
        .application_name("test");
    PgConnection::connect_with(&options)
        .await
        .expect("the cluster accepts connections")
}

/// Runs statements; a failure shows the text.
pub(crate) async fn run(session: &mut PgConnection, text: &str) {
    if let Err(error) = session.execute(AssertSqlSafe(text.to_owned())).await {
        panic!("{text}: {error}");
    }
}

/// One value of one row.
pub(crate) async fn value<T>(session: &mut PgConnection, text: &str) -> T
where
    T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
{
    match sqlx::query_scalar(AssertSqlSafe(text.to_owned()))
        .fetch_one(session)
        .await
    {
        Ok(value) => value,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The first column of all rows.
pub(crate) async fn values<T>(session: &mut PgConnection, text: &str) -> Vec<T>
where
    T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
{
    match sqlx::query_scalar(AssertSqlSafe(text.to_owned()))
        .fetch_all(session)
        .await
    {
        Ok(values) => values,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// Waits until this query answers true.
pub(crate) async fn wait_for(session: &mut PgConnection, condition: &str) {
    let deadline = Instant::now() + DEADLINE;
    while !value::<bool>(session, condition).await {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {condition}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What `init` is told when source and store are this one database.
pub(crate) fn init_options(source: PgUrl) -> InitOptions {
    InitOptions {
        source,
        store: None,
        slot: SLOT.to_owned(),
        timeout: DEADLINE,
        schema_log: None,
        failover: false,
        allow_plugin: false,
    }
}

/// The same for `tear-down`.
pub(crate) fn tear_down_options(source: PgUrl) -> TearDownOptions {
    TearDownOptions {
        source,
        store: None,
        slot: SLOT.to_owned(),
        force: false,
    }
}

/// Runs `init`, ignoring what it says while waiting.
pub(crate) async fn init_quietly(options: &InitOptions) -> Result<InitReport, SetupError> {
    init(options, &mut |_| ()).await
}

/// Initialises database `postgres`.
pub(crate) async fn initialised(settings: &[(&str, &str)]) -> Cluster {
    let cluster = cluster(settings);
    init_quietly(&init_options(url(&cluster, "postgres")))
        .await
        .expect("init succeeds on a fresh cluster");
    cluster
}

/// Waits until the condition holds, and fails the test at the deadline.
pub(crate) async fn wait_until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
