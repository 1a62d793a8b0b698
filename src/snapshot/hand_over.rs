//! Tables that are read for whoever receives their rows, from the first change on that is matched against subscriptions to
//! these, and tables that are read for backfills.
//!
//! What holds between rows and changes is written in the pipeline's module of this name. Here it is kept which tables wait,
//! and who was never sent a change of them: an endpoint of a table that was planned before the stream was started for the
//! first time, and that received no updates, deletes or truncates of it while it waited. Both are durable before the changes
//! in question are matched.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgstream_proto::Lsn;
use slog::{info, warn};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::backfill::Backfills;
use super::model::Relation;
use super::progress::tell;
use super::table::{Source, Task};
use super::work::Work;
use super::{Parts, source, task};
use crate::delivery::model::Hold;
use crate::event::table_hash;
use crate::pipeline::{Audience, Beginning, LeftOut, Releases, Snapshots, StreamPosition};
use crate::store::snapshot::{self as state, Progress, SnapshotState, TableRow};
use crate::store::{PgPool, StoreError};
use crate::subscription::matcher::SubscriptionSet;
use crate::subscription::model::EventType;
use crate::telemetry::Seldom;

/// The pause before readings are begun again that could not be.
const PAUSE: Duration = Duration::from_secs(1);

/// What an earlier program has left.
pub struct Left {
    /// Changes are held by these.
    pub holds: Vec<Hold>,
    /// This was sent as rows.
    pub left_out: Vec<LeftOut>,
    /// Up to which commit each endpoint's changes were delivered or written to its backlog, but for those that were to be held.
    pub marks: HashMap<String, Lsn>,
}

/// What is read while the stream goes on.
pub struct StreamSnapshots {
    work: Arc<Work>,
    tables: Arc<Tables>,
    backfills: Arc<Backfills>,
}

/// The tables that are still to be read for whoever receives their rows, and are not being read.
pub(super) struct Tables {
    waiting: Mutex<Vec<Waiting>>,
    /// Counts those that wait again.
    again: AtomicU64,
    /// Wakes the stream.
    wake: Arc<Notify>,
}

/// One of them.
struct Waiting {
    table: Relation,
    row: TableRow,
    /// Whether it is written down that it waits.
    is_written_down: bool,
    /// Whether any endpoint may be written down as one that was never sent a change of it.
    may_be_fresh: bool,
    /// Endpoints that are written down as those who may have been sent changes of it.
    with_history: BTreeSet<String>,
}

/// What is to be written down of one of them.
struct News {
    table: Relation,
    waits: bool,
    history: Vec<String>,
}

impl StreamSnapshots {
    /// Reads those of these tables that are not done, and whatever backfills are asked for. `wake` wakes the stream.
    #[must_use]
    pub fn start(
        parts: &Parts,
        planned: Vec<(Relation, TableRow)>,
        releases: Releases,
        left: Left,
        wake: Arc<Notify>,
    ) -> Self {
        let waiting = planned
            .into_iter()
            .filter(|(_, row)| row.state != SnapshotState::Done)
            .map(|(table, row)| Waiting {
                is_written_down: row.state == SnapshotState::Waiting,
                may_be_fresh: true,
                with_history: BTreeSet::new(),
                table,
                row,
            });
        let tables = Arc::new(Tables {
            waiting: Mutex::new(waiting.collect()),
            again: AtomicU64::new(0),
            wake: Arc::clone(&wake),
        });
        let work = Work::new(source(parts), releases, Arc::clone(&tables), left);
        let work = Arc::new(work);
        work.spawn(tell(Arc::clone(&work.source)));
        Self {
            backfills: Backfills::follow(&work, wake),
            work,
            tables,
        }
    }
}

impl Snapshots for StreamSnapshots {
    fn is_due(&self, set: &SubscriptionSet, at_rest: bool) -> bool {
        if !self.backfills.are_known() {
            // Otherwise what is held for them would be released. Where it takes long, the stream waits.
            return true;
        }
        (at_rest && self.backfills.is_due())
            || self.work.is_due(set)
            || self
                .tables
                .lock()
                .iter()
                .any(|waiting| waiting.is_wanted(set) || waiting.news(set).is_some())
    }

    fn begin(&mut self, set: Arc<SubscriptionSet>, position: StreamPosition) -> Beginning {
        let (work, tables, backfills) = (
            Arc::clone(&self.work),
            Arc::clone(&self.tables),
            Arc::clone(&self.backfills),
        );
        Box::pin(async move {
            backfills.known().await;
            work.cancel_unwanted(&set);
            let seldom = Seldom::once_a_minute();
            loop {
                match begin(&work, (&tables, &backfills), &set, &position).await {
                    Ok(holds) => return holds,
                    Err(error) => {
                        if let Some(suppressed) = seldom.admit(Instant::now()) {
                            warn!(work.source.log, "cannot begin to read tables, trying again until it works; the stream \
                                waits for it";
                                    "event" => "snapshot_not_begun", "error" => #&error, "suppressed" => suppressed);
                        }
                        sleep(PAUSE).await;
                    }
                }
            }
        })
    }

    fn requests(&self) -> u64 {
        self.backfills.requests() + self.tables.again.load(Ordering::SeqCst)
    }

    fn end(&mut self) {
        self.work.abort();
    }
}

impl Drop for StreamSnapshots {
    fn drop(&mut self) {
        // They hold what holds them.
        self.work.abort();
    }
}

impl Tables {
    /// A table waits again whose reading was broken off.
    pub(super) fn put_back(&self, task: &Task) {
        let mut row = task.row.clone();
        row.fresh = false;
        self.lock().push(Waiting {
            table: task.table.clone(),
            row,
            is_written_down: true,
            may_be_fresh: false,
            with_history: BTreeSet::new(),
        });
        // Somebody may have subscribed to it meanwhile.
        self.again.fetch_add(1, Ordering::SeqCst);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who receives such changes of a table.
pub(super) fn receivers<'s>(
    table: &Relation,
    set: &'s SubscriptionSet,
    event: EventType,
) -> Vec<&'s Arc<str>> {
    let Relation {
        schema, name, root, ..
    } = table;
    let root = root
        .as_ref()
        .map(|(schema, table)| (schema.as_str(), table.as_str()));
    set.receivers(schema, name, root, event)
}

impl Waiting {
    fn is_wanted(&self, set: &SubscriptionSet) -> bool {
        !receivers(&self.table, set, EventType::Insert).is_empty()
    }

    /// What is to be written down before changes of it are matched against this set: that it waits, and who receives changes
    /// of it, but no rows.
    fn news(&self, set: &SubscriptionSet) -> Option<News> {
        let of_rows = receivers(&self.table, set, EventType::Insert);
        let others = [EventType::Update, EventType::Delete, EventType::Truncate];
        let others = others
            .into_iter()
            .flat_map(|event| receivers(&self.table, set, event));
        let history: BTreeSet<String> = others
            .filter(|url| self.may_be_fresh && !of_rows.contains(url))
            .map(|url| String::from(&**url))
            .filter(|url| !self.with_history.contains(url))
            .collect();
        let waits = of_rows.is_empty() && !self.is_written_down;
        (waits || !history.is_empty()).then(|| News {
            table: self.table.clone(),
            waits,
            history: history.into_iter().collect(),
        })
    }
}

/// Begins to read the tables that somebody receives the rows of and, at rest, those of backfills; writes down that the others
/// wait. Returns what is held from now on.
async fn begin(
    work: &Arc<Work>,
    (tables, backfills): (&Tables, &Backfills),
    set: &Arc<SubscriptionSet>,
    position: &StreamPosition,
) -> Result<Vec<Hold>, StoreError> {
    let audience = Audience::Subscribers(Arc::clone(set));
    let mut tasks: Vec<Task> = tables
        .lock()
        .iter()
        .filter(|waiting| waiting.is_wanted(set))
        .map(|waiting| task(waiting.table.clone(), &waiting.row, audience.clone()))
        .collect();
    if position.at_rest {
        tasks.extend(backfills.asked());
    }
    let news: Vec<News> = tables
        .lock()
        .iter()
        .filter_map(|waiting| waiting.news(set))
        .collect();
    for news in news {
        write_down(&work.source, tables, news).await?;
    }
    let begun: HashSet<(u32, i64)> = tasks.iter().map(Task::key).collect();
    let holds = work.begin(tasks, position).await?;
    tables
        .lock()
        .retain(|waiting| !begun.contains(&(waiting.table.oid, 0)));
    backfills.begun(&begun);
    Ok(holds)
}

async fn write_down(
    source: &Source,
    tables: &Tables,
    News {
        table,
        waits,
        history,
    }: News,
) -> Result<(), StoreError> {
    if waits && source.without_subscribers {
        state::done(&source.store, &source.slot, &Progress::none(table.oid)).await?;
        info!(source.log, "nobody is subscribed to the inserts of a table, so it counts as read"; "table" => %table);
        tables.lock().retain(|waiting| waiting.table.oid != table.oid);
        return Ok(());
    }
    if waits {
        state::waiting(&source.store, &source.slot, table.oid).await?;
        info!(source.log, "nobody is subscribed to the inserts of a table, so its rows wait for who will be";
            "table" => %table);
    }
    if !history.is_empty() {
        let urls: Vec<&str> = history.iter().map(String::as_str).collect();
        state::has_history(&source.store, &source.slot, table.oid, &urls).await?;
    }
    for waiting in tables
        .lock()
        .iter_mut()
        .filter(|waiting| waiting.table.oid == table.oid)
    {
        waiting.is_written_down |= waits;
        waiting.with_history.extend(history.iter().cloned());
    }
    Ok(())
}

/// What is left out of the stream from `start` on, because it was sent as rows before.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn left_out(store: &PgPool, slot: &str, start: Lsn) -> Result<Vec<LeftOut>, StoreError> {
    let stored = state::left_out(store, slot, start).await?;
    Ok(stored.into_iter().filter_map(known).collect())
}

/// What cannot be read is not left out, but sent twice: nothing is lost by that.
pub(super) fn known(stored: state::LeftOut) -> Option<LeftOut> {
    Some(LeftOut {
        sees: stored.sees.parse().ok()?,
        hash: table_hash(&stored.schema, &stored.table),
        endpoint: stored.endpoint.into(),
        until: stored.until,
    })
}
