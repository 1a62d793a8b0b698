//! Tables that are read while nothing is streamed.

use std::sync::Arc;

use slog::{error, info, warn};
use tokio::task::JoinSet;

use super::progress::tell;
use super::table::{Ended, Readings, Task};
use super::{How, Parts, SnapshotError, plan, source, task};
use crate::pipeline::Audience;
use crate::store::snapshot::{self as state, Progress, SnapshotState};
use crate::subscription::matcher::SubscriptionSet;

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
    /// Tables whose rows nobody receives, and that count as read.
    pub skipped: usize,
    /// Tables that were gone, or of another name, when they were to be read.
    pub gone: usize,
}

/// Reads the tables that are asked for and are not done yet, the largest first, for whoever receives their inserts
/// according to `set`, and waits until all their rows are settled.
///
/// # Errors
/// See [`SnapshotError`]. What was done until then stays done.
pub async fn take(parts: Parts, how: How, set: Arc<SubscriptionSet>) -> Result<Report, SnapshotError> {
    let Parts {
        config, filter, log, ..
    } = &parts;
    let planned = plan(
        &parts.source,
        &parts.store,
        &parts.slot,
        config,
        (filter, how),
        log,
    )
    .await?;
    let source = Arc::new(source(&parts));
    let mut report = Report::default();
    let (done, planned): (Vec<_>, Vec<_>) = planned
        .into_iter()
        .partition(|(_, row)| row.state == SnapshotState::Done);
    report.done_before = done.len();
    let tasks: Vec<Task> = planned
        .into_iter()
        .map(|(table, row)| task(table, &row, Audience::Subscribers(Arc::clone(&set))))
        .collect();
    let fresh = tasks.iter().filter(|task| task.row.fresh).flat_map(|task| {
        let receivers = source.entrance.receivers(&task.audience, &task.name());
        let urls = receivers
            .iter()
            .map(|outbox| (task.table.oid, Arc::clone(outbox.target().url())));
        urls.collect::<Vec<_>>()
    });
    // Nothing is streamed meanwhile, so nothing has to be held.
    state::are_fresh(&source.store, &source.slot, &fresh.collect::<Vec<_>>()).await?;
    // For as long as this goes on.
    let mut telling = JoinSet::new();
    telling.spawn(tell(Arc::clone(&source)));
    let mut readings = Readings::new(&source, tasks, Vec::new());
    let mut settling = JoinSet::new();
    let mut failed = None;
    while let Some((Task { table, .. }, ended)) = readings.next().await {
        match ended {
            Ok(Ended::Read(submitted)) => {
                settling.spawn(submitted.settled());
            }
            Ok(Ended::Unwanted) if source.without_subscribers => {
                report.skipped += 1;
                state::done(&source.store, &source.slot, &Progress::none(table.oid)).await?;
                info!(log, "nobody is subscribed to the inserts of a table, so it counts as read"; "table" => %table);
            }
            Ok(Ended::Unwanted) => {
                report.waiting += 1;
                state::waiting(&source.store, &source.slot, table.oid).await?;
                warn!(log, "nobody is subscribed to the inserts of a table, so it waits"; "table" => %table);
            }
            Ok(Ended::Cancelled) => {}
            Ok(Ended::Attached) => {
                report.gone += 1;
                warn!(log, "a table was attached to a partitioned table, or detached, before it was read; the next run reads it";
                    "table" => %table);
            }
            Ok(Ended::Gone) => {
                report.gone += 1;
                warn!(log, "a table was dropped or renamed before it was read"; "table" => %table);
            }
            Err(problem) => {
                error!(log, "a table could not be read to its end, and is read again from its start by the next run";
                    "table" => %table, "error" => #&problem);
                failed = Some(problem);
                break;
            }
        }
    }
    drop(readings);
    while let Some(settled) = settling.join_next().await {
        let read = settled.map_err(|_| SnapshotError::Interrupted)?;
        report.tables += 1;
        report.rows += read.rows;
    }
    failed.map_or(Ok(report), Err)
}
