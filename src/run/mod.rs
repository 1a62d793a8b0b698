//! Wiring only: builds the rooms, hands each the channel ends it needs, and owns the end of all of them.
//!
//! ```text
//! stream (one task) -> intake (injector) -> dispatcher (threads) -> settle tokens -> ledger (in the intake) -> stream
//! API (tasks)       -> store  -> subscriptions (tasks) -> intake
//! tables (tasks)    -> rows -> dispatcher; meanwhile intake -> holds (task) -> store, for whom they are read
//! ```
//!
//! The end, in order: reading stops; what is in flight finishes, while feedback goes on; the last LSN is confirmed and
//! the stream closed; then the API and the subscriptions end.

mod backfill;
mod databases;
mod engine;
mod heartbeat;
mod rows;
mod snapshot_alone;
mod watched;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgstream_proto::Lsn;
use slog::{Logger, info, warn};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::backfill::{AskedFor, BackfillError, backfill};
use self::databases::Databases;
use self::engine::{STORE_GRACE, delivery_limits, finish_deliveries};
use self::rows::{Beside, Planned, wake};
pub use self::snapshot_alone::snapshot;
use self::watched::Watched;
use crate::api::{self, ApiError, MetricsServer, Server};
use crate::config::Config;
use crate::delivery::{Dispatcher, DispatcherError};
use crate::event::Source;
use crate::filter::PluginTables;
use crate::pipeline::{self, Parts, PipelineError, StartingInjector, StreamIntake};
use crate::progress::{Budget, Ledger};
use crate::replication::{ReplicationError, Session, SessionOptions, StreamError, Vitals, stream};
use crate::schema_log::{Injector, InjectorError, Recording};
use crate::snapshot::{SnapshotError, left_out};
use crate::store::drainer::Drainer;
use crate::store::{self, PgPool, StoreError, catalog};
use crate::subscription::cache::{CacheError, CacheMode, RefreshTasks, Subscriptions};

/// How often it is looked whether another program has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
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
    /// Rows could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Another program works off the backlogs of this store.
    #[error(
        "another pgstream uses this store: deliveries of one store are made by one program at a time. \
        Stop it first; SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid) \
        WHERE locktype = 'advisory' shows who it is"
    )]
    InUse,
    /// The snapshot is to be of another database than the one that is streamed.
    #[error(
        "PGSTREAM_POSTGRES_SNAPSHOT_STORE_URL names {found}, and the source is {expected}: name the source"
    )]
    OtherDatabase {
        /// What it names.
        found: store::schema_log::DatabaseIdentity,
        /// The source.
        expected: store::schema_log::DatabaseIdentity,
    },
    /// The snapshot is to be of a stand-by.
    #[error(
        "PGSTREAM_POSTGRES_SNAPSHOT_STORE_URL names a stand-by, whose rows may lag behind the stream: name the primary"
    )]
    Standby,
    /// It was ended before it was complete.
    #[error(
        "interrupted before it was complete: run it again, and it goes on with the tables that are not done"
    )]
    Interrupted,
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
    let metrics_server = match config.metrics_address {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    let Some(opened) = shutdown.run_until_cancelled(Databases::open(&config)).await else {
        return Ok(());
    };
    let databases = opened?;
    let store = databases.store.clone();
    // Of their own, so that subscriptions stay fresh and the API answers until the stream has ended.
    let others = CancellationToken::new();
    let (subscriptions, refreshing) =
        Subscriptions::load(store.clone(), cache_mode(&config), log.clone(), others.clone()).await?;
    let watched = (&store, &subscriptions);
    let watched = Watched::start(metrics_server, &config, watched, &log, others.clone());
    let state = api::State {
        store: store.clone(),
        subscriptions: subscriptions.clone(),
        asking: backfill::asking(&config, &databases, &log),
        shown: Some(watched.shown()),
        failures: Arc::default(),
        log: log.clone(),
    };
    let limits = api::limits(config.server.read_timeout, config.server.write_timeout);
    let serving = tokio::spawn(server.serve(state, limits, others.clone()));
    let streamed = match shutdown
        .run_until_cancelled(alone(&store, &watched.vitals, &log))
        .await
    {
        Some(Ok(drainer)) => {
            let streamed =
                stream_changes(&config, &databases, subscriptions, &watched, &log, &shutdown).await;
            drainer.release().await;
            streamed
        }
        Some(Err(error)) => Err(error.into()),
        None => Ok(()),
    };
    others.cancel();
    watched.end().await;
    end(serving, refreshing, databases).await;
    match streamed {
        Err(RunError::Replication(ReplicationError::Stopped)) => Ok(()),
        other => other,
    }
}

async fn stream_changes(
    config: &Config,
    databases: &Databases,
    subscriptions: Subscriptions,
    watched: &Watched,
    log: &Logger,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    let planning = Planned::before_the_stream(config, databases, log);
    let Some(planned) = shutdown.run_until_cancelled(planning).await else {
        return Ok(());
    };
    let planned = planned?;
    let has_partitions = catalog::has_partitioned_tables(&databases.catalog).await?;
    let PluginTables { add, filter } = config.filter.plugin_tables(has_partitions);
    let includes_are_sent_only = !add.is_empty();
    let options = SessionOptions {
        slot: config.slot.clone(),
        add_tables: add,
        filter_tables: [pipeline::filtered_tables(), filter].concat(),
        vitals: Arc::clone(&watched.vitals),
    };
    let starting = Session::start(&config.source, &options, log, shutdown);
    let session = shutdown.run_until_cancelled(starting).await;
    let session = session.unwrap_or(Err(ReplicationError::Stopped))?;
    let left_out = left_out(&databases.store, &config.slot, session.start).await?;
    let budget = Budget::new(config.notifier.max_queue_bytes);
    // After the slot is ours: two programs must not drain one backlog, nor write down what they have applied.
    let dispatcher = Arc::new(Dispatcher::start(
        delivery_limits(config),
        databases.store.clone(),
        Arc::clone(&budget),
        log.clone(),
    )?);
    watched.delivers(&dispatcher, &budget);
    let (injector, recording) = start_injector(config, databases, session.start, log)
        .await?
        .unzip();
    let sweeping = tokio::spawn(pipeline::sweep(subscriptions.clone(), Arc::clone(&dispatcher)));
    let settled = Arc::new(Notify::new());
    let source = Source {
        system_identifier: session.identity.system_identifier,
        epoch: FIRST_EPOCH,
    };
    let beside = Beside {
        source: source.clone(),
        start: session.start,
        left_out: left_out.clone(),
        dispatcher: Arc::clone(&dispatcher),
        budget: Arc::clone(&budget),
        counts: Arc::clone(&watched.counts),
        wake: Arc::clone(&settled),
    };
    let (snapshots, holds) = planned.start((config, databases), beside, log).await?;
    let waking = tokio::spawn(wake(subscriptions.clone(), Arc::clone(&settled)));
    let mut intake = StreamIntake::new(Parts {
        source,
        catalog: databases.catalog.clone(),
        subscriptions,
        injector,
        filter: config.filter.clone(),
        snapshots,
        holds,
        left_out,
        includes_are_sent_only,
        ledger: Ledger::new(session.start, Arc::clone(&settled)),
        budget,
        dispatcher: Arc::clone(&dispatcher),
        store: databases.store.clone(),
        strict: config.notifier.strict_mode,
        counts: Arc::clone(&watched.counts),
        log: log.clone(),
    });
    let beating = config
        .heartbeat_interval
        .map(|every| tokio::spawn(heartbeat::beat(databases.catalog.clone(), every, log.clone())));
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
    waking.abort();
    if let Some(beating) = beating {
        beating.abort();
    }
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

/// Waits until no other program makes deliveries of this store, and keeps others from doing so.
async fn alone(store: &PgPool, vitals: &Vitals, log: &Logger) -> Result<Drainer, StoreError> {
    let mut told = false;
    loop {
        if let Some(drainer) = Drainer::try_acquire(store).await? {
            return Ok(drainer);
        }
        if !told {
            info!(
                log,
                "another pgstream makes the deliveries of this store; waiting until it ends"
            );
        }
        told = true;
        vitals.standing_by(Instant::now());
        sleep(LOOK_AGAIN).await;
    }
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
                warn!(log, "cannot delete what was known of the schema log, so metadata may be out of date once the injector is \
                    switched on again: GRANT SELECT, DELETE ON pgstream.schema_log_applied to this role"; "error" => #&error);
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

async fn end(serving: tokio::task::JoinHandle<()>, refreshing: RefreshTasks, databases: Databases) {
    // Its only way to fail is a panic, which was printed when it happened.
    let _ = serving.await;
    refreshing.join().await;
    databases.close().await;
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
