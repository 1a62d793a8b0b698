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
//! 4. The id of a row is made of the run, the table's OID, the number of its file, and the version of the row (`xmin`,
//!    `ctid`). The run is kept until the table is done, so that what is read again has the id it had, unless the table was
//!    written anew: then each row may lie where another one lay.
//! 5. A row is encoded as the stream encodes it: COPY prints the same text under the same settings of the session, it is made
//!    a record of wal2json, and there is one encoder for these.
//! 6. While a table is read beside the stream, for whoever receives its rows or for the one endpoint of a backfill, the changes
//!    of it for these endpoints are held (see the pipeline's modules on holds and on the hand-over), and released behind the rows.
//!
//! Memory is bounded by the byte budget: a reader that finds no room stops taking rows from its socket, and so stops COPY.
//!
//! Knows the rooms it is between: tables come from `store`, rows go to `pipeline`. Of endpoints it knows
//! their URLs. Must not know: how they are delivered to, sockets.

mod accounts;
mod alone;
mod ask;
mod backfill;
pub mod choose;
mod hand_over;
pub mod model;
mod progress;
mod ranges;
pub mod row;
mod table;
mod work;

use std::sync::Arc;

use slog::{Logger, info, warn};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::alone::{Report, take};
pub use self::ask::{Asked, Asking};
use self::choose::{Obstacle, Wanted, choose};
pub use self::hand_over::{Left, StreamSnapshots, left_out};
use self::model::Relation;
pub use self::progress::{TableProgress, Watch};
use self::table::{Source, Task};
use crate::config::{PgUrl, SnapshotConfig};
use crate::filter::TableFilter;
use crate::pipeline::{Audience, RowEntrance};
use crate::store::snapshot::{self as state, TableRow};
use crate::store::{PgPool, StoreError};

/// Why tables could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Nothing was read, since not all can be.
    #[error("cannot read the tables that are asked for: {}", told(.0))]
    Obstacles(Vec<Obstacle>),
    /// All of them are left out.
    #[error(
        "of the tables that match, none is left to read: all are excluded, or have no rows of their own, or are left out by \
        the filter of tables (PGSTREAM_FILTER_*)"
    )]
    Nothing,
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

impl SnapshotError {
    /// Whether the same would happen again: the server has refused, and not for want of a connection or of room, for a lock
    /// or because it shuts down.
    fn is_lasting(&self) -> bool {
        const PASSING: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
        match self {
            Self::Store(error) => error
                .sqlstate()
                .is_some_and(|state| !PASSING.iter().any(|class| state.starts_with(class))),
            Self::TooManyColumns(_) | Self::OddRow => true,
            Self::Obstacles(_) | Self::Nothing | Self::Interrupted => false,
        }
    }
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
    /// Where rows go.
    pub entrance: Arc<RowEntrance>,
    /// Sees how far it is.
    pub watch: Watch,
    /// Where it is told.
    pub log: Logger,
}

/// What tables are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Once, by themselves: each pattern has to match something.
    Once,
    /// By themselves, and again where they are done.
    Again,
    /// Before their changes. The configuration stays when tables are gone.
    BeforeTheStream,
}

/// Chooses the tables that are asked for, and writes down that they are to be read, the largest first.
///
/// # Errors
/// [`SnapshotError::Obstacles`], [`SnapshotError::Store`]
pub async fn plan(
    source: &PgPool,
    store: &PgPool,
    slot: &str,
    config: &SnapshotConfig,
    (filter, how): (&TableFilter, How),
    log: &Logger,
) -> Result<Vec<(Relation, TableRow)>, SnapshotError> {
    let relations = state::relations(source).await?;
    let repeat = how == How::Again;
    let done = if repeat {
        Vec::new()
    } else {
        state::done_before(store, slot).await?
    };
    let wanted = Wanted {
        tables: &config.tables,
        excluded: &config.excluded_tables,
        filter,
        done: &done,
    };
    let chosen = choose(&relations, wanted).map_err(SnapshotError::Obstacles)?;
    if how == How::BeforeTheStream {
        for pattern in &chosen.unmatched {
            warn!(log, "no table matches, so nothing is read for it"; "pattern" => pattern);
        }
    } else if !chosen.unmatched.is_empty() {
        let obstacles = chosen.unmatched.into_iter().map(Obstacle::NoTable);
        return Err(SnapshotError::Obstacles(obstacles.collect()));
    }
    for relation in &chosen.left_out {
        info!(log, "not read: it has no rows of its own"; "relation" => %relation, "kind" => %relation.kind);
    }
    let rows = state::plan(store, slot, &chosen.tables, &relations, repeat).await?;
    let row_of = |table: &Relation| rows.iter().find(|row| row.oid == table.oid).cloned();
    let planned = chosen.tables.into_iter().filter_map(|table| {
        let row = row_of(&table)?;
        Some((table, row))
    });
    Ok(planned.collect())
}

fn source(parts: &Parts) -> Source {
    let Parts { config, entrance, .. } = parts;
    Source {
        url: parts.url.clone(),
        slot: parts.slot.clone(),
        store: parts.store.clone(),
        catalog: parts.source.clone(),
        schema_log: parts.schema_log.clone(),
        entrance: Arc::clone(entrance),
        tables_at_once: config.workers,
        readers: config.table_workers,
        range_bytes: config.batch_bytes,
        connections: Arc::new(Semaphore::new(config.max_connections)),
        without_subscribers: config.without_subscribers,
        watch: parts.watch.clone(),
        log: parts.log.clone(),
    }
}

fn task(table: Relation, row: &TableRow, audience: Audience) -> Task {
    Task {
        table,
        row: row.clone(),
        audience,
        cancelled: CancellationToken::new(),
    }
}
