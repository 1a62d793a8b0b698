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

mod alone;
mod backfill;
mod databases;
mod engine;
mod error;
mod heartbeat;
mod refusal;
mod rows;
mod snapshot_alone;
mod source;
mod streaming;
mod watch;
mod watched;

use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, warn};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::alone::{alone, keep};
pub use self::backfill::{AskedFor, BackfillError, backfill};
use self::databases::Databases;
pub use self::error::{Ending, RunError};
pub use self::snapshot_alone::snapshot;
use self::streaming::{Ended, stream_changes};
use self::watched::Watched;
use crate::api::{self, MetricsServer, Server};
use crate::config::Config;
use crate::replication::ReplicationError;
use crate::setup;
use crate::subscription::cache::{CacheMode, RefreshTasks, Subscriptions};
use crate::telemetry::Seldom;

/// The pause before everything is begun anew.
const ANEW: Duration = Duration::from_secs(1);

/// What is done where the source is not what was streamed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    /// The program ends.
    Stop,
    /// It goes on from where the slot is. That holds for the program's start: what is found later ends it.
    Accept,
}

/// Streams the changes of the source to the subscribed webhooks until `shutdown` is cancelled.
pub async fn run(
    config: Config,
    on_gap: OnGap,
    log: Logger,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let server = Server::bind(config.server.address).await?;
    run_with(server, config, on_gap, log, shutdown).await
}

/// Does the same with a subscription server that has its address already.
pub async fn run_with(
    server: Server,
    config: Config,
    on_gap: OnGap,
    log: Logger,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let metrics_server = match config.metrics_address {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    // Of their own, so that subscriptions stay fresh and the API answers until the stream has ended.
    let others = CancellationToken::new();
    let opening = async {
        let databases = Databases::open(&config).await?;
        let (store, mode) = (databases.store.clone(), cache_mode(&config));
        let loaded = Subscriptions::load(store, mode, log.clone(), others.clone()).await?;
        Ok::<_, RunError>((databases, loaded))
    };
    let opening = api::answering((&server, metrics_server.as_ref()), &log, opening);
    let Some(opened) = shutdown.run_until_cancelled(opening).await else {
        return Ok(());
    };
    let (databases, (subscriptions, refreshing)) = opened?;
    let store = databases.store.clone();
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
    let streamed = stream_for_life(
        &config,
        &databases,
        (&subscriptions, &watched),
        on_gap,
        &log,
        &shutdown,
    )
    .await;
    drop(subscriptions);
    others.cancel();
    watched.end().await;
    end(serving, refreshing, databases).await;
    match streamed {
        Err(RunError::Replication(ReplicationError::Stopped)) => Ok(()),
        other => other,
    }
}

/// Streams, one life of the engine after the other, until `shutdown` is cancelled.
async fn stream_for_life(
    config: &Config,
    databases: &Databases,
    what: (&Subscriptions, &Watched),
    mut on_gap: OnGap,
    log: &Logger,
    shutdown: &CancellationToken,
) -> Result<(), RunError> {
    setup::check_encoding(&databases.catalog).await??;
    let seldom = Seldom::once_a_minute();
    loop {
        match stream_once(config, databases, what, on_gap, log, shutdown).await {
            Ok(Ended::Stopped) => return Ok(()),
            // What was accepted at the start has been dealt with.
            Ok(Ended::Anew) => on_gap = OnGap::Stop,
            // The databases could be opened, so that this will pass.
            Err(error) if error.may_pass() => {
                if let Some(suppressed) = seldom.admit(Instant::now()) {
                    warn!(log, "the stream cannot be begun yet, trying again until it can";
                        "event" => "not_begun", "error" => #&error, "suppressed" => suppressed);
                }
            }
            Err(error) => return Err(error),
        }
        what.1.delivers_no_more();
        if shutdown.run_until_cancelled(sleep(ANEW)).await.is_none() {
            return Ok(());
        }
    }
}

/// One life of the engine, as the only one that makes deliveries of the store.
async fn stream_once(
    config: &Config,
    databases: &Databases,
    (subscriptions, watched): (&Subscriptions, &Watched),
    on_gap: OnGap,
    log: &Logger,
    shutdown: &CancellationToken,
) -> Result<Ended, RunError> {
    let store = &databases.store;
    let waiting = alone(store, &watched.vitals, log);
    let Some(drainer) = shutdown.run_until_cancelled(waiting).await else {
        return Ok(Ended::Stopped);
    };
    let mut drainer = drainer?;
    let stop = shutdown.child_token();
    let whose = (drainer.what().term, on_gap);
    let streamed = {
        let what = (subscriptions.clone(), watched);
        let streaming = stream_changes(config, databases, what, whose, log, &stop);
        tokio::pin!(streaming);
        tokio::select! {
            streamed = &mut streaming => streamed,
            () = keep(&mut drainer, store, log) => {
                warn!(log, "another pgstream has taken over while the store could not be reached: standing by behind it";
                    "event" => "taken_over");
                stop.cancel();
                streaming.await.map(|_| Ended::Anew)
            }
        }
    };
    drainer.release().await;
    match streamed {
        // It was told to end before it had begun, and not by whoever tells the program.
        Err(RunError::Replication(ReplicationError::Stopped)) if !shutdown.is_cancelled() => Ok(Ended::Anew),
        streamed => streamed,
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
