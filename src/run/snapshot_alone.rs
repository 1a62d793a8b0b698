//! Wiring of a snapshot by itself: the engine without a stream.
//!
//! ```text
//! readers (tasks) -> rows (records) -> dispatcher (threads) -> settle tokens -> a table is done
//! ```
//!
//! The end, in order: reading stops; what is in flight finishes; the databases are closed. What was not settled by then is
//! read again by the next run, with the ids it had.

use std::sync::Arc;

use slog::{Logger, info, warn};
use tokio_util::sync::CancellationToken;

use super::RunError;
use super::databases::Databases;
use super::engine::{delivery_limits, finish_deliveries};
use super::rows::{parts, readable};
use super::source::FIRST_EPOCH;
use crate::config::Config;
use crate::delivery::Dispatcher;
use crate::event::Source;
use crate::pipeline::RowEntrance;
use crate::progress::Budget;
use crate::snapshot::{self, How, Report, Watch};
use crate::store::drainer::Drainer;
use crate::store::{self, subscriptions};
use crate::subscription::matcher::SubscriptionSet;

/// Reads the tables of the configuration that are not done yet and delivers their rows, until all of them are settled or
/// `shutdown` is cancelled. With `repeat`, also those that are done. `watch` sees how far it is.
pub async fn snapshot(
    config: Config,
    repeat: bool,
    watch: Watch,
    log: Logger,
    shutdown: CancellationToken,
) -> Result<Report, RunError> {
    let opening = Databases::open(&config);
    let databases = shutdown
        .run_until_cancelled(opening)
        .await
        .unwrap_or(Err(RunError::Interrupted))?;
    let taken = with_databases(&config, (repeat, watch), &databases, &log, &shutdown).await;
    databases.close().await;
    taken
}

async fn with_databases(
    config: &Config,
    (repeat, watch): (bool, Watch),
    databases: &Databases,
    log: &Logger,
    shutdown: &CancellationToken,
) -> Result<Report, RunError> {
    let Databases { store, catalog, .. } = databases;
    let Some(drainer) = Drainer::try_acquire(store).await? else {
        return Err(RunError::InUse);
    };
    let readable = readable(config, databases).await?;
    let identity = store::schema_log::identify(catalog).await?;
    let known = store::sources::find(store, &config.slot).await?;
    let source = Source {
        system_identifier: u64::from_ne_bytes(identity.system_identifier.to_ne_bytes()),
        epoch: known.map_or(FIRST_EPOCH, |known| known.epoch),
    };
    // What this program sees for as long as it reads: a later subscription is for the next run.
    let set = Arc::new(SubscriptionSet::new(1, subscriptions::list(store).await?));
    let budget = Budget::new(config.notifier.max_queue_bytes);
    let dispatcher = Arc::new(Dispatcher::start(
        delivery_limits(config),
        store.clone(),
        Arc::clone(&budget),
        log.clone(),
    )?);
    let entrance = RowEntrance::new(
        source,
        Arc::clone(&dispatcher),
        budget,
        store.clone(),
        Arc::default(),
        log.clone(),
    );
    let parts = parts(config, databases, readable, entrance, watch, log);
    let how = if repeat { How::Again } else { How::Once };
    let reading = async {
        // What endpoints have in their backlogs comes first.
        dispatcher.recovered().await;
        snapshot::take(parts, how, set).await
    };
    let taken = tokio::select! {
        taken = shutdown.run_until_cancelled(reading) => match taken {
            Some(taken) => taken.map_err(RunError::from),
            None => Err(RunError::Interrupted),
        },
        why = dispatcher.must_stop() => Err(RunError::Strict(why)),
    };
    finish_deliveries(Arc::clone(&dispatcher), log.clone()).await;
    let counts = dispatcher.counts();
    info!(log, "stopped"; "delivered" => counts.delivered, "failed_attempts" => counts.failed,
        "appended_to_backlog" => counts.appended, "dead_letters" => counts.dead, "discarded" => counts.discarded);
    if counts.appended > 0 {
        warn!(log, "some rows wait in backlogs, which `pgstream run` works off");
    }
    drainer.release().await;
    taken
}
