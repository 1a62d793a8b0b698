//! The world of a test of the whole way: an initialised database and a session on it, and what the webhooks about it
//! have to look like.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgstream::config::{PgUrl, keys};
use pgstream::demo::cluster::Cluster;
use sqlx::PgConnection;
use tokio::runtime::Runtime;

use super::database::{self, SLOT};
use super::program::{Program, pgstream};
use super::receiver::{Action, Receiver, Request};

/// By when everything that is waited for has to have happened.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Retries come fast.
pub(crate) const FAST_RETRIES: [(&str, &str); 2] = [
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL", "100ms"),
];
/// The metadata of an event while nothing fills it in.
const METADATA: &str =
    r#"{"schema_id":null,"table_pgstream_id":"","id_col_pgstream_id":null,"version_col_pgstream_id":""}"#;

/// A session in which a test runs its statements one by one.
pub(crate) struct Sql {
    session: PgConnection,
    runtime: Runtime,
}

impl Sql {
    /// Opens a session in a database of this cluster.
    pub(crate) fn open(cluster: &Cluster, dbname: &str) -> Self {
        Self::at(&database::url(cluster, dbname))
    }

    /// Opens one in the database of this URL.
    pub(crate) fn at(url: &PgUrl) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime starts");
        let session = runtime.block_on(database::session_in(url));
        Self { session, runtime }
    }

    /// Runs statements.
    pub(crate) fn run(&mut self, text: &str) {
        self.runtime.block_on(database::run(&mut self.session, text));
    }

    /// One value of one row.
    pub(crate) fn value<T>(&mut self, text: &str) -> T
    where
        T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
    {
        self.runtime.block_on(database::value(&mut self.session, text))
    }

    /// The first column of all rows.
    pub(crate) fn values<T>(&mut self, text: &str) -> Vec<T>
    where
        T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
    {
        self.runtime.block_on(database::values(&mut self.session, text))
    }

    /// Waits until this query answers true.
    pub(crate) fn wait_for(&mut self, condition: &str) {
        self.wait_for_within(DEADLINE, condition);
    }

    /// Waits for so long at most until this query answers true.
    pub(crate) fn wait_for_within(&mut self, within: Duration, condition: &str) {
        let deadline = Instant::now() + within;
        while !self.value::<bool>(condition) {
            assert!(Instant::now() < deadline, "not within {within:?}: {condition}");
            thread::sleep(POLL);
        }
    }

    /// The end of the WAL as a literal.
    pub(crate) fn wal_end(&mut self) -> String {
        self.value("SELECT pg_current_wal_lsn()::text")
    }

    /// Waits until everything written so far has been delivered to whom it was to be: it is confirmed, not held,
    /// and in no backlog.
    pub(crate) fn wait_until_delivered(&mut self) {
        self.wait_until_settled();
        self.wait_for("SELECT count(*) = 0 FROM pgstream.snapshot_holds");
        self.wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    }

    /// Waits until the slot has confirmed everything written so far. Then all of it is settled: it has been delivered, or
    /// is in a backlog or among the dead letters.
    pub(crate) fn wait_until_settled(&mut self) {
        let end = self.wal_end();
        self.wait_for(&confirmed_reaches(&end));
    }
}

/// The question whether the slot has confirmed this LSN.
pub(crate) fn confirmed_reaches(lsn: &str) -> String {
    format!("SELECT confirmed_flush_lsn >= '{lsn}' FROM pg_replication_slots WHERE slot_name = '{SLOT}'")
}

/// A database that `init` has been run on.
pub(crate) struct World {
    // Before the cluster: the server waits for its sessions to end.
    pub(crate) sql: Sql,
    pub(crate) cluster: Cluster,
}

impl World {
    /// A new one, its server with these settings.
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let cluster = runtime.block_on(database::initialised(settings));
        Self {
            sql: Sql::open(&cluster, "postgres"),
            cluster,
        }
    }

    /// One whose database nobody has run `init` on.
    pub(crate) fn uninitialised(settings: &[(&str, &str)]) -> Self {
        let cluster = database::cluster(settings);
        Self {
            sql: Sql::open(&cluster, "postgres"),
            cluster,
        }
    }

    /// The URL of the database.
    pub(crate) fn url(&self) -> String {
        self.cluster.url("postgres")
    }

    /// `run` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Program {
        let mut command = pgstream(&["run", "--log-format", "json"]);
        command
            .args(arguments)
            .env(keys::LISTENER_URL.name, self.url())
            .env(keys::SLOT_NAME.name, SLOT);
        Program::launch(command)
    }

    /// Starts the program with further settings.
    pub(crate) fn start(&self, settings: &[(&str, &str)]) -> Program {
        Program::start(&self.url(), SLOT, settings)
    }
}

/// A receiver that answers 200 to everything.
pub(crate) fn receiver() -> Receiver {
    Receiver::start(|_| Action::status(200))
}

/// Keeps a receiver from answering but as many requests as are let through. Opens when it is dropped: a test that fails must
/// not wait for answers that never come.
pub(crate) struct Gate(Arc<Turnstile>);

#[derive(Default)]
struct Turnstile {
    arrived: AtomicUsize,
    let_through: AtomicUsize,
}

impl Gate {
    /// A closed one, and the receiver behind it, which answers 200 once it is open.
    pub(crate) fn with_receiver() -> (Receiver, Self) {
        Self::for_requests(|_| true)
    }

    /// A closed one for these requests, and the receiver behind it. The others are answered at once.
    pub(crate) fn for_requests(held: impl Fn(&Request) -> bool + Send + Sync + 'static) -> (Receiver, Self) {
        let gate = Arc::new(Turnstile::default());
        let turnstile = Arc::clone(&gate);
        let receiver = Receiver::start(move |request| {
            if held(request) {
                let ticket = turnstile.arrived.fetch_add(1, Ordering::SeqCst);
                while ticket >= turnstile.let_through.load(Ordering::SeqCst) {
                    thread::sleep(POLL);
                }
            }
            Action::status(200)
        });
        (receiver, Self(gate))
    }

    pub(crate) fn open(&self) {
        self.let_through(usize::MAX);
    }

    /// Holds whatever arrives from now on.
    pub(crate) fn close(&self) {
        self.let_through(self.arrived());
    }

    /// Holds what arrives behind the first `requests` of all that it was ever asked about.
    pub(crate) fn let_through(&self, requests: usize) {
        self.0.let_through.store(requests, Ordering::SeqCst);
    }

    /// How many have come to it, held ones included.
    pub(crate) fn arrived(&self) -> usize {
        self.0.arrived.load(Ordering::SeqCst)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

/// A column of a payload: its name, its type, and its value as raw JSON.
pub(crate) type Column<'a> = (&'a str, &'a str, &'a str);

/// What an event is expected to say.
pub(crate) struct Expected<'a> {
    pub(crate) action: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) table: &'a str,
    pub(crate) columns: Option<&'a [Column<'a>]>,
    pub(crate) identity: Option<&'a [Column<'a>]>,
}

impl Expected<'_> {
    /// Compares the body byte for byte, but for the LSN and the timestamp, of which the form is looked at.
    pub(crate) fn assert_is(&self, request: &Request) {
        let body = String::from_utf8(request.body.clone()).expect("the body is UTF-8");
        let (lsn, timestamp) = (member(&body, "lsn"), member(&body, "timestamp"));
        assert!(is_lsn(lsn), "{body}");
        assert!(is_timestamp(timestamp), "{body}");
        let expected = format!(
            r#"{{"Data":{{"action":"{}","timestamp":"{timestamp}","lsn":"{lsn}","schema":{},"table":{},"columns":{},"identity":{},"metadata":{METADATA}}}}}"#,
            self.action,
            quoted(self.schema),
            quoted(self.table),
            columns(self.columns),
            columns(self.identity),
        );
        assert_eq!(body, expected);
    }
}

/// The text of the first string member of this name.
pub(crate) fn member<'a>(body: &'a str, name: &str) -> &'a str {
    let start = [format!(r#""{name}":""#), format!(r#""{name}": ""#)]
        .iter()
        .find_map(|key| body.find(key.as_str()).map(|at| at + key.len()))
        .unwrap_or_else(|| panic!("no {name} in {body}"));
    let length = body[start..].find('"').expect("strings end");
    &body[start..start + length]
}

/// Whether this is an LSN as PostgreSQL prints it.
pub(crate) fn is_lsn(text: &str) -> bool {
    let is_hex = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
    };
    text.split_once('/')
        .is_some_and(|(high, low)| is_hex(high) && is_hex(low))
}

/// Whether this is a time as the tutorial shows it: `2025-03-13 09:52:47.579305+00`, trailing zeros left out.
pub(crate) fn is_timestamp(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    let (time, fraction) = shape
        .strip_suffix("+99")
        .map_or(("", ""), |shape| shape.split_once('.').unwrap_or((shape, "9")));
    time == "9999-99-99 99:99:99" && (1..=6).contains(&fraction.len()) && text.ends_with("+00")
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("strings are JSON")
}

fn columns(columns: Option<&[Column<'_>]>) -> String {
    let Some(columns) = columns else {
        return "null".to_owned();
    };
    let columns: Vec<String> = columns
        .iter()
        .map(|(name, type_name, value)| {
            format!(
                r#"{{"id":"","name":{},"type":{},"value":{value}}}"#,
                quoted(name),
                quoted(type_name)
            )
        })
        .collect();
    format!("[{}]", columns.join(","))
}

/// What of a body tells changes apart in tests of many rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) action: String,
    pub(crate) table: String,
    /// The first column, a number: of the identity where there are no columns.
    pub(crate) key: i64,
    /// The second column, where that is a number too.
    pub(crate) second: i64,
}

impl Change {
    /// Reads it out of a request.
    pub(crate) fn of(request: &Request) -> Self {
        let body = request.json();
        let change = &body["Data"];
        let row = [&change["columns"], &change["identity"]];
        let number = |index: usize| {
            row.iter()
                .find_map(|columns| columns[index]["value"].as_i64())
                .unwrap_or_default()
        };
        Self {
            action: change["action"].as_str().unwrap_or_default().to_owned(),
            table: change["table"].as_str().unwrap_or_default().to_owned(),
            key: number(0),
            second: number(1),
        }
    }
}

/// The `webhook-id` of each (table, key) among these requests; a change that came with two ids fails the test.
pub(crate) fn ids_by_row(requests: &[Arc<Request>]) -> HashMap<(String, i64), String> {
    let mut ids = HashMap::new();
    for request in requests {
        let change = Change::of(request);
        let id = webhook_id(request);
        let known = ids
            .entry((change.table.clone(), change.key))
            .or_insert_with(|| id.clone());
        assert_eq!(*known, id, "{change:?} came with two ids");
    }
    ids
}

/// The `webhook-id` of a request.
pub(crate) fn webhook_id(request: &Request) -> String {
    request
        .header("webhook-id")
        .unwrap_or_else(|| panic!("no webhook-id: {request:?}"))
        .to_owned()
}
