//! The keys of the configuration: the one table behind the loader, its suggestions and the README.

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
    /// Whether it may be left out, and what holds then.
    pub state: State,
    /// What it is for, in one line of the README.
    pub doc: &'static str,
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

/// The database whose changes are streamed.
pub const LISTENER_URL: Key = Key {
    name: "PGSTREAM_POSTGRES_LISTENER_URL",
    state: Required,
    doc: "URL of the database whose changes are streamed; the flag `--pgurl` overrides it",
};

/// The slot that is read.
pub const SLOT_NAME: Key = Key {
    name: "PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME",
    state: Derived("`pgstream_<dbname>_slot`"),
    doc: "Name of the logical replication slot; the flag `--replication-slot` overrides it",
};

/// The database that holds subscriptions.
pub const STORE_URL: Key = Key {
    name: "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL",
    state: Derived("the listener's URL"),
    doc: "URL of the database that holds the subscriptions; the flag `--store-url` overrides it",
};

/// Whether subscriptions are held in memory.
pub const CACHE_ENABLED: Key = Key {
    name: "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_ENABLED",
    state: Default("false"),
    doc: "Hold the subscriptions in memory; without it the store is asked once a transaction",
};

/// How often the held subscriptions are read again.
pub const CACHE_REFRESH_INTERVAL: Key = Key {
    name: "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_REFRESH_INTERVAL",
    state: Default("60s"),
    doc: "How often the subscriptions in memory are read again from the store",
};

/// Where the subscription server listens.
pub const SERVER_ADDRESS: Key = Key {
    name: "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_ADDRESS",
    state: Default("127.0.0.1:9900"),
    doc: "Address the subscription server listens on; `:9900` means every interface",
};

/// How long a client may take to send a request.
pub const SERVER_READ_TIMEOUT: Key = Key {
    name: "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_READ_TIMEOUT",
    state: Default("5s"),
    doc: "How long a client of the subscription server may take to send a request",
};

/// How long a client may take to accept an answer.
pub const SERVER_WRITE_TIMEOUT: Key = Key {
    name: "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_WRITE_TIMEOUT",
    state: Default("10s"),
    doc: "How long a client of the subscription server may take to accept an answer",
};

/// The bytes of payload in memory.
pub const MAX_QUEUE_BYTES: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_MAX_QUEUE_BYTES",
    state: Default("100MiB"),
    doc: "Bytes of payload that may wait in memory before reading pauses, such as `100MiB`",
};

/// How many exchanges at one time.
pub const WORKER_COUNT: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT",
    state: Default("256"),
    doc: "How many requests to webhooks may be under way at one time, 1 to 10000",
};

/// How long one exchange may take.
pub const CLIENT_TIMEOUT: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT",
    state: Default("10s"),
    doc: "How long one request to a webhook may take",
};

/// The first wait of a retry.
pub const EXP_BACKOFF_INITIAL_INTERVAL: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL",
    state: Default("1s"),
    doc: "The wait after a delivery's first failure; each further one doubles it",
};

/// The longest wait of a retry.
pub const EXP_BACKOFF_MAX_INTERVAL: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL",
    state: Default("30s"),
    doc: "The longest wait between two tries of a delivery",
};

/// How often a delivery is tried again.
pub const EXP_BACKOFF_MAX_RETRIES: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_RETRIES",
    state: Default("20"),
    doc: "How often a delivery is tried again before it is a dead letter, while its endpoint takes others",
};

/// The one wait of retries that are evenly spaced.
pub const BACKOFF_INTERVAL: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_BACKOFF_INTERVAL",
    state: Derived("exponential"),
    doc: "The wait after each failure of a delivery, always as long, in place of the exponential ones",
};

/// How often a delivery is tried again where retries are evenly spaced.
pub const BACKOFF_MAX_RETRIES: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_BACKOFF_MAX_RETRIES",
    state: Default("20"),
    doc: "The same as `..._EXP_BACKOFF_MAX_RETRIES`, with `..._BACKOFF_INTERVAL`",
};

/// Whether deliveries are tried once only.
pub const DISABLE_RETRIES: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_DISABLE_RETRIES",
    state: Default("false"),
    doc: "Try each delivery once: one that fails is a dead letter at once",
};

/// Whether the stream stops where a delivery would be given up.
pub const STRICT_MODE: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_STRICT_MODE",
    state: Default("false"),
    doc: "Stop the stream instead of making anything a dead letter",
};

/// How old what is in the backlog may become.
pub const BACKLOG_MAX_AGE: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_AGE",
    state: Default("72h"),
    doc: "How long an endpoint's backlog keeps a delivery that cannot be made before it is a dead letter",
};

/// How large the backlog of an endpoint may become.
pub const BACKLOG_MAX_BYTES: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_BYTES",
    state: Default("10GiB"),
    doc: "Bytes of payload that an endpoint's backlog may hold before the oldest are dead letters",
};

/// How many rows the backlog of an endpoint may have.
pub const BACKLOG_MAX_ROWS: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_ROWS",
    state: Default("0"),
    doc: "Deliveries that an endpoint's backlog may hold before the oldest are dead letters; `0` means no bound",
};

/// How long dead letters are kept.
pub const DEAD_LETTER_RETENTION: Key = Key {
    name: "PGSTREAM_WEBHOOK_NOTIFIER_DEAD_LETTER_RETENTION",
    state: Default("30d"),
    doc: "How long dead letters are kept",
};

/// The database whose schema log fills in the events' metadata.
pub const INJECTOR_URL: Key = Key {
    name: "PGSTREAM_INJECTOR_STORE_POSTGRES_URL",
    state: Derived("no metadata"),
    doc: "URL of the database whose schema log fills in the events' metadata: the source",
};

/// How long entries of the schema log are kept that are not needed any more.
pub const SCHEMA_LOG_RETENTION: Key = Key {
    name: "PGSTREAM_INJECTOR_SCHEMA_LOG_RETENTION",
    state: Default("30d"),
    doc: "How long entries of the schema log are kept that later ones have made superfluous; `0` means for ever",
};

/// Which tables' changes are taken.
pub const INCLUDE_TABLES: Key = Key {
    name: "PGSTREAM_FILTER_INCLUDE_TABLES",
    state: Derived("every table"),
    doc: "Tables whose changes are taken: `table` (of schema `public`) or `schema.table`, `*` for any text, separated by commas; a partition goes by its own name",
};

/// Which tables' changes are not.
pub const EXCLUDE_TABLES: Key = Key {
    name: "PGSTREAM_FILTER_EXCLUDE_TABLES",
    state: Derived("none"),
    doc: "Tables whose changes are not taken, whatever is included; written alike",
};

/// Every key there is, in the README's order.
pub const KEYS: [Key; 28] = [
    LISTENER_URL,
    SLOT_NAME,
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
    Key {
        name: "PGSTREAM_POSTGRES_SNAPSHOT_STORE_URL",
        state: NotYet("the initial snapshot"),
        doc: "URL of the database to take the initial snapshot of",
    },
    Key {
        name: "PGSTREAM_POSTGRES_SNAPSHOT_TABLES",
        state: NotYet("the initial snapshot"),
        doc: "Tables to take the initial snapshot of",
    },
    INJECTOR_URL,
    SCHEMA_LOG_RETENTION,
    INCLUDE_TABLES,
    EXCLUDE_TABLES,
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    const TABLE: &[Key] = &KEYS;
    TABLE.iter().find(|key| key.name == name)
}

/// The README's table of the keys.
pub fn markdown_table() -> String {
    let mut table = String::from("| Variable | Default | Meaning |\n|---|---|---|\n");
    for Key { name, state, doc } in &KEYS {
        let default = match state {
            Required => "required".to_owned(),
            Default(value) => format!("`{value}`"),
            Derived(rule) => (*rule).to_owned(),
            NotYet(_) => "not available yet".to_owned(),
        };
        table.push_str(&format!("| `{name}` | {default} | {doc} |\n"));
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
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_key() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), KEYS.len() + 2);
        assert!(
            table.contains("| `PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT` | `256` |"),
            "{table}"
        );
    }
}
