//! Wiring only: builds the rooms, hands each the channel ends it needs, and owns the end of all of them.
//!
//! ```text
//! stream (one task) -> intake (injector) -> dispatcher (threads) -> settle tokens -> ledger (in the intake) -> stream
//! API (tasks)       -> store  -> subscriptions (tasks) -> intake
//! ```
//!
//! The end, in order: reading stops; what is in flight finishes, while feedback goes on; the last LSN is confirmed and
//! the stream closed; then the API and the subscriptions end.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pgstream_proto::Lsn;
use slog::{Logger, info, warn};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::api::{self, ApiError, Server};
use crate::config::{BackoffConfig, Config, NotifierConfig};
use crate::delivery::retry::{Backoff, Retries, RetryPolicy};
use crate::delivery::{Dispatcher, DispatcherError, Limits, Retention};
use crate::endpoint::EndpointSettings;
use crate::event::Source;
use crate::filter::PluginTables;
use crate::pipeline::{self, Parts, PipelineError, StartingInjector, StreamIntake};
use crate::progress::{Budget, Ledger};
use crate::replication::{ReplicationError, Session, SessionOptions, StreamError, stream};
use crate::schema_log::{self, Injector, InjectorError, Recording};
use crate::store::{self, MigrationSet, PgPool, StoreError, catalog};
use crate::subscription::cache::{CacheError, CacheMode, RefreshTasks, Subscriptions};

/// How long deliveries in flight may take to finish at the end.
const GRACE: Duration = Duration::from_secs(10);
/// How long the connections of a pool may take to close.
const CLOSING: Duration = Duration::from_secs(2);
/// How long the store may take to write what waits for it at the end.
const STORE_GRACE: Duration = Duration::from_secs(5);
/// The SQLSTATE of what a role may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// The source's epoch as long as its history is unbroken.
const FIRST_EPOCH: u32 = 1;

/// Why the program ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store database cannot be used.
    #[error("cannot use the subscription store")]
    Store(#[from] StoreError),
    /// There is no first set of subscriptions.
    #[error(transparent)]
    Subscriptions(#[from] CacheError),
    /// The subscription server cannot be started.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The delivery engine cannot be started.
    #[error(transparent)]
    Delivery(#[from] DispatcherError),
    /// The metadata cannot be filled in.
    #[error(transparent)]
    Injector(#[from] InjectorError),
    /// The stream cannot be started.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// Strict mode, and an event that cannot be delivered.
    #[error(
        "strict mode: {0}; deliver, discard or unsubscribe what it is about, or run without \
        PGSTREAM_WEBHOOK_NOTIFIER_STRICT_MODE, and start again"
    )]
    Strict(String),
    /// The stream ended.
    #[error(transparent)]
    Stream(#[from] StreamError<PipelineError>),
}

/// Streams the changes of the source to the subscribed webhooks until `shutdown` is cancelled.
pub async fn run(config: Config, log: Logger, shutdown: CancellationToken) -> Result<(), RunError> {
    let server = Server::bind(config.server.address).await?;
    run_with(server, config, log, shutdown).await
}

/// Does the same with a subscription server that has its address already.
pub async fn run_with(
    server: Server,
    config: Config,
    log: Logger,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let Some(opened) = shutdown.run_until_cancelled(open_databases(&config)).await else {
        return Ok(());
    };
    let databases = opened?;
    let store = databases.store.clone();
    // Of their own, so that subscriptions stay fresh and the API answers until the stream has ended.
    let others = CancellationToken::new();
    let (subscriptions, refreshing) =
        Subscriptions::load(store.clone(), cache_mode(&config), log.clone(), others.clone()).await?;
    let state = api::State {
        store: store.clone(),
        subscriptions: subscriptions.clone(),
        log: log.clone(),
    };
    let limits = api::limits(config.server.read_timeout, config.server.write_timeout);
    let serving = tokio::spawn(server.serve(state, limits, others.clone()));
    let streamed = stream_changes(&config, &databases, subscriptions, &log, &shutdown).await;
    others.cancel();
    end(serving, refreshing, databases).await;
    match streamed {
        Err(RunError::Replication(ReplicationError::Stopped)) => Ok(()),
        other => other,
    }
}

/// The databases that are used beside the stream. Some of them may be one, and share a pool.
struct Databases {
    store: PgPool,
    /// The source, for its catalogs.
    catalog: PgPool,
    /// The source, for its schema log, where metadata is filled in from that.
    schema_log: Option<PgPool>,
}

/// The store, migrated, and the source.
async fn open_databases(config: &Config) -> Result<Databases, RunError> {
    let store = store::connect(&config.store).await?;
    store::migrate(&store, MigrationSet::Store).await?;
    let catalog = if config.source == config.store {
        store.clone()
    } else {
        store::connect(&config.source).await?
    };
    let schema_log = match &config.injector {
        Some(url) => Some(schema_log::open(url, &config.slot, (&config.source, &catalog)).await?),
        None => None,
    };
    Ok(Databases {
        store,
        catalog,
        schema_log,
    })
}

async fn stream_changes(
    config: &Config,
    databases: &Databases,
    subscriptions: Subscriptions,
    log: &Logger,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    let has_partitions = catalog::has_partitioned_tables(&databases.catalog).await?;
    let PluginTables { add, filter } = config.filter.plugin_tables(has_partitions);
    let includes_are_sent_only = !add.is_empty();
    let options = SessionOptions {
        slot: config.slot.clone(),
        add_tables: add,
        filter_tables: [pipeline::filtered_tables(), filter].concat(),
    };
    let starting = Session::start(&config.source, &options, log, shutdown);
    let session = shutdown.run_until_cancelled(starting).await;
    let session = session.unwrap_or(Err(ReplicationError::Stopped))?;
    let budget = Budget::new(config.notifier.max_queue_bytes);
    // After the slot is ours: two programs must not drain one backlog, nor write down what they have applied.
    let dispatcher = Arc::new(Dispatcher::start(
        delivery_limits(config),
        databases.store.clone(),
        Arc::clone(&budget),
        log.clone(),
    )?);
    let (injector, recording) = start_injector(config, databases, session.start, log)
        .await?
        .unzip();
    let sweeping = tokio::spawn(pipeline::sweep(subscriptions.clone(), Arc::clone(&dispatcher)));
    let settled = Arc::new(Notify::new());
    let mut intake = StreamIntake::new(Parts {
        source: Source {
            system_identifier: session.identity.system_identifier,
            epoch: FIRST_EPOCH,
        },
        catalog: databases.catalog.clone(),
        subscriptions,
        injector,
        filter: config.filter.clone(),
        includes_are_sent_only,
        ledger: Ledger::new(session.start, Arc::clone(&settled)),
        budget,
        dispatcher: Arc::clone(&dispatcher),
        store: databases.store.clone(),
        strict: config.notifier.strict_mode,
        log: log.clone(),
    });
    let must_stop = dispatcher.must_stop();
    let stop = shutdown.child_token();
    let recorded = recording.as_ref().map(|recording| recording.flush(STORE_GRACE));
    let finishing = finish(Arc::clone(&dispatcher), recorded, log.clone());
    let streaming = stream(session, &mut intake, &settled, &stop, finishing, log);
    tokio::pin!(streaming);
    let (streamed, why) = tokio::select! {
        streamed = &mut streaming => (streamed, None),
        why = must_stop => {
            stop.cancel();
            (streaming.await, Some(why))
        }
    };
    sweeping.abort();
    if let Some(recording) = recording {
        recording.end().await;
    }
    let confirmed = streamed?;
    let counts = dispatcher.counts();
    info!(log, "stopped"; "confirmed" => %confirmed, "delivered" => counts.delivered,
        "failed_attempts" => counts.failed, "appended_to_backlog" => counts.appended,
        "dead_letters" => counts.dead, "discarded" => counts.discarded, "health_changes" => counts.health_changes);
    why.map_or(Ok(()), |why| Err(RunError::Strict(why)))
}

/// Has metadata filled in, if it is to be. If not, nothing may be known of what is confirmed now when it is again.
async fn start_injector(
    config: &Config,
    databases: &Databases,
    start: Lsn,
    log: &Logger,
) -> Result<Option<(StartingInjector, Recording)>, InjectorError> {
    let Some(pool) = databases.schema_log.clone() else {
        match store::schema_log::forget(&databases.catalog, &config.slot).await {
            Err(error) if error.sqlstate() == Some(INSUFFICIENT_PRIVILEGE) => {
                warn!(log, "cannot delete what was known of the schema log, so metadata may be out of date once the injector is                     switched on again: GRANT SELECT, DELETE ON pgstream.schema_log_applied to this role"; "error" => #&error);
            }
            forgotten => forgotten?,
        }
        return Ok(None);
    };
    let slot = config.slot.clone();
    let (starting, recording) = Injector::start(pool, slot, start, config.schema_log_retention, log.clone());
    Ok(Some((Box::pin(starting), recording)))
}

/// Has everything end that is under way. Begins when it is first polled.
async fn finish(dispatcher: Arc<Dispatcher>, recorded: Option<impl Future<Output = bool>>, log: Logger) {
    let recorded = async {
        match recorded {
            Some(recorded) => recorded.await,
            None => true,
        }
    };
    let ((), is_recorded) = tokio::join!(finish_deliveries(dispatcher, log.clone()), recorded);
    if !is_recorded {
        warn!(
            log,
            "not all that is applied of the schema log could be written down; it is read again after the next start"
        );
    }
}

/// Has the dispatcher finish what is in flight, and the store take what waits for it. Begins when it is first polled.
async fn finish_deliveries(dispatcher: Arc<Dispatcher>, log: Logger) {
    let (done, waiting) = oneshot::channel();
    let exchanges = Arc::clone(&dispatcher);
    // A thread of its own instead of the runtime's: an immediate end must not wait for it.
    let finisher = thread::Builder::new()
        .name("pgstream-finish".to_owned())
        .spawn(move || {
            // Nobody listens any more when the program ends at once.
            let _ = done.send(exchanges.stop_exchanges(GRACE));
        });
    let broken_off = match finisher {
        Ok(_) => waiting.await.ok(),
        Err(_) => None,
    };
    let undelivered = dispatcher.stop_keeping(STORE_GRACE).await;
    match broken_off {
        Some(broken_off) if undelivered > 0 => {
            warn!(log, "some deliveries were not made; their changes are sent again after the next start";
                "undelivered" => undelivered, "broken_off" => broken_off);
        }
        Some(_) => {}
        None => warn!(log, "could not wait for the deliveries in flight"),
    }
}

async fn end(serving: tokio::task::JoinHandle<()>, refreshing: RefreshTasks, databases: Databases) {
    // Its only way to fail is a panic, which was printed when it happened.
    let _ = serving.await;
    refreshing.join().await;
    let Databases {
        store,
        catalog,
        schema_log,
    } = databases;
    for pool in [Some(store), Some(catalog), schema_log].into_iter().flatten() {
        // A statement that hangs would hold the end back. What it writes is confirmed by nobody.
        let _ = tokio::time::timeout(CLOSING, pool.close()).await;
    }
}

fn cache_mode(config: &Config) -> CacheMode {
    if config.cache.enabled {
        CacheMode::Refreshed {
            interval: config.cache.refresh_interval,
        }
    } else {
        CacheMode::OnDemand
    }
}

fn delivery_limits(config: &Config) -> Limits {
    Limits {
        workers: config.notifier.worker_count,
        defaults: EndpointSettings {
            timeout: config.notifier.client_timeout,
            ..EndpointSettings::default()
        },
        retry: retry_policy(&config.notifier),
        retention: Retention {
            age: config.notifier.backlog.max_age,
            bytes: config.notifier.backlog.max_bytes,
            rows: config.notifier.backlog.max_rows.unwrap_or(u64::MAX),
        },
        dead_letters: config.notifier.dead_letter_retention,
        strict: config.notifier.strict_mode,
    }
}

fn retry_policy(config: &NotifierConfig) -> RetryPolicy {
    RetryPolicy {
        backoff: match config.backoff {
            BackoffConfig::Exponential { initial, maximum } => Backoff::Exponential { initial, maximum },
            BackoffConfig::Constant { interval } => Backoff::Constant { interval },
        },
        retries: if config.disable_retries {
            Retries::Disabled
        } else {
            Retries::AtMost(config.max_retries)
        },
    }
}
