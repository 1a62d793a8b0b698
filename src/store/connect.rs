//! The connection pool, and what every session of ours is pinned to.

use std::time::Duration;

use pgstream_proto::frontend::StartupMessage;
use pgstream_proto::wal2json::SESSION_SETTINGS;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::StoreError;
use super::relay::Relay;
use crate::config::{ChannelBinding, Encryption, Host, PgUrl, TargetSessionAttrs, TcpOptions};
use crate::connect;

/// Sessions of one pool: the store is asked rarely, and a server's connections are scarce.
const MAX_CONNECTIONS: u32 = 12;
/// Sessions of one pool that only looks.
const MAX_LOOKING: u32 = 6;
/// How long a new connection, or a free one of the pool, is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// An unused connection is closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of our sessions that no role or database setting may change:
///
/// - `synchronous_commit=local`: `off` would let us confirm what is not on disk, and `on` would wait for a
///   synchronous standby, which our own walsender may be taken for.
/// - `read committed`: a SERIALIZABLE reader of the schema log would make users' DDL fail at COMMIT.
/// - no time limits of the session's role, which are meant for applications.
/// - no bitmap scans: the first rows of a backlog that nobody has analysed yet would be found by reading and sorting all of
///   them, instead of in the order of the primary key.
const PINNED: &[(&str, &str)] = &[
    ("synchronous_commit", "local"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("enable_bitmapscan", "off"),
    ("search_path", "pg_catalog, pg_temp"),
];

/// What the sessions are pinned to that read rows, beside the settings that decide how they are printed.
///
/// - rows that a policy hides make the reading fail instead of being missed: what the role cannot see would be lost.
/// - no time limits, as above.
const PINNED_READING: &[(&str, &str)] = &[
    ("row_security", "off"),
    ("default_transaction_read_only", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("jit", "off"),
];

/// A session that reads rows, printed as wal2json prints them.
///
/// # Errors
/// As [`connect()`].
pub(super) async fn reading_session(url: &PgUrl) -> Result<PgConnection, StoreError> {
    let settings = SESSION_SETTINGS.iter().chain(PINNED_READING);
    let options = connect_options(url, settings.copied());
    let mut session = match relayed(url) {
        None => session(url, &options).await?,
        Some(url) => {
            let target = url.to_string();
            let relay = Relay::bind(url, 0).map_err(StoreError::Relay)?;
            let options = relay.lead(options);
            let serving = tokio::spawn(relay.serve_one());
            let session = PgConnection::connect_with(&options)
                .await
                .inspect_err(|_| serving.abort());
            session.map_err(|source| StoreError::Connect { target, source })?
        }
    };
    // A database without an encoding may hold anything. One row that is not UTF-8 would make the server end the reading of
    // all of them; as it is, it comes and is found to be so here.
    session
        .execute(
            "SELECT set_config('client_encoding', 'SQL_ASCII', false)
              WHERE current_setting('server_encoding') = 'SQL_ASCII'",
        )
        .await
        .map_err(StoreError::query("set the encoding of a session"))?;
    // Time limits that not every server knows.
    session
        .execute(
            "SELECT set_config(name, '0', false) FROM pg_settings
              WHERE name IN ('transaction_timeout', 'idle_session_timeout')",
        )
        .await
        .map_err(StoreError::query("set the time limits of a session"))?;
    Ok(session)
}

/// Connects to the database of `url` and checks that it answers. The pool makes further connections on demand; where the URL
/// names several servers, each on the one that is what `target_session_attrs` asks for at that time.
///
/// # Errors
/// [`StoreError::Connect`], [`StoreError::ConnectTimeout`] or [`StoreError::Open`], which name the URL without its password;
/// [`StoreError::Relay`].
pub async fn connect(url: &PgUrl) -> Result<PgPool, StoreError> {
    let options = connect_options(url, PINNED.iter().copied());
    let pool = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT);
    make_pool(url, options, pool).await
}

/// Makes the pool of a URL that can be connected to.
async fn make_pool(
    url: &PgUrl,
    options: PgConnectOptions,
    pool: PgPoolOptions,
) -> Result<PgPool, StoreError> {
    // The pool would hide why a connection fails behind its time limit, so the first is made without it.
    let Some(url) = relayed(url) else {
        check(url, &options).await?;
        return Ok(pool.connect_lazy_with(options));
    };
    let found = check_relayed(&url).await?;
    let relay = Relay::bind(url, found).map_err(StoreError::Relay)?;
    let pool = pool.connect_lazy_with(relay.lead(options));
    tokio::spawn(relay.serve(pool.close_event()));
    Ok(pool)
}

/// The URL as it is searched for each session, where sqlx alone would do less than it asks for.
fn relayed(url: &PgUrl) -> Option<PgUrl> {
    let is_simple = match url.servers.as_slice() {
        [server] => url.tls.ways(server) == [Encryption::Plain],
        _ => false,
    };
    let is_known_to_sqlx = is_simple
        && url.tls.channel_binding != ChannelBinding::Require
        && url.target_session_attrs == TargetSessionAttrs::Any
        && url.tcp == TcpOptions::default();
    (!is_known_to_sqlx).then(|| PgUrl {
        target_session_attrs: match url.target_session_attrs {
            // Whether a transaction may write is decided by our own settings, unless the server is a stand-by.
            TargetSessionAttrs::ReadWrite => TargetSessionAttrs::Primary,
            attrs => attrs,
        },
        ..url.clone()
    })
}

/// Checks that a server answers, and gives its place in the list.
async fn check_relayed(url: &PgUrl) -> Result<usize, StoreError> {
    let parameters = [
        ("user", url.user.as_str()),
        ("database", url.dbname.as_str()),
        ("application_name", application_name(url)),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let message = StartupMessage {
        parameters: parameters.into(),
    };
    let opened = connect::open_beginning_with(0, url, &message).await;
    let (opened, place) = opened.map_err(|source| StoreError::Open {
        target: url.to_string(),
        source: Box::new(source),
    })?;
    opened.close().await;
    Ok(place)
}

/// A few connections for looking only, in which no statement takes longer than `limit`: what hangs on a lock of somebody
/// must not outlive the one who asked. The first is made within `limit` too.
///
/// # Errors
/// As [`connect()`].
pub async fn connect_to_look(url: &PgUrl, limit: Duration) -> Result<PgPool, StoreError> {
    // Zero would mean no limit.
    let milliseconds = limit.as_millis().clamp(1, i32::MAX as u128).to_string();
    let options = connect_options(url, PINNED.iter().copied()).options([("statement_timeout", milliseconds)]);
    // Each of the servers has its share, so that the last of them is asked in time.
    let share = limit / u32::try_from(url.servers.len().max(1)).unwrap_or(u32::MAX);
    let url = PgUrl {
        connect_timeout: Some(url.connect_timeout.unwrap_or(share).min(share)),
        ..url.clone()
    };
    let pool = PgPoolOptions::new()
        .max_connections(MAX_LOOKING)
        .acquire_timeout(limit);
    make_pool(&url, options, pool).await
}

async fn check(url: &PgUrl, options: &PgConnectOptions) -> Result<(), StoreError> {
    // It answered, which is all that was asked: a farewell that fails changes nothing.
    let _ = session(url, options).await?.close().await;
    Ok(())
}

async fn session(url: &PgUrl, options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let limit = url.connect_timeout.unwrap_or(ACQUIRE_TIMEOUT);
    match tokio::time::timeout(limit, PgConnection::connect_with(options)).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(source)) => Err(StoreError::Connect {
            target: url.to_string(),
            source,
        }),
        Err(_) => Err(StoreError::ConnectTimeout {
            target: url.to_string(),
            seconds: limit.as_secs(),
        }),
    }
}

/// sqlx's options, filled field by field: its own URL parser ignores what it does not know, and its defaults come
/// from `PG*` variables, of which our parser has taken what counts. So every field is set. What leads further than to one server
/// without TLS is the [`Relay`]'s.
fn connect_options(
    url: &PgUrl,
    settings: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .username(&url.user)
        .database(&url.dbname)
        .ssl_mode(PgSslMode::Disable)
        .application_name(application_name(url))
        .options(settings);
    let Some(server) = url.servers.first() else {
        return options;
    };
    let options = match &server.host {
        Host::Tcp(host) => options.host(host),
        Host::Unix(folder) => options.socket(folder),
    };
    let password = server.password.as_ref().map_or("", |password| password.expose());
    options.port(server.port).password(password)
}

fn application_name(url: &PgUrl) -> &str {
    url.application_name.as_deref().unwrap_or("pgstream")
}
