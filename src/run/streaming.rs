//! One life of the engine: from the connection to the source to its orderly end.

use std::sync::Arc;

use pgstream_proto::Lsn;
use slog::{Logger, info, warn};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::databases::Databases;
use super::engine::{STORE_GRACE, delivery_limits, finish_deliveries};
use super::refusal::explained;
use super::rows::{Beside, Planned, left, wake};
use super::source::{Connected, Memory, connect};
use super::watched::Watched;
use super::{OnGap, RunError, heartbeat, watch};
use crate::config::Config;
use crate::connect::sqlstate::INSUFFICIENT_PRIVILEGE;
use crate::delivery::Dispatcher;
use crate::filter::PluginTables;
use crate::pipeline::{
    self, Parts, PipelineError, RememberedPosition, StartingInjector, StreamIntake, remember,
};
use crate::progress::{Budget, Ledger};
use crate::replication::{Gap, Intake, ReplicationError, SessionOptions, StreamError, stream};
use crate::schema_log::{Injector, InjectorError, Recording};
use crate::store::{self, catalog};
use crate::subscription::cache::Subscriptions;

/// Why a life of the engine ended in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was told to.
    Stopped,
    /// What it knew is out of date: another one is to begin.
    Anew,
}

/// Why the stream is stopped by this program itself.
enum Why {
    /// An event cannot be delivered, in strict mode.
    Strict(String),
    /// Another program writes down how far the slot is.
    TakenOver,
}

/// Streams until `shutdown` is cancelled, as the `term`-th program of this store.
pub(super) async fn stream_changes(
    config: &Config,
    databases: &Databases,
    (subscriptions, watched): (Subscriptions, &Watched),
    (term, on_gap): (i64, OnGap),
    log: &Logger,
    shutdown: &CancellationToken,
) -> Result<Ended, RunError> {
    let planning = Planned::before_the_stream(config, databases, log);
    let Some(planned) = shutdown.run_until_cancelled(planning).await else {
        return Ok(Ended::Stopped);
    };
    let planned = planned?;
    let has_partitions = catalog::has_partitioned_tables(&databases.catalog).await?;
    let PluginTables {
        add,
        filter,
        follows_includes: includes_are_sent_only,
    } = config
        .plugin
        .combined_with(config.filter.plugin_tables(has_partitions));
    let options = SessionOptions {
        slot: config.slot.clone(),
        add_tables: add,
        filter_tables: [pipeline::filtered_tables(), filter].concat(),
        vitals: Arc::clone(&watched.vitals),
    };
    let memory = Memory {
        store: &databases.store,
        term,
        on_gap,
    };
    let Connected {
        link,
        source,
        row,
        highest_mark,
    } = connect(config, options, &memory, &databases.catalog, shutdown, log).await?;
    let start = link.session.start;
    let left = left(&databases.store, &config.slot, &source, start).await?;
    let (injector, recording) = start_injector(config, databases, start, log).await?.unzip();
    // From here on nothing asks a database before the stream goes on: whoever begins anew has left no engine behind.
    let budget = Budget::new(config.notifier.max_queue_bytes);
    // After the slot is ours: two programs must not drain one backlog, nor write down what they have applied.
    let dispatcher = Arc::new(Dispatcher::start(
        delivery_limits(config),
        databases.store.clone(),
        Arc::clone(&budget),
        log.clone(),
    )?);
    watched.delivers(&dispatcher, &budget);
    let sweeping = tokio::spawn(pipeline::sweep(subscriptions.clone(), Arc::clone(&dispatcher)));
    let settled = Arc::new(Notify::new());
    let (position, remembering) = remember(
        databases.store.clone(),
        (config.slot.clone(), term),
        row,
        Arc::clone(&settled),
        log.clone(),
    );
    let left_out = left.left_out.clone();
    let beside = Beside {
        source: source.clone(),
        start,
        left,
        dispatcher: Arc::clone(&dispatcher),
        budget: Arc::clone(&budget),
        counts: Arc::clone(&watched.counts),
        wake: Arc::clone(&settled),
    };
    let (snapshots, holds) = planned.start((config, databases), beside, log);
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
        ledger: Ledger::new(start, Arc::clone(&settled)),
        position: RememberedPosition {
            position,
            highest_mark,
        },
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
    let watching = tokio::spawn(watch::watch(
        databases.catalog.clone(),
        config.source.clone(),
        config.slot.clone(),
        watched.slot_lag(),
        log.clone(),
    ));
    let must_stop = dispatcher.must_stop();
    let stop = shutdown.child_token();
    let recorded = recording.as_ref().map(|recording| recording.flush(STORE_GRACE));
    let finishing = finish(Arc::clone(&dispatcher), recorded, log.clone());
    let taken_over = remembering.taken_over();
    let (streamed, why) = {
        let streaming = stream(link, &mut intake, &settled, &stop, finishing, log);
        tokio::pin!(streaming);
        tokio::select! {
            streamed = &mut streaming => (streamed, None),
            why = must_stop => {
                stop.cancel();
                (streaming.await, Some(Why::Strict(why)))
            }
            () = taken_over => {
                stop.cancel();
                (streaming.await, Some(Why::TakenOver))
            }
        }
    };
    remembering.end(intake.confirmed()).await;
    sweeping.abort();
    waking.abort();
    watching.abort();
    if let Some(beating) = beating {
        beating.abort();
    }
    if let Some(recording) = recording {
        recording.end().await;
    }
    let counts = dispatcher.counts();
    info!(log, "stopped"; "confirmed" => %intake.confirmed(), "delivered" => counts.delivered,
        "failed_attempts" => counts.failed, "appended_to_backlog" => counts.appended,
        "dead_letters" => counts.dead, "discarded" => counts.discarded, "health_changes" => counts.health_changes);
    match (streamed, why) {
        (Ok(_), None) => Ok(Ended::Stopped),
        (Ok(_), Some(Why::Strict(why))) => Err(RunError::Strict(why)),
        (Ok(_), Some(Why::TakenOver)) => {
            warn!(log, "somebody else has taken the slot over, or moves it: the stream is begun anew"; "event" => "begun_anew");
            Ok(Ended::Anew)
        }
        (Err(error), _) if is_out_of_date(&error) => {
            warn!(log, "the stream is begun anew: what was not settled may be sent twice"; "event" => "begun_anew", "error" => #&error);
            Ok(Ended::Anew)
        }
        (Err(StreamError::Replication(error)), _) => Err(explained(error, &databases.catalog).await),
        (Err(error), _) => Err(error.into()),
    }
}

/// Whether only what this life of the engine knew is in the way. A slot that is ahead of what it confirmed may have been moved
/// by another program of ours, which has written that down.
fn is_out_of_date(error: &StreamError<PipelineError>) -> bool {
    matches!(
        error,
        StreamError::Intake(
            PipelineError::Partitions
                | PipelineError::ReadsDifferently { .. }
                | PipelineError::MarksOfAnotherTimeline
        ) | StreamError::Replication(ReplicationError::Gap(Gap::SlotMoved { .. }))
    )
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
