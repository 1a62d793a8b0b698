//! Keys of the source: the database that is streamed, its slot, and its existing rows.

use super::Key;
use super::State::{Default, Derived, Required};

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

/// The first wait before the replication connection is made again.
pub const LISTENER_EXP_BACKOFF_INITIAL_INTERVAL: Key = Key::text(
    "PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_INITIAL_INTERVAL",
    "source.postgres.backoff.exponential.initial_interval",
    Default("500ms"),
    "The wait after the first failure of the replication connection, at most: waits are random up to this; each further failure doubles it",
);

/// The longest wait before it is.
pub const LISTENER_EXP_BACKOFF_MAX_INTERVAL: Key = Key::text(
    "PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_MAX_INTERVAL",
    "source.postgres.backoff.exponential.max_interval",
    Default("30s"),
    "The longest wait between two tries to connect",
);

/// How often it is tried again.
pub const LISTENER_EXP_BACKOFF_MAX_RETRIES: Key = Key::text(
    "PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_MAX_RETRIES",
    "source.postgres.backoff.exponential.max_retries",
    Derived("no limit"),
    "How often connecting is tried again in a row before the program ends",
);

/// The one wait of tries to connect that are evenly spaced.
pub const LISTENER_BACKOFF_INTERVAL: Key = Key::text(
    "PGSTREAM_POSTGRES_LISTENER_BACKOFF_INTERVAL",
    "source.postgres.backoff.constant.interval",
    Derived("exponential"),
    "The wait after each failure of the replication connection, always as long, in place of the exponential ones",
);

/// How often connecting is tried again where tries are evenly spaced.
pub const LISTENER_BACKOFF_MAX_RETRIES: Key = Key::text(
    "PGSTREAM_POSTGRES_LISTENER_BACKOFF_MAX_RETRIES",
    "source.postgres.backoff.constant.max_retries",
    Derived("no limit"),
    "The same as `..._EXP_BACKOFF_MAX_RETRIES`, with `..._BACKOFF_INTERVAL`",
);

/// Whether the program ends when the replication connection does.
pub const LISTENER_DISABLE_RETRIES: Key = Key::text(
    "PGSTREAM_POSTGRES_LISTENER_DISABLE_RETRIES",
    "source.postgres.disable_retries",
    Default("false"),
    "End the program when the replication connection is lost, instead of connecting again",
);

/// Whether the plugin writes the transaction's number.
pub const PLUGIN_INCLUDE_XIDS: Key = Key::text(
    "PGSTREAM_POSTGRES_REPLICATION_PLUGIN_INCLUDE_XIDS",
    "source.postgres.replication.plugin.include_xids",
    Default("true"),
    "Have wal2json write the number of each transaction. Only `true`: existing rows and changes could not be told apart without it",
);

/// The only tables that the plugin sends.
pub const PLUGIN_ADD_TABLES: Key = Key::list(
    "PGSTREAM_POSTGRES_REPLICATION_PLUGIN_ADD_TABLES",
    "source.postgres.replication.plugin.add_tables",
    Derived("what the filter includes"),
    r"The only tables that wal2json sends, as its option `add-tables` has them: `schema.table`, `*` for a whole name, a backslash before a blank, quote, comma, dot or asterisk of a name; partitions by their own names. What pgstream needs of its own is added",
    ",",
);

/// Tables that the plugin leaves out.
pub const PLUGIN_FILTER_TABLES: Key = Key::list(
    "PGSTREAM_POSTGRES_REPLICATION_PLUGIN_FILTER_TABLES",
    "source.postgres.replication.plugin.filter_tables",
    Derived("what the filter excludes"),
    "Tables that wal2json leaves out beside those, as its option `filter-tables` has them; written alike",
    ",",
);

/// How often a message of our own is sent.
pub const HEARTBEAT_INTERVAL: Key = Key::text(
    "PGSTREAM_POSTGRES_HEARTBEAT_INTERVAL",
    "source.postgres.heartbeat_interval",
    Derived("none is sent"),
    "How often a logical message of prefix `pgstream.heartbeat` is written to the source, which nobody is sent, so that the slot of a quiet database in a busy cluster advances",
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
