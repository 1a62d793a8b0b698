//! Flags, environment and files become one validated configuration.
//!
//! Owns: which keys there are ([`keys`]), where a value may come from, and what a valid one is. Everything behind
//! this room takes typed values and never reads the environment. Must not know: what the values are used for.

mod effective;
mod env_file;
mod error;
mod file;
pub mod keys;
mod load;
mod pg_url;
mod secret;
pub mod slot_name;
mod sources;
pub mod suggest;
mod synonyms;
mod value;
mod yaml;

use std::net::SocketAddr;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::filter::{PluginOptions, TableFilter};
use crate::patterns::Patterns;

pub use effective::{Setting, settings};
pub use error::{ConfigError, Origin, Position, Problem};
pub use pg_url::{
    ChannelBinding, ClientCertificate, DEFAULT_PORT, Encryption, Host, PgUrl, PgUrlError, Roots, Server,
    SslMode, SslNegotiation, TargetSessionAttrs, TcpOptions, TlsOptions, Verification,
};
pub use secret::Secret;
pub use slot_name::default_slot_name;
pub use sources::{FlagValue, Sources};
pub use value::duration as parse_duration;
pub use value::size as parse_size;

/// Everything `pgstream run` needs to know, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The database whose changes are streamed.
    pub source: PgUrl,
    /// The logical replication slot that is read.
    pub slot: String,
    /// When a replication connection that is lost is made again.
    pub reconnect: ReconnectConfig,
    /// Which tables the output plugin is told of by name.
    pub plugin: PluginOptions,
    /// How often a message of our own is written to the source, if at all.
    pub heartbeat_interval: Option<Duration>,
    /// The database that holds subscriptions; the source where no other is named.
    pub store: PgUrl,
    /// How subscriptions are held in memory.
    pub cache: CacheConfig,
    /// The subscription server.
    pub server: ServerConfig,
    /// Where metrics are served, if not by the subscription server.
    pub metrics_address: Option<SocketAddr>,
    /// The deliveries to webhooks.
    pub notifier: NotifierConfig,
    /// The database whose schema log fills in the events' metadata, if any does.
    pub injector: Option<PgUrl>,
    /// How long superfluous entries of the schema log are kept, if not for ever.
    pub schema_log_retention: Option<Duration>,
    /// Which tables' changes are taken.
    pub filter: TableFilter,
    /// The reading of existing rows.
    pub snapshot: SnapshotConfig,
    /// What is probably a mistake and does no harm, for the log: unknown `PGSTREAM_*` environment variables.
    pub warnings: Vec<String>,
}

/// What a command needs to know that works on the store alone, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The database that holds subscriptions, endpoints, backlogs and dead letters.
    pub url: PgUrl,
    /// See [`Config::warnings`].
    pub warnings: Vec<String>,
}

/// Connecting again where the replication connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconnectConfig {
    /// How long to wait between two tries.
    pub backoff: Backoff,
    /// How often it is tried before the program gives up, if it ever does.
    pub max_retries: Option<u32>,
}

/// The databases and the slot: what can be looked at although other settings may be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The database whose changes are streamed.
    pub source: PgUrl,
    /// The database that holds subscriptions.
    pub store: PgUrl,
    /// The logical replication slot.
    pub slot: String,
}

impl Targets {
    /// The name that our walsender has.
    #[must_use]
    pub fn application_name(&self) -> &str {
        self.source.application_name.as_deref().unwrap_or("pgstream")
    }
}

/// The reading of existing rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// The database that is read, where it is not named as the source is.
    pub url: Option<PgUrl>,
    /// The tables that are read.
    pub tables: Patterns,
    /// Those of them that are not.
    pub excluded_tables: Patterns,
    /// How many tables are read at one time.
    pub workers: usize,
    /// How many sessions read one table.
    pub table_workers: usize,
    /// How many bytes on disk one of them reads at one time.
    pub batch_bytes: u64,
    /// How many sessions read altogether.
    pub max_connections: usize,
    /// Whether a table that nobody receives the rows of counts as read, instead of waiting.
    pub without_subscribers: bool,
}

/// How subscriptions are held in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Whether they are; without it every transaction asks the store once.
    pub enabled: bool,
    /// How often the whole set is read again.
    pub refresh_interval: Duration,
}

/// The subscription server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// How long a client may take to send a request.
    pub read_timeout: Duration,
    /// How long a client may take to accept an answer.
    pub write_timeout: Duration,
}

/// The deliveries to webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifierConfig {
    /// The bytes of payload that may be in memory at one time.
    pub max_queue_bytes: u64,
    /// How many exchanges may be under way at one time.
    pub worker_count: usize,
    /// How long one exchange may take.
    pub client_timeout: Duration,
    /// When a delivery that failed is tried again.
    pub backoff: Backoff,
    /// How often it is tried again, while its endpoint takes others: at least once.
    pub max_retries: u32,
    /// Whether each delivery is tried once only, whatever the two above say.
    pub disable_retries: bool,
    /// Whether the stream stops instead of anything becoming a dead letter.
    pub strict_mode: bool,
    /// The bounds of each endpoint's backlog.
    pub backlog: BacklogLimits,
    /// How long dead letters are kept.
    pub dead_letter_retention: Duration,
}

/// What the backlog of one endpoint may hold. The oldest in it make room for what is beyond these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogLimits {
    /// How old it may become.
    pub max_age: Duration,
    /// How many bytes of payload it may hold.
    pub max_bytes: u64,
    /// How many rows it may have, if that is bounded.
    pub max_rows: Option<u64>,
}
