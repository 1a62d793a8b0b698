//! Existing rows: which tables are read, by whom, and how far that has come.
//!
//! # What holds
//!
//! 1. Each table is read under one snapshot, taken after the table was locked (ACCESS SHARE): from then on nobody can
//!    rewrite, truncate or alter it, so that the snapshot sees its rows as they are, and its columns hold for all of them.
//!    No snapshot is older than the reading of one table, and none is held longer.
//! 2. A table is *done* when each of its rows is settled for each endpoint that a subscription of `I` names: delivered,
//!    in the backlog, a dead letter, or discarded because nobody is subscribed any more. Not before.
//! 3. One that is not done is read again from its start, under a new snapshot. Ranges of pages are there for parallelism
//!    and never to go on from: a row may have moved from one to another meanwhile.
//! 4. The id of a row is made of the run, the table's OID, and the version of the row (`xmin`, `ctid`). The run is kept
//!    until the table is done, so that what is read again has the id it had.
//! 5. A row is encoded as the stream encodes it: COPY prints the same text under the same settings of the session, it is made
//!    a record of wal2json, and there is one encoder for these.
//!
//! Memory is bounded by the byte budget: a reader that finds no room stops taking rows from its socket, and so stops COPY.
//!
//! Knows the rooms it is between: tables come from `store`, rows go to `pipeline`. Must not know: endpoints, sockets.

pub mod choose;
pub mod model;
pub mod progress;
mod ranges;
pub mod row;
mod table;

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, error, info, warn};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use self::choose::{Obstacle, Wanted, choose};
use self::model::Relation;
use self::progress::Watch;
use self::table::{Ended, Source, read};
use crate::config::{PgUrl, SnapshotConfig};
use crate::filter::TableFilter;
use crate::pipeline::RowEntrance;
use crate::store::snapshot::{self as state, SnapshotState, TableRow};
use crate::store::{PgPool, StoreError};
use crate::subscription::matcher::SubscriptionSet;

/// How often it is told how far the reading is, in the log and in the store.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Why tables could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Nothing was read, since not all can be.
    #[error("cannot read the tables that are asked for: {}", told(.0))]
    Obstacles(Vec<Obstacle>),
    /// A database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table has more columns than a table can have.
    #[error("cannot read {0}: it has more columns than a table can have")]
    TooManyColumns(String),
    /// COPY answered with something else than was asked for.
    #[error("COPY answered with a row that does not begin with ctid and xmin; is there a proxy in between?")]
    OddRow,
    /// A reader ended without having been told to.
    #[error("the reading of a table was broken off; run it again")]
    Interrupted,
}

fn told(obstacles: &[Obstacle]) -> String {
    let texts: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// What is needed to take a snapshot.
pub struct Parts {
    /// The database that is read.
    pub url: PgUrl,
    /// The same, for its catalogs.
    pub source: PgPool,
    /// Where it is kept how far the reading is.
    pub store: PgPool,
    /// The schema log that metadata is filled in from, if any is.
    pub schema_log: Option<PgPool>,
    /// The slot whose stream goes on where the snapshot ends.
    pub slot: String,
    /// What is read, and how.
    pub config: SnapshotConfig,
    /// Which tables' changes are taken at all.
    pub filter: TableFilter,
    /// Whether tables are read again that are done.
    pub repeat: bool,
    /// Where rows go.
    pub entrance: Arc<RowEntrance>,
    /// Where it can be seen how far the reading is.
    pub watch: Watch,
    /// Where it is told.
    pub log: Logger,
}

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

/// Reads the tables that are asked for and are not done yet, the largest first, for whoever receives their inserts
/// according to `set`.
///
/// # Errors
/// See [`SnapshotError`]. What was done until then stays done.
pub async fn take(parts: Parts, set: Arc<SubscriptionSet>) -> Result<Report, SnapshotError> {
    let Parts { config, log, .. } = &parts;
    let relations = state::relations(&parts.source).await?;
    let wanted = Wanted {
        tables: &config.tables,
        excluded: &config.excluded_tables,
        filter: &parts.filter,
    };
    let chosen = choose(&relations, wanted).map_err(SnapshotError::Obstacles)?;
    for relation in &chosen.left_out {
        warn!(log, "not read: it has no rows of its own"; "relation" => %relation, "kind" => %relation.kind);
    }
    let planned = state::plan(
        &parts.store,
        &parts.slot,
        &chosen.tables,
        &relations,
        parts.repeat,
    )
    .await?;
    let (source, tables) = (Arc::new(source(&parts)), chosen.tables);
    let reporting = tokio::spawn(report(Arc::clone(&source)));
    let taken = read_tables(&source, tables, &planned, &set, config.workers).await;
    reporting.abort();
    taken
}

fn source(parts: &Parts) -> Source {
    let Parts { config, entrance, .. } = parts;
    Source {
        url: parts.url.clone(),
        slot: parts.slot.clone(),
        store: parts.store.clone(),
        schema_log: parts.schema_log.clone(),
        entrance: Arc::clone(entrance),
        readers: config.table_workers,
        range_bytes: config.batch_bytes,
        connections: Arc::new(Semaphore::new(config.max_connections)),
        watch: parts.watch.clone(),
        log: parts.log.clone(),
    }
}

/// Reads so many tables at one time.
async fn read_tables(
    source: &Arc<Source>,
    tables: Vec<Relation>,
    planned: &[TableRow],
    set: &Arc<SubscriptionSet>,
    at_once: usize,
) -> Result<Report, SnapshotError> {
    let mut report = Report::default();
    let mut reading = JoinSet::new();
    let mut tables = tables.into_iter();
    loop {
        while reading.len() < at_once
            && let Some(table) = tables.next()
        {
            let Some(row) = planned.iter().find(|row| row.oid == table.oid) else {
                continue;
            };
            if row.state == SnapshotState::Done {
                report.done_before += 1;
                continue;
            }
            let (source, set, run) = (Arc::clone(source), Arc::clone(set), row.run);
            reading.spawn(async move {
                let ended = read(source, table.clone(), run, set).await;
                (table, ended)
            });
        }
        let Some(ended) = reading.join_next().await else {
            return Ok(report);
        };
        let (table, ended) = ended.map_err(|_| SnapshotError::Interrupted)?;
        match ended {
            Ok(Ended::Done(read)) => {
                report.tables += 1;
                report.rows += read.rows;
                info!(source.log, "a table is done"; "table" => %table, "rows" => read.rows, "bytes" => read.bytes);
            }
            Ok(Ended::Unwanted) => {
                report.waiting += 1;
                state::waiting(&source.store, &source.slot, table.oid).await?;
                warn!(source.log, "nobody is subscribed to the inserts of a table, so it waits"; "table" => %table);
            }
            Ok(Ended::Gone) => {
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

/// Tells now and then how far the reading is, until it is aborted.
async fn report(source: Arc<Source>) {
    let mut ticks = interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
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
}
