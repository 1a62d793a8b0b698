//! The keys of the configuration: the one table behind the loader, its suggestions, `config show` and the README.

mod instrumentation;
mod modifiers;
mod source;
mod webhooks;

use State::{Default, Derived, NotYet, Required};

pub use instrumentation::*;
pub use modifiers::*;
pub use source::*;
pub use webhooks::*;

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

/// The keys that say when something is tried again, and how often.
#[derive(Debug)]
pub struct RetryKeys {
    /// The first of waits that grow.
    pub initial_interval: Key,
    /// The longest of them.
    pub max_interval: Key,
    /// How often it is tried again, where waits grow.
    pub exponential_retries: Key,
    /// The wait, where all are of one length.
    pub interval: Key,
    /// How often it is tried again there.
    pub constant_retries: Key,
    /// Whether it is not tried again at all.
    pub disable: Key,
}

/// Those of deliveries.
pub const NOTIFIER_RETRIES: RetryKeys = RetryKeys {
    initial_interval: EXP_BACKOFF_INITIAL_INTERVAL,
    max_interval: EXP_BACKOFF_MAX_INTERVAL,
    exponential_retries: EXP_BACKOFF_MAX_RETRIES,
    interval: BACKOFF_INTERVAL,
    constant_retries: BACKOFF_MAX_RETRIES,
    disable: DISABLE_RETRIES,
};

/// Those of the replication connection.
pub const LISTENER_RETRIES: RetryKeys = RetryKeys {
    initial_interval: LISTENER_EXP_BACKOFF_INITIAL_INTERVAL,
    max_interval: LISTENER_EXP_BACKOFF_MAX_INTERVAL,
    exponential_retries: LISTENER_EXP_BACKOFF_MAX_RETRIES,
    interval: LISTENER_BACKOFF_INTERVAL,
    constant_retries: LISTENER_BACKOFF_MAX_RETRIES,
    disable: LISTENER_DISABLE_RETRIES,
};

/// Every key there is, in the README's order.
pub const KEYS: [Key; 46] = [
    LISTENER_URL,
    MODE,
    SLOT_NAME,
    LISTENER_EXP_BACKOFF_INITIAL_INTERVAL,
    LISTENER_EXP_BACKOFF_MAX_INTERVAL,
    LISTENER_EXP_BACKOFF_MAX_RETRIES,
    LISTENER_BACKOFF_INTERVAL,
    LISTENER_BACKOFF_MAX_RETRIES,
    LISTENER_DISABLE_RETRIES,
    PLUGIN_INCLUDE_XIDS,
    PLUGIN_ADD_TABLES,
    PLUGIN_FILTER_TABLES,
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
    METRICS_ADDRESS,
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
