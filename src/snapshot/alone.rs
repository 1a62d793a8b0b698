//! Tables that are read while nothing is streamed.

use std::sync::Arc;
use std::time::Duration;

use slog::{error, info, warn};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::model::Relation;
use super::table::{Ended, Source, Task, read};
use super::{Parts, SnapshotError, plan, source, task};
use crate::store::snapshot::{self as state, Progress, SnapshotState, TableRow};
use crate::subscription::matcher::SubscriptionSet;

/// How often it is told how far the reading is, in the log and in the store.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Tables whose rows are all settled.
    pub tables: usize,
    /// Their rows.
    pub rows: u64,
    /// Tables that were done before.
    pub done_before: usize,
    /// Tables whose rows nobody receives yet.
    pub waiting: usize,
    /// Tables that were gone when they were to be read.
    pub gone: usize,
}

/// What became of a table.
enum Outcome {
    Done(Progress),
    Unwanted,
    Gone,
}

/// Reads the tables that are asked for and are not done yet, the largest first, for whoever receives their inserts
/// according to `set`.
///
/// # Errors
/// See [`SnapshotError`]. What was done until then stays done.
pub async fn take(parts: Parts, set: Arc<SubscriptionSet>) -> Result<Report, SnapshotError> {
    let Parts {
        config, filter, log, ..
    } = &parts;
    let how = (filter, parts.how);
    let planned = plan(&parts.source, &parts.store, &parts.slot, config, how, log).await?;
    let source = Arc::new(source(&parts));
    let reporting = tokio::spawn(report(Arc::clone(&source)));
    let taken = read_tables(&source, planned, &set, config.workers).await;
    reporting.abort();
    taken
}

/// Reads so many tables at one time.
async fn read_tables(
    source: &Arc<Source>,
    planned: Vec<(Relation, TableRow)>,
    set: &Arc<SubscriptionSet>,
    at_once: usize,
) -> Result<Report, SnapshotError> {
    let mut report = Report::default();
    let mut reading = JoinSet::new();
    let mut planned = planned.into_iter();
    loop {
        while reading.len() < at_once
            && let Some((table, row)) = planned.next()
        {
            if row.state == SnapshotState::Done {
                report.done_before += 1;
                continue;
            }
            let (source, set) = (Arc::clone(source), Arc::clone(set));
            reading.spawn(async move {
                let outcome = read_to_the_end(source, task(table.clone(), &row), set).await;
                (table, outcome)
            });
        }
        let Some(ended) = reading.join_next().await else {
            return Ok(report);
        };
        let (table, outcome) = ended.map_err(|_| SnapshotError::Interrupted)?;
        match outcome {
            Ok(Outcome::Done(read)) => {
                report.tables += 1;
                report.rows += read.rows;
                info!(source.log, "a table is done"; "table" => %table, "rows" => read.rows, "bytes" => read.bytes);
            }
            Ok(Outcome::Unwanted) => {
                report.waiting += 1;
                state::waiting(&source.store, &source.slot, table.oid).await?;
                warn!(source.log, "nobody is subscribed to the inserts of a table, so it waits"; "table" => %table);
            }
            Ok(Outcome::Gone) => {
                report.gone += 1;
                warn!(source.log, "a table was dropped or renamed before it was read"; "table" => %table);
            }
            Err(problem) => {
                error!(source.log, "a table could not be read to its end, and is read again from its start by the next run";
                    "table" => %table, "error" => #&problem);
                return Err(problem);
            }
        }
    }
}

/// Reads a table until all its rows are settled.
async fn read_to_the_end(
    source: Arc<Source>,
    task: Task,
    set: Arc<SubscriptionSet>,
) -> Result<Outcome, SnapshotError> {
    Ok(match read(source, task, set, &[]).await? {
        Ended::Read(submitted) => Outcome::Done(submitted.settled().await?),
        Ended::Unwanted => Outcome::Unwanted,
        Ended::Gone => Outcome::Gone,
    })
}

/// Tells now and then how far the reading is, until it is aborted.
async fn report(source: Arc<Source>) {
    let mut ticks = interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        tell(&source).await;
    }
}

/// Tells how far the reading is, in the log and in the store.
pub(super) async fn tell(source: &Source) {
    let tables = source.watch.tables();
    let read: Vec<_> = tables.iter().map(|reading| reading.read()).collect();
    for (reading, read) in tables.iter().zip(&read) {
        info!(source.log, "reading"; "table" => %reading.table, "rows" => read.rows, "bytes" => read.bytes,
            "ranges" => format!("{} of {}", reading.ranges(), reading.all_ranges));
    }
    if let Err(error) = state::progress(&source.store, &source.slot, &read).await {
        warn!(source.log, "cannot write down how far the reading is"; "error" => #&error);
    }
}
