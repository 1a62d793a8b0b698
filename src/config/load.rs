//! From the sources to a [`Config`], with every problem found on the way.

mod retries;

use super::error::{ConfigError, Origin, Problem};
use super::keys::{self, Key, State};
use super::sources::{Layers, Sources};
use super::value::Mode;
use super::{
    BacklogLimits, CacheConfig, Config, NotifierConfig, PgUrl, ReconnectConfig, ServerConfig, SnapshotConfig,
    StoreConfig, Targets,
};
use super::{slot_name, value};
use crate::filter::{self, PluginOptions, TableFilter};
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
        let reconnect = reader.reconnect();
        let plugin = reader.plugin();
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
        match (
            source,
            reconnect,
            cache,
            server,
            notifier,
            snapshot,
            schema_log_retention,
        ) {
            (
                Some(source),
                Some(reconnect),
                Some(cache),
                Some(server),
                Some(notifier),
                Some(snapshot),
                Some(schema_log_retention),
            ) if problems.is_empty() => Ok(Self {
                slot: slot.unwrap_or_else(|| slot_name::default_slot_name(&source.dbname)),
                reconnect,
                plugin,
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

impl Targets {
    /// Reads the same sources, and of them only what says where the databases are. `None` where they do not.
    #[must_use]
    pub fn load(sources: &Sources) -> Option<Self> {
        let mut reader = Reader {
            layers: Layers::read(sources),
        };
        let source = reader.source()?;
        let store = match reader.layers.get(&keys::STORE_URL) {
            Some(_) => reader.url(&keys::STORE_URL)?,
            None => source.clone(),
        };
        let slot = match reader.layers.get(&keys::SLOT_NAME) {
            Some(found) => found.value.clone(),
            None => slot_name::default_slot_name(&source.dbname),
        };
        Some(Self { source, store, slot })
    }
}

impl From<&Config> for Targets {
    fn from(config: &Config) -> Self {
        Self {
            source: config.source.clone(),
            store: config.store.clone(),
            slot: config.slot.clone(),
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

    fn reconnect(&mut self) -> Option<ReconnectConfig> {
        let retries = self.retries(&keys::LISTENER_RETRIES);
        let is_disabled = self.value(&keys::LISTENER_DISABLE_RETRIES, value::boolean);
        let (backoff, max_retries) = retries?;
        Some(ReconnectConfig {
            backoff,
            max_retries: if is_disabled? { Some(0) } else { max_retries },
        })
    }

    fn plugin(&mut self) -> PluginOptions {
        // True is all that can be said, so that nothing is left to be remembered.
        self.value(&keys::PLUGIN_INCLUDE_XIDS, value::include_xids);
        let tables = |text: &str| Patterns::of_plugin(text).map_err(|error| error.to_string());
        PluginOptions {
            add: self
                .optional(&keys::PLUGIN_ADD_TABLES, tables)
                .unwrap_or_default(),
            filter: self
                .optional(&keys::PLUGIN_FILTER_TABLES, |text| {
                    filter::without_own_tables(tables(text)?)
                })
                .unwrap_or_default(),
        }
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
        let retries = self.retries(&keys::NOTIFIER_RETRIES);
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
            max_retries: max_retries?,
            disable_retries: disable_retries?,
            strict_mode: strict_mode?,
            backlog: backlog?,
            dead_letter_retention: dead_letter_retention?,
        })
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
