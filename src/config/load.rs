//! From the sources to a [`Config`], with every problem found on the way.

use super::error::{ConfigError, Origin, Problem};
use super::keys::{self, Key, State};
use super::sources::{Layers, Sources};
use super::value::Mode;
use super::{
    BacklogLimits, BackoffConfig, CacheConfig, Config, NotifierConfig, PgUrl, ServerConfig, SnapshotConfig,
    StoreConfig,
};
use super::{slot_name, value};
use crate::filter::TableFilter;
use crate::patterns::Patterns;

impl Config {
    /// Reads and validates the whole configuration: flags win over the environment, and that over the file.
    ///
    /// # Errors
    ///
    /// Holds all problems of all sources, so that one run is enough to see them.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::of_layers(Layers::read(sources))
    }

    pub(super) fn of_layers(layers: Layers) -> Result<Self, ConfigError> {
        let mut reader = Reader { layers };
        let source = reader.source();
        let store = reader.url(&keys::STORE_URL);
        let slot = reader.optional(&keys::SLOT_NAME, |name| {
            slot_name::validate(name).map(|()| name.to_owned())
        });
        let heartbeat_interval = reader.optional(&keys::HEARTBEAT_INTERVAL, value::duration);
        let cache = reader.cache();
        let server = reader.server();
        let metrics_address = reader.optional(&keys::METRICS_ADDRESS, value::listen_address);
        let notifier = reader.notifier();
        let injector = reader.url(&keys::INJECTOR_URL);
        let filter = reader.filter();
        let snapshot = reader.snapshot();
        reader.check_mode();
        let schema_log_retention = reader.value(&keys::SCHEMA_LOG_RETENTION, value::retention_or_none);

        let Layers {
            problems, warnings, ..
        } = reader.layers;
        match (source, cache, server, notifier, snapshot, schema_log_retention) {
            (
                Some(source),
                Some(cache),
                Some(server),
                Some(notifier),
                Some(snapshot),
                Some(schema_log_retention),
            ) if problems.is_empty() => Ok(Self {
                slot: slot.unwrap_or_else(|| slot_name::default_slot_name(&source.dbname)),
                heartbeat_interval,
                store: store.unwrap_or_else(|| source.clone()),
                source,
                cache,
                server,
                metrics_address,
                notifier,
                injector,
                schema_log_retention,
                filter,
                snapshot,
                warnings,
            }),
            _ => Err(ConfigError { problems }),
        }
    }
}

impl StoreConfig {
    /// Reads the same sources, and of them only what leads to the store: its own URL, or else the source's.
    ///
    /// # Errors
    ///
    /// As [`Config::load`], for what is read of it.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut reader = Reader {
            layers: Layers::read(sources),
        };
        let url = match reader.layers.get(&keys::STORE_URL) {
            Some(_) => reader.url(&keys::STORE_URL),
            None => reader.source(),
        };
        let Layers {
            problems, warnings, ..
        } = reader.layers;
        match url {
            Some(url) if problems.is_empty() => Ok(Self { url, warnings }),
            _ => Err(ConfigError { problems }),
        }
    }
}

/// Takes values out of the layers. `None` means that a problem was noted, or that an optional key was not set.
struct Reader {
    layers: Layers,
}

impl Reader {
    fn source(&mut self) -> Option<PgUrl> {
        if self.layers.get(&keys::LISTENER_URL).is_none() && !self.layers.is_partly_read {
            self.problem(
                Origin::Unset(keys::LISTENER_URL.name),
                "is not set: pass --pgurl, or set it in the environment or in the file of -c/--config (in YAML: source.postgres.url), for example to postgres://user:password@localhost:5432/dbname",
            );
        }
        self.url(&keys::LISTENER_URL)
    }

    fn filter(&mut self) -> TableFilter {
        let patterns = |text: &str| text.parse::<Patterns>().map_err(|error| error.to_string());
        TableFilter {
            include: self.optional(&keys::INCLUDE_TABLES, patterns).unwrap_or_default(),
            exclude: self.optional(&keys::EXCLUDE_TABLES, patterns).unwrap_or_default(),
        }
    }

    fn snapshot(&mut self) -> Option<SnapshotConfig> {
        let url = self.url(&keys::SNAPSHOT_URL);
        let patterns = |text: &str| Patterns::separated_by_blanks(text).map_err(|error| error.to_string());
        let tables = self.optional(&keys::SNAPSHOT_TABLES, patterns);
        let excluded_tables = self.optional(&keys::SNAPSHOT_EXCLUDED_TABLES, patterns);
        let workers = self.value(&keys::SNAPSHOT_WORKERS, value::sessions);
        let table_workers = self.value(&keys::SNAPSHOT_TABLE_WORKERS, value::sessions);
        let batch_bytes = self.value(&keys::SNAPSHOT_BATCH_BYTES, value::size);
        let max_connections = self.value(&keys::SNAPSHOT_MAX_CONNECTIONS, value::sessions);
        let without_subscribers = self.value(&keys::SNAPSHOT_WITHOUT_SUBSCRIBERS, value::boolean);
        Some(SnapshotConfig {
            url,
            tables: tables.unwrap_or_default(),
            excluded_tables: excluded_tables.unwrap_or_default(),
            workers: workers?,
            table_workers: table_workers?,
            batch_bytes: batch_bytes?,
            max_connections: max_connections?,
            without_subscribers: without_subscribers?,
        })
    }

    /// The mode says nothing that the tables do not say, but it may say something else.
    fn check_mode(&mut self) {
        let Some(mode) = self.optional(&keys::MODE, value::mode) else {
            return;
        };
        let tables = keys::SNAPSHOT_TABLES.name;
        let problem = match (mode, self.layers.get(&keys::SNAPSHOT_TABLES).is_some()) {
            (Mode::Replication, true) => {
                format!("takes no existing rows: write snapshot_and_replication, or remove {tables}")
            }
            (Mode::SnapshotAndReplication, false) => {
                format!("needs {tables}: say which tables, * for all of schema public")
            }
            _ => return,
        };
        let origin = self.layers.get(&keys::MODE).map(|found| found.origin.clone());
        self.problem(origin.unwrap_or(Origin::Unset(keys::MODE.name)), problem);
    }

    fn cache(&mut self) -> Option<CacheConfig> {
        let enabled = self.value(&keys::CACHE_ENABLED, value::boolean);
        let refresh_interval = self.value(&keys::CACHE_REFRESH_INTERVAL, value::duration);
        Some(CacheConfig {
            enabled: enabled?,
            refresh_interval: refresh_interval?,
        })
    }

    fn server(&mut self) -> Option<ServerConfig> {
        let address = self.value(&keys::SERVER_ADDRESS, value::listen_address);
        let read_timeout = self.value(&keys::SERVER_READ_TIMEOUT, value::duration);
        let write_timeout = self.value(&keys::SERVER_WRITE_TIMEOUT, value::duration);
        Some(ServerConfig {
            address: address?,
            read_timeout: read_timeout?,
            write_timeout: write_timeout?,
        })
    }

    fn notifier(&mut self) -> Option<NotifierConfig> {
        let max_queue_bytes = self.value(&keys::MAX_QUEUE_BYTES, value::size);
        let worker_count = self.value(&keys::WORKER_COUNT, value::worker_count);
        let client_timeout = self.value(&keys::CLIENT_TIMEOUT, value::exchange);
        let retries = self.retries();
        let disable_retries = self.value(&keys::DISABLE_RETRIES, value::boolean);
        let strict_mode = self.value(&keys::STRICT_MODE, value::boolean);
        let backlog = self.backlog();
        let dead_letter_retention = self.value(&keys::DEAD_LETTER_RETENTION, value::retention);
        let (backoff, max_retries) = retries?;
        Some(NotifierConfig {
            max_queue_bytes: max_queue_bytes?,
            worker_count: worker_count?,
            client_timeout: client_timeout?,
            backoff,
            max_retries,
            disable_retries: disable_retries?,
            strict_mode: strict_mode?,
            backlog: backlog?,
            dead_letter_retention: dead_letter_retention?,
        })
    }

    /// When and how often a delivery is tried again: exponentially, or evenly spaced where that is asked for.
    fn retries(&mut self) -> Option<(BackoffConfig, u32)> {
        let exponential = self.exponential_backoff();
        let exponential_retries = self.value(&keys::EXP_BACKOFF_MAX_RETRIES, value::retries);
        let constant = self.optional(&keys::BACKOFF_INTERVAL, value::duration);
        let constant_retries = self.value(&keys::BACKOFF_MAX_RETRIES, value::retries);
        self.refuse_unclear_backoff();
        match constant {
            Some(interval) => Some((BackoffConfig::Constant { interval }, constant_retries?)),
            None => Some((exponential?, exponential_retries?)),
        }
    }

    fn exponential_backoff(&mut self) -> Option<BackoffConfig> {
        let key = &keys::EXP_BACKOFF_INITIAL_INTERVAL;
        let initial = self.value(key, value::duration);
        let maximum = self.value(&keys::EXP_BACKOFF_MAX_INTERVAL, value::duration);
        let (initial, maximum) = initial.zip(maximum)?;
        if initial > maximum {
            let origin = self
                .layers
                .get(key)
                .map_or(Origin::Unset(key.name), |found| found.origin.clone());
            let other = keys::EXP_BACKOFF_MAX_INTERVAL.name;
            self.problem(origin, format!("is longer than {other}: make one fit the other"));
        }
        Some(BackoffConfig::Exponential { initial, maximum })
    }

    /// Waits are either exponential or of one length: which of the two is meant cannot be guessed.
    fn refuse_unclear_backoff(&mut self) {
        let first_set = |keys: &[Key]| {
            let mut set = keys
                .iter()
                .filter_map(|key| Some((key.name, self.layers.get(key)?)));
            set.next().map(|(name, found)| (name, found.origin.clone()))
        };
        let interval = keys::BACKOFF_INTERVAL.name;
        let constant = first_set(&[keys::BACKOFF_INTERVAL, keys::BACKOFF_MAX_RETRIES]);
        let exponential = first_set(&[
            keys::EXP_BACKOFF_INITIAL_INTERVAL,
            keys::EXP_BACKOFF_MAX_INTERVAL,
            keys::EXP_BACKOFF_MAX_RETRIES,
        ]);
        match (constant, exponential) {
            (Some((_, origin)), Some((other, _))) => self.problem(
                origin,
                format!("cannot be set together with {other}: waits are either of one length or exponential"),
            ),
            (Some((name, origin)), None) if name != interval => self.problem(
                origin,
                format!(
                    "has no meaning without {interval}: set that too, or {} instead",
                    keys::EXP_BACKOFF_MAX_RETRIES.name
                ),
            ),
            _ => {}
        }
    }

    fn backlog(&mut self) -> Option<BacklogLimits> {
        let max_age = self.value(&keys::BACKLOG_MAX_AGE, value::retention);
        let max_bytes = self.value(&keys::BACKLOG_MAX_BYTES, value::size);
        let max_rows = self.value(&keys::BACKLOG_MAX_ROWS, value::rows);
        Some(BacklogLimits {
            max_age: max_age?,
            max_bytes: max_bytes?,
            max_rows: max_rows?,
        })
    }

    fn url(&mut self, key: &Key) -> Option<PgUrl> {
        self.optional(key, |text| PgUrl::parse(text).map_err(|error| error.to_string()))
    }

    /// A key that has a default in the table; the default is read as if it had been set.
    fn value<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        if self.layers.get(key).is_some() {
            return self.optional(key, parse);
        }
        match key.state {
            State::Default(text) => parse(text)
                .map_err(|error| self.problem(Origin::Unset(key.name), error))
                .ok(),
            State::Required | State::Derived(_) | State::NotYet(_) => None,
        }
    }

    fn optional<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let found = self.layers.get(key)?.clone();
        parse(&found.value)
            .map_err(|error| self.problem(found.origin, error))
            .ok()
    }

    fn problem(&mut self, origin: Origin, text: impl Into<String>) {
        self.layers.problems.push(Problem::new(origin, text));
    }
}

#[cfg(test)]
mod tests;
