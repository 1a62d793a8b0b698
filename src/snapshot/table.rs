//! Reading one table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::SnapshotError;
use super::model::{Exported, PageRange, Relation, Shape};
use super::progress::{self, Watch};
use super::ranges::ranges;
use super::row::{RowReader, version};
use crate::config::PgUrl;
use crate::event::TableName;
use crate::pipeline::{Audience, RowEntrance, RowIntake, RowTable};
use crate::progress::Group;
use crate::schema_log;
use crate::store::snapshot::{self as state, Progress, TableRow};
use crate::store::{PgPool, StoreError, catalog};
use crate::telemetry::Seldom;

/// The pause between two looks whether transactions can be seen.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long a table's lock may be waited for in silence.
const LONG: Duration = Duration::from_secs(10);
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);
/// How many rows are counted at one time.
const COUNT_ROWS: u64 = 256;

/// What reading needs, whatever the table.
pub(super) struct Source {
    pub(super) url: PgUrl,
    pub(super) slot: String,
    pub(super) store: PgPool,
    /// The database that is read, for its catalogs.
    pub(super) catalog: PgPool,
    pub(super) schema_log: Option<PgPool>,
    pub(super) entrance: Arc<RowEntrance>,
    pub(super) tables_at_once: usize,
    pub(super) readers: usize,
    pub(super) range_bytes: u64,
    pub(super) connections: Arc<Semaphore>,
    /// Whether a table that nobody receives the rows of counts as read.
    pub(super) without_subscribers: bool,
    pub(super) watch: Watch,
    pub(super) log: Logger,
}

/// A table that is to be read.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) table: Relation,
    /// What is written down of it.
    pub(super) row: TableRow,
    /// Who it is read for.
    pub(super) audience: Audience,
    /// Breaks the reading off.
    pub(super) cancelled: CancellationToken,
}

impl Task {
    /// Its OID, and the backfill that it is read for.
    pub(super) fn key(&self) -> (u32, i64) {
        (self.table.oid, self.row.backfill)
    }

    pub(super) fn name(&self) -> TableName {
        TableName {
            schema: self.table.schema.clone(),
            table: self.table.name.clone(),
            root: self.table.root.clone(),
        }
    }
}

/// How the reading of a table ended.
pub(super) enum Ended {
    /// All its rows are submitted.
    Read(Submitted),
    /// Nobody receives its rows.
    Unwanted,
    /// It is not there any more.
    Gone,
    /// It is a partition of another table than when it was planned, or of none any more: what is held is not what has to be.
    Attached,
    /// It was broken off.
    Cancelled,
}

/// A table whose rows are all submitted, and not settled yet.
pub(super) struct Submitted {
    source: Arc<Source>,
    table: Relation,
    group: Group,
    read: Progress,
}

impl Submitted {
    /// Waits until all of them are settled; then the table is done.
    pub(super) async fn settled(self) -> Progress {
        let Self {
            source,
            table,
            group,
            read,
        } = self;
        group.close().await;
        insist(&source, "write down that a table is done", || {
            state::done(&source.store, &source.slot, &read)
        })
        .await;
        info!(source.log, "a table is done";
            "event" => "snapshot_table_done", "table" => %table, "rows" => read.rows, "bytes" => read.bytes);
        read
    }
}

/// Has the store do something until it does.
pub(super) async fn insist<T, F>(source: &Source, what: &'static str, mut work: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    let seldom = Seldom::once_a_minute();
    loop {
        match work().await {
            Ok(done) => return done,
            Err(error) => {
                if let Some(suppressed) = seldom.admit(Instant::now()) {
                    warn!(source.log, "the store fails, trying again until it does not";
                        "event" => "snapshot_store_failing",
                        "to" => what, "error" => #&error, "suppressed" => suppressed);
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The reading of several tables, so many at one time.
pub(super) struct Readings {
    source: Arc<Source>,
    recent: Arc<[u32]>,
    waiting: std::vec::IntoIter<Task>,
    /// Dropped, they end where they are.
    under_way: JoinSet<Result<Ended, SnapshotError>>,
    tasks: HashMap<tokio::task::Id, Task>,
}

impl Readings {
    /// Reads these tables, in this order. The transactions of these numbers are committed: what they did has to be seen.
    pub(super) fn new(source: &Arc<Source>, tasks: Vec<Task>, recent: Vec<u32>) -> Self {
        Self {
            source: Arc::clone(source),
            recent: recent.into(),
            waiting: tasks.into_iter(),
            under_way: JoinSet::new(),
            tasks: HashMap::new(),
        }
    }

    /// The next table whose reading has ended. None if there is none left.
    pub(super) async fn next(&mut self) -> Option<(Task, Result<Ended, SnapshotError>)> {
        while self.under_way.len() < self.source.tables_at_once
            && let Some(task) = self.waiting.next()
        {
            let (source, recent) = (Arc::clone(&self.source), Arc::clone(&self.recent));
            let read_now = task.clone();
            let reading = self.under_way.spawn(async move {
                let reading = read(source, &read_now, &recent);
                let ended = read_now.cancelled.run_until_cancelled(reading).await;
                ended.unwrap_or(Ok(Ended::Cancelled))
            });
            self.tasks.insert(reading.id(), task);
        }
        let (id, ended) = match self.under_way.join_next_with_id().await? {
            Ok((id, ended)) => (id, ended),
            // A panic, which was printed when it happened.
            Err(error) => (error.id(), Err(SnapshotError::Interrupted)),
        };
        let task = self.tasks.remove(&id)?;
        Some((task, ended))
    }
}

/// One reading of one table, which all its readers share.
struct Job {
    source: Arc<Source>,
    table: Relation,
    shape: Shape,
    exported: Exported,
    target: Arc<RowTable>,
    ranges: Vec<PageRange>,
    /// The range that is read next.
    next: AtomicUsize,
    group: Group,
    reading: Arc<progress::Reading>,
}

/// Reads a table from its start.
async fn read(source: Arc<Source>, task: &Task, recent: &[u32]) -> Result<Ended, SnapshotError> {
    let Task { table, audience, .. } = task;
    let name = task.name();
    if source.entrance.receivers(audience, &name).is_empty() {
        return Ok(Ended::Unwanted);
    }
    let permit = permit(&source).await?;
    let Some(mut leader) = locked(&source, table).await? else {
        return Ok(Ended::Gone);
    };
    while !catalog::are_visible(&source.catalog, recent).await? {
        sleep(LOOK_AGAIN).await;
    }
    let exported = leader.take_snapshot().await?;
    let planned = table.root.clone();
    let Some((shape, table)) = leader.look(table).await? else {
        return Ok(Ended::Gone);
    };
    if table.root != planned {
        return Ok(Ended::Attached);
    }
    let name = TableName {
        root: table.root.clone(),
        ..name
    };
    // Nobody can alter the table from here on, so what is said of it holds for all its rows.
    let description = match &source.schema_log {
        Some(pool) => Some(schema_log::describe(pool, &table.schema, &table.name).await?),
        None => None,
    };
    let Some(target) = source.entrance.table(
        audience,
        name,
        ((table.oid, shape.filenode), task.row.run),
        description,
    ) else {
        return Ok(Ended::Unwanted);
    };
    let (store, slot) = (&source.store, &source.slot);
    state::begin(
        store,
        slot,
        (&table, task.row.backfill),
        &exported,
        &target.endpoints(),
    )
    .await?;
    let ranges = ranges(&table, source.range_bytes);
    let reading = source.watch.begin(&table, task.row.backfill, ranges.len());
    info!(source.log, "reading a table";
        "event" => "snapshot_table_begun", "table" => %table, "bytes" => table.bytes, "rows_estimated" => table.rows,
        "ranges" => ranges.len());
    let job = Arc::new(Job {
        source: Arc::clone(&source),
        table,
        shape,
        exported,
        target: Arc::new(target),
        ranges,
        next: AtomicUsize::new(0),
        group: Group::new(),
        reading,
    });
    read_all(&job, leader, permit).await?;
    let read = job.reading.read();
    let Ok(Job { group, table, .. }) = Arc::try_unwrap(job).map_err(drop) else {
        return Err(SnapshotError::Interrupted);
    };
    Ok(Ended::Read(Submitted {
        source,
        table,
        group,
        read,
    }))
}

/// A session that has the table locked.
async fn locked(source: &Source, table: &Relation) -> Result<Option<state::Reading>, SnapshotError> {
    let mut opening = std::pin::pin!(state::Reading::of(&source.url, table));
    loop {
        match timeout(LONG, opening.as_mut()).await {
            Ok(opened) => return Ok(opened?),
            Err(_) => {
                warn!(source.log, "waiting for whoever alters a table that is to be read; see pg_locks and pg_blocking_pids";
                    "table" => %table);
            }
        }
    }
}

/// Has all ranges read, by as many sessions as there may be. The leader's, which holds the lock and the snapshot, is one of
/// them and ends last.
async fn read_all(
    job: &Arc<Job>,
    mut leader: state::Reading,
    permit: OwnedSemaphorePermit,
) -> Result<(), SnapshotError> {
    let mut others = JoinSet::new();
    for _ in 1..job.source.readers.min(job.ranges.len()) {
        // Without waiting: whoever has a session already must not wait for another one.
        let Ok(permit) = Arc::clone(&job.source.connections).try_acquire_owned() else {
            break;
        };
        let job = Arc::clone(job);
        others.spawn(async move {
            let Job {
                source,
                table,
                exported,
                ..
            } = &*job;
            let mut session = match state::Reading::under(&source.url, table, exported).await {
                Ok(Some(session)) => session,
                Ok(None) => return Ok(()),
                Err(error) => {
                    // The others read its part.
                    warn!(source.log, "a table is read by fewer sessions than it might be"; "table" => %table,
                        "error" => #&error);
                    return Ok(());
                }
            };
            let read = read_ranges(&job, &mut session).await;
            drop((session, permit));
            read
        });
    }
    let mut ended = read_ranges(job, &mut leader).await;
    while let Some(other) = others.join_next().await {
        ended = ended.and(other.unwrap_or(Err(SnapshotError::Interrupted)));
    }
    drop((leader, permit));
    ended
}

/// Reads range after range until there is none left. Where that fails, the others need read no further either.
async fn read_ranges(job: &Arc<Job>, session: &mut state::Reading) -> Result<(), SnapshotError> {
    let read = try_read_ranges(job, session).await;
    if read.is_err() {
        job.next.store(job.ranges.len(), Ordering::Relaxed);
    }
    read
}

async fn try_read_ranges(job: &Arc<Job>, session: &mut state::Reading) -> Result<(), SnapshotError> {
    let Job { table, shape, .. } = &**job;
    let mut reader = RowReader::new(table, shape, &job.exported.taken_at)
        .map_err(|_| SnapshotError::TooManyColumns(table.to_string()))?;
    let mut intake = RowIntake::new(Arc::clone(&job.source.entrance), Arc::clone(&job.target));
    while let Some(range) = job.ranges.get(job.next.fetch_add(1, Ordering::Relaxed)) {
        read_range(job, session, *range, (&mut reader, &mut intake)).await?;
        job.reading.end_of_range();
    }
    Ok(())
}

async fn read_range(
    job: &Job,
    session: &mut state::Reading,
    range: PageRange,
    (reader, intake): (&mut RowReader, &mut RowIntake),
) -> Result<(), SnapshotError> {
    let mut rows = session.rows(&job.table, &job.shape, range).await?;
    let (mut count, mut bytes) = (0, 0);
    while let Some(line) = rows.next().await? {
        let (version, values) = version(&line).ok_or(SnapshotError::OddRow)?;
        match reader.record(values) {
            Ok((record, len)) => intake.row(version, &record, len, &job.group).await,
            Err(problem) => {
                intake
                    .unreadable(version, line.clone(), problem.to_string())
                    .await;
            }
        }
        count += 1;
        bytes += line.len() as u64;
        if count == COUNT_ROWS {
            job.reading.add(count, bytes);
            (count, bytes) = (0, 0);
        }
    }
    job.reading.add(count, bytes);
    intake.flush();
    Ok(())
}

async fn permit(source: &Source) -> Result<OwnedSemaphorePermit, SnapshotError> {
    Arc::clone(&source.connections)
        .acquire_owned()
        .await
        .map_err(|_| SnapshotError::Interrupted)
}
