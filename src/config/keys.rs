//! The keys of the configuration: the one table behind the loader, its suggestions, `config show` and the README.

use State::{Default, Derived, NotYet, Required};

/// What every key begins with.
pub const PREFIX: &str = "PGSTREAM_";

/// Names the folder of the PostgreSQL programs for the demonstration and the tests. A variable of the environment that
/// begins like a key, and is none: nothing that is streamed depends on it.
pub const PROGRAMS_FOLDER: &str = "PGSTREAM_PG_BIN";

/// One key, as an environment variable or a line of the file.
#[derive(Debug)]
pub struct Key {
    /// Its full name.
    pub name: &'static str,
    /// Where the same setting stands in a YAML file, its sections joined by dots.
    pub path: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether it may be left out, and what holds then.
    pub state: State,
    /// What it is for, in one line of the README.
    pub doc: &'static str,
}

/// What the value of a key is, as far as that matters before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text of any kind.
    Text,
    /// A URL, with a password that nobody may see.
    Url,
    /// Several texts, which a variable joins with this one, and YAML may write as a list.
    List(&'static str),
}

/// Whether a key may be left out, and what holds then.
#[derive(Debug)]
pub enum State {
    /// It must be set.
    Required,
    /// This text stands in for it, and is read like one that was set.
    Default(&'static str),
    /// Another value decides; the text says how.
    Derived(&'static str),
    /// It is refused: what it belongs to is still to come.
    NotYet(&'static str),
}

impl Key {
    const fn text(name: &'static str, path: &'static str, state: State, doc: &'static str) -> Self {
        Self {
            name,
            path,
            kind: Kind::Text,
            state,
            doc,
        }
    }

    const fn url(name: &'static str, path: &'static str, state: State, doc: &'static str) -> Self {
        Self {
            kind: Kind::Url,
            ..Self::text(name, path, state, doc)
        }
    }

    const fn list(
        name: &'static str,
        path: &'static str,
        state: State,
        doc: &'static str,
        separator: &'static str,
    ) -> Self {
        Self {
            kind: Kind::List(separator),
            ..Self::text(name, path, state, doc)
        }
    }
}

/// The database whose changes are streamed.
pub const LISTENER_URL: Key = Key::url(
    "PGSTREAM_POSTGRES_LISTENER_URL",
    "source.postgres.url",
    Required,
    "URL of the database whose changes are streamed; the flag `--pgurl` overrides it",
);

/// Whether the stream comes alone or with a snapshot.
pub const MODE: Key = Key::text(
    "PGSTREAM_POSTGRES_MODE",
    "source.postgres.mode",
    Derived("`replication`, with tables to be read `snapshot_and_replication`"),
    "What is taken from the database: `replication`, its changes, or `snapshot_and_replication`, its existing rows before",
);

/// The slot that is read.
pub const SLOT_NAME: Key = Key::text(
    "PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME",
    "source.postgres.replication.replication_slot",
    Derived("`pgstream_<dbname>_slot`"),
    "Name of the logical replication slot; the flag `--replication-slot` overrides it",
);

/// How often a message of our own is sent.
pub const HEARTBEAT_INTERVAL: Key = Key::text(
    "PGSTREAM_POSTGRES_HEARTBEAT_INTERVAL",
    "source.postgres.heartbeat_interval",
    Derived("none is sent"),
    "How often a logical message of prefix `pgstream.heartbeat` is written to the source, which nobody is sent, so that the slot of a quiet database in a busy cluster advances",
);

/// The database that holds subscriptions.
pub const STORE_URL: Key = Key::url(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL",
    "target.webhooks.subscriptions.store.url",
    Derived("the listener's URL"),
    "URL of the database that holds the subscriptions; the flag `--store-url` overrides it",
);

/// Whether subscriptions are held in memory.
pub const CACHE_ENABLED: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_ENABLED",
    "target.webhooks.subscriptions.store.cache.enabled",
    Default("false"),
    "Hold the subscriptions in memory; without it the store is asked once a transaction",
);

/// How often the held subscriptions are read again.
pub const CACHE_REFRESH_INTERVAL: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_REFRESH_INTERVAL",
    "target.webhooks.subscriptions.store.cache.refresh_interval",
    Default("60s"),
    "How often the subscriptions in memory are read again from the store",
);

/// Where the subscription server listens.
pub const SERVER_ADDRESS: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_ADDRESS",
    "target.webhooks.subscriptions.server.address",
    Default("127.0.0.1:9900"),
    "Address the subscription server listens on; `:9900` means every interface",
);

/// How long a client may take to send a request.
pub const SERVER_READ_TIMEOUT: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_READ_TIMEOUT",
    "target.webhooks.subscriptions.server.read_timeout",
    Default("5s"),
    "How long a client of the subscription server may take to send a request",
);

/// How long a client may take to accept an answer.
pub const SERVER_WRITE_TIMEOUT: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_WRITE_TIMEOUT",
    "target.webhooks.subscriptions.server.write_timeout",
    Default("10s"),
    "How long a client of the subscription server may take to accept an answer",
);

/// The bytes of payload in memory.
pub const MAX_QUEUE_BYTES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_MAX_QUEUE_BYTES",
    "target.webhooks.notifier.max_queue_bytes",
    Default("100MiB"),
    "Bytes of payload that may wait in memory before reading pauses, such as `100MiB`",
);

/// How many exchanges at one time.
pub const WORKER_COUNT: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT",
    "target.webhooks.notifier.worker_count",
    Default("256"),
    "How many requests to webhooks may be under way at one time, 1 to 10000",
);

/// How long one exchange may take.
pub const CLIENT_TIMEOUT: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT",
    "target.webhooks.notifier.client_timeout",
    Default("10s"),
    "How long one request to a webhook may take",
);

/// The first wait of a retry.
pub const EXP_BACKOFF_INITIAL_INTERVAL: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL",
    "target.webhooks.notifier.backoff.exponential.initial_interval",
    Default("1s"),
    "The wait after a delivery's first failure; each further one doubles it",
);

/// The longest wait of a retry.
pub const EXP_BACKOFF_MAX_INTERVAL: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL",
    "target.webhooks.notifier.backoff.exponential.max_interval",
    Default("30s"),
    "The longest wait between two tries of a delivery",
);

/// How often a delivery is tried again.
pub const EXP_BACKOFF_MAX_RETRIES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_RETRIES",
    "target.webhooks.notifier.backoff.exponential.max_retries",
    Default("20"),
    "How often a delivery is tried again before it is a dead letter, while its endpoint takes others",
);

/// The one wait of retries that are evenly spaced.
pub const BACKOFF_INTERVAL: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKOFF_INTERVAL",
    "target.webhooks.notifier.backoff.constant.interval",
    Derived("exponential"),
    "The wait after each failure of a delivery, always as long, in place of the exponential ones",
);

/// How often a delivery is tried again where retries are evenly spaced.
pub const BACKOFF_MAX_RETRIES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKOFF_MAX_RETRIES",
    "target.webhooks.notifier.backoff.constant.max_retries",
    Default("20"),
    "The same as `..._EXP_BACKOFF_MAX_RETRIES`, with `..._BACKOFF_INTERVAL`",
);

/// Whether deliveries are tried once only.
pub const DISABLE_RETRIES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_DISABLE_RETRIES",
    "target.webhooks.notifier.disable_retries",
    Default("false"),
    "Try each delivery once: one that fails is a dead letter at once",
);

/// Whether the stream stops where a delivery would be given up.
pub const STRICT_MODE: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_STRICT_MODE",
    "target.webhooks.notifier.strict_mode",
    Default("false"),
    "Stop the stream instead of making anything a dead letter",
);

/// How old what is in the backlog may become.
pub const BACKLOG_MAX_AGE: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_AGE",
    "target.webhooks.notifier.backlog.max_age",
    Default("72h"),
    "How long an endpoint's backlog keeps a delivery that cannot be made before it is a dead letter",
);

/// How large the backlog of an endpoint may become.
pub const BACKLOG_MAX_BYTES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_BYTES",
    "target.webhooks.notifier.backlog.max_bytes",
    Default("10GiB"),
    "Bytes of payload that an endpoint's backlog may hold before the oldest are dead letters",
);

/// How many rows the backlog of an endpoint may have.
pub const BACKLOG_MAX_ROWS: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_ROWS",
    "target.webhooks.notifier.backlog.max_rows",
    Default("0"),
    "Deliveries that an endpoint's backlog may hold before the oldest are dead letters; `0` means no bound",
);

/// How long dead letters are kept.
pub const DEAD_LETTER_RETENTION: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_DEAD_LETTER_RETENTION",
    "target.webhooks.notifier.dead_letters.retention",
    Default("30d"),
    "How long dead letters are kept",
);

/// The database whose existing rows are read.
pub const SNAPSHOT_URL: Key = Key::url(
    "PGSTREAM_POSTGRES_SNAPSHOT_STORE_URL",
    "source.postgres.snapshot.url",
    Derived("the listener's URL"),
    "URL of the database to take the snapshot of: the source, perhaps with another role",
);

/// Which tables' existing rows are read.
pub const SNAPSHOT_TABLES: Key = Key::list(
    "PGSTREAM_POSTGRES_SNAPSHOT_TABLES",
    "source.postgres.snapshot.tables",
    Derived("none"),
    "Tables whose existing rows are delivered before their changes, by `run` or by `pgstream snapshot`: `table` (of schema `public`) or `schema.table`, `*` for any text, separated by blanks; a partition also matches by its root",
    " ",
);

/// Which of them are not.
pub const SNAPSHOT_EXCLUDED_TABLES: Key = Key::list(
    "PGSTREAM_POSTGRES_SNAPSHOT_EXCLUDED_TABLES",
    "source.postgres.snapshot.excluded_tables",
    Derived("none"),
    "Tables that the snapshot leaves out of these; written alike",
    " ",
);

/// How many tables are read at one time.
pub const SNAPSHOT_WORKERS: Key = Key::text(
    "PGSTREAM_POSTGRES_SNAPSHOT_WORKERS",
    "source.postgres.snapshot.snapshot_workers",
    Default("2"),
    "How many tables the snapshot reads at one time",
);

/// How many sessions read one table.
pub const SNAPSHOT_TABLE_WORKERS: Key = Key::text(
    "PGSTREAM_POSTGRES_SNAPSHOT_TABLE_WORKERS",
    "source.postgres.snapshot.data.table_workers",
    Default("4"),
    "How many sessions read one table at one time",
);

/// What one of them reads at one time.
pub const SNAPSHOT_BATCH_BYTES: Key = Key::text(
    "PGSTREAM_POSTGRES_SNAPSHOT_BATCH_BYTES",
    "source.postgres.snapshot.data.batch_bytes",
    Default("64MiB"),
    "Bytes of a table on disk that one of these sessions reads at one time",
);

/// How many sessions read altogether.
pub const SNAPSHOT_MAX_CONNECTIONS: Key = Key::text(
    "PGSTREAM_POSTGRES_SNAPSHOT_MAX_CONNECTIONS",
    "source.postgres.snapshot.data.max_connections",
    Default("8"),
    "How many sessions of the source the snapshot may use altogether",
);

/// What becomes of tables that nobody receives the rows of.
pub const SNAPSHOT_WITHOUT_SUBSCRIBERS: Key = Key::text(
    "PGSTREAM_POSTGRES_SNAPSHOT_WITHOUT_SUBSCRIBERS",
    "source.postgres.snapshot.without_subscribers",
    Default("false"),
    "Whether a table that nobody is subscribed to counts as read when its turn comes, instead of waiting for the first subscription",
);

/// The database whose schema log fills in the events' metadata.
pub const INJECTOR_URL: Key = Key::url(
    "PGSTREAM_INJECTOR_STORE_POSTGRES_URL",
    "modifiers.injector.schemalog_url",
    Derived("no metadata"),
    "URL of the database whose schema log fills in the events' metadata: the source",
);

/// How long entries of the schema log are kept that are not needed any more.
pub const SCHEMA_LOG_RETENTION: Key = Key::text(
    "PGSTREAM_INJECTOR_SCHEMA_LOG_RETENTION",
    "modifiers.injector.schemalog_retention",
    Default("30d"),
    "How long entries of the schema log are kept that later ones have made superfluous; `0` means for ever",
);

/// Which tables' changes are taken.
pub const INCLUDE_TABLES: Key = Key::list(
    "PGSTREAM_FILTER_INCLUDE_TABLES",
    "modifiers.filter.include_tables",
    Derived("every table"),
    "Tables whose changes are taken: `table` (of schema `public`) or `schema.table`, `*` for any text, separated by commas; a partition also matches by its root",
    ",",
);

/// Which tables' changes are not.
pub const EXCLUDE_TABLES: Key = Key::list(
    "PGSTREAM_FILTER_EXCLUDE_TABLES",
    "modifiers.filter.exclude_tables",
    Derived("none"),
    "Tables whose changes are not taken, whatever is included; written alike. Entries of the schema log are always taken",
    ",",
);

/// Every key there is, in the README's order.
pub const KEYS: [Key; 38] = [
    LISTENER_URL,
    MODE,
    SLOT_NAME,
    HEARTBEAT_INTERVAL,
    STORE_URL,
    CACHE_ENABLED,
    CACHE_REFRESH_INTERVAL,
    SERVER_ADDRESS,
    SERVER_READ_TIMEOUT,
    SERVER_WRITE_TIMEOUT,
    MAX_QUEUE_BYTES,
    WORKER_COUNT,
    CLIENT_TIMEOUT,
    EXP_BACKOFF_INITIAL_INTERVAL,
    EXP_BACKOFF_MAX_INTERVAL,
    EXP_BACKOFF_MAX_RETRIES,
    BACKOFF_INTERVAL,
    BACKOFF_MAX_RETRIES,
    DISABLE_RETRIES,
    STRICT_MODE,
    BACKLOG_MAX_AGE,
    BACKLOG_MAX_BYTES,
    BACKLOG_MAX_ROWS,
    DEAD_LETTER_RETENTION,
    SNAPSHOT_URL,
    SNAPSHOT_TABLES,
    SNAPSHOT_EXCLUDED_TABLES,
    SNAPSHOT_WORKERS,
    SNAPSHOT_TABLE_WORKERS,
    SNAPSHOT_BATCH_BYTES,
    SNAPSHOT_MAX_CONNECTIONS,
    SNAPSHOT_WITHOUT_SUBSCRIBERS,
    INJECTOR_URL,
    SCHEMA_LOG_RETENTION,
    INCLUDE_TABLES,
    EXCLUDE_TABLES,
    Key::text(
        "PGSTREAM_POSTGRES_REPLICATION_PLUGIN_INCLUDE_XIDS",
        "source.postgres.replication.plugin.include_xids",
        NotYet("passing options to wal2json"),
        "Have wal2json write the transaction's number",
    ),
    Key::text(
        "PGSTREAM_METRICS_ADDRESS",
        "instrumentation.metrics.address",
        NotYet("the address of metrics"),
        "Address that metrics are served on",
    ),
];

/// The key with this path in a YAML file.
pub(super) fn find_path(path: &str) -> Option<&'static Key> {
    const TABLE: &[Key] = &KEYS;
    TABLE.iter().find(|key| key.path == path)
}

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    const TABLE: &[Key] = &KEYS;
    TABLE.iter().find(|key| key.name == name)
}

/// The README's table of the keys.
pub fn markdown_table() -> String {
    let mut table = String::from("| Variable | In YAML | Default | Meaning |\n|---|---|---|---|\n");
    for Key {
        name,
        path,
        state,
        doc,
        ..
    } in &KEYS
    {
        let default = match state {
            Required => "required".to_owned(),
            Default(value) => format!("`{value}`"),
            Derived(rule) => (*rule).to_owned(),
            NotYet(_) => "not available yet".to_owned(),
        };
        table.push_str(&format!("| `{name}` | `{path}` | {default} | {doc} |\n"));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_prefix_and_are_unique() {
        for (position, key) in KEYS.iter().enumerate() {
            assert!(key.name.starts_with(PREFIX), "{}", key.name);
            assert_eq!(
                KEYS.iter().position(|other| other.name == key.name),
                Some(position),
                "{}",
                key.name
            );
            assert_eq!(find(key.name).map(|found| found.name), Some(key.name));
            assert_eq!(find_path(key.path).map(|found| found.name), Some(key.name));
            let section = format!("{}.", key.path);
            assert!(
                !KEYS.iter().any(|other| other.path.starts_with(&section)),
                "{} is a setting and a section",
                key.path
            );
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_key() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), KEYS.len() + 2);
        assert!(
            table.contains("| `PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT` | `target.webhooks.notifier.worker_count` | `256` |"),
            "{table}"
        );
    }
}
