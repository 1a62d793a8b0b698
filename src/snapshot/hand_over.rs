//! Tables that are read where the stream stands, when it comes to the first change that is matched against subscriptions to
//! their rows.
//!
//! What holds between rows and changes is written in the pipeline's module of this name. Here it is kept which tables wait,
//! and who was never sent a change of them: an endpoint of a table that was planned before the stream was started for the
//! first time, and that received no updates, deletes or truncates of it while it waited. Both are durable before the changes
//! in question are matched.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgstream_proto::Lsn;
use slog::{error, info, warn};
use tokio::time::sleep;

use super::model::Relation;
use super::table::{Ended, Readings, Source, Task};
use super::{Parts, SnapshotError, source, task};
use crate::pipeline::{LeftOut, Reading, Snapshots};
use crate::store::snapshot::{self as state, SnapshotState, TableRow};
use crate::store::{PgPool, StoreError};
use crate::subscription::matcher::SubscriptionSet;
use crate::subscription::model::EventType;

/// The pause before tables are read again that could not be.
const PAUSE: Duration = Duration::from_secs(5);

/// The tables that are still to be read.
pub struct WaitingTables {
    source: Arc<Source>,
    tables: Arc<Mutex<Vec<Waiting>>>,
}

/// One of them.
struct Waiting {
    task: Task,
    /// Whether it is written down that it waits.
    is_written_down: bool,
    /// Endpoints that are written down as those who may have been sent changes of it.
    with_history: BTreeSet<String>,
}

/// What is to be written down of one of them.
struct News {
    table: Relation,
    waits: bool,
    history: Vec<String>,
}

impl WaitingTables {
    /// Those of these that are not done, if there are any.
    #[must_use]
    pub fn new(parts: &Parts, planned: Vec<(Relation, TableRow)>) -> Option<Self> {
        let waiting = planned
            .into_iter()
            .filter(|(_, row)| row.state != SnapshotState::Done)
            .map(|(table, row)| Waiting {
                task: task(table, &row),
                is_written_down: row.state == SnapshotState::Waiting,
                with_history: BTreeSet::new(),
            });
        let waiting: Vec<Waiting> = waiting.collect();
        (!waiting.is_empty()).then(|| Self {
            tables: Arc::new(Mutex::new(waiting)),
            source: Arc::new(source(parts)),
        })
    }
}

impl Snapshots for WaitingTables {
    fn is_due(&self, set: &SubscriptionSet) -> bool {
        lock(&self.tables)
            .iter()
            .any(|waiting| waiting.is_wanted(set) || waiting.news(set).is_some())
    }

    fn read(&mut self, set: Arc<SubscriptionSet>, recent: Vec<u32>) -> Reading {
        let (source, tables) = (Arc::clone(&self.source), Arc::clone(&self.tables));
        Box::pin(async move {
            let mut left_out = Vec::new();
            while let Err(error) = read_wanted(&source, &tables, (&set, &recent), &mut left_out).await {
                warn!(source.log, "cannot read tables, trying again until it works; the stream waits for it";
                    "error" => #&error);
                sleep(PAUSE).await;
            }
            left_out
        })
    }
}

impl Waiting {
    /// Who receives such changes of it.
    fn receivers<'s>(&self, set: &'s SubscriptionSet, event: EventType) -> Vec<&'s Arc<str>> {
        let Relation {
            schema, name, root, ..
        } = &self.task.table;
        let root = root
            .as_ref()
            .map(|(schema, table)| (schema.as_str(), table.as_str()));
        set.receivers(schema, name, root, event)
    }

    fn is_wanted(&self, set: &SubscriptionSet) -> bool {
        !self.receivers(set, EventType::Insert).is_empty()
    }

    /// What is to be written down before changes of it are matched against this set, which do not have it read.
    fn news(&self, set: &SubscriptionSet) -> Option<News> {
        let others = [EventType::Update, EventType::Delete, EventType::Truncate];
        let receivers = others.into_iter().flat_map(|event| self.receivers(set, event));
        let history: BTreeSet<String> = receivers
            .map(|url| String::from(&**url))
            .filter(|url| self.task.fresh && !self.with_history.contains(url))
            .collect();
        (!self.is_written_down || !history.is_empty()).then(|| News {
            table: self.task.table.clone(),
            waits: !self.is_written_down,
            history: history.into_iter().collect(),
        })
    }
}

fn lock(tables: &Mutex<Vec<Waiting>>) -> MutexGuard<'_, Vec<Waiting>> {
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the tables that somebody receives the rows of, and writes down that the others wait. What is left out of the stream
/// because of them is added to `left_out`.
async fn read_wanted(
    source: &Arc<Source>,
    tables: &Mutex<Vec<Waiting>>,
    (set, recent): (&Arc<SubscriptionSet>, &[u32]),
    left_out: &mut Vec<LeftOut>,
) -> Result<(), SnapshotError> {
    let wanted: Vec<Task> = lock(tables)
        .iter()
        .filter(|waiting| waiting.is_wanted(set))
        .map(|waiting| waiting.task.clone())
        .collect();
    let mut readings = Readings::new(source, set, wanted, recent.to_vec());
    while let Some((table, ended)) = readings.next().await? {
        match ended {
            Ok(Ended::Read(submitted)) => {
                let stored = state::left_out_of(&source.store, &source.slot, table.oid).await?;
                left_out.extend(stored.into_iter().filter_map(known));
                // The stream does not wait for it. Where the program ends first, the table is read again.
                tokio::spawn(submitted.settled());
            }
            Ok(Ended::Gone) => {
                warn!(source.log, "a table was dropped or renamed before it was read"; "table" => %table);
            }
            // Its subscriptions are to what is no URL, which was told: it waits for others.
            Ok(Ended::Unwanted) => continue,
            Err(error) if error.is_lasting() => {
                state::set_aside(&source.store, &source.slot, table.oid).await?;
                error!(source.log, "a table cannot be read, and is set aside until the next start; its changes are streamed";
                    "table" => %table, "error" => #&error);
            }
            Err(error) => return Err(error),
        }
        lock(tables).retain(|waiting| waiting.task.table.oid != table.oid);
    }
    drop(readings);
    let news: Vec<News> = lock(tables)
        .iter()
        .filter_map(|waiting| waiting.news(set))
        .collect();
    for news in news {
        write_down(source, tables, news).await?;
    }
    Ok(())
}

async fn write_down(
    source: &Source,
    tables: &Mutex<Vec<Waiting>>,
    News {
        table,
        waits,
        history,
    }: News,
) -> Result<(), StoreError> {
    if waits {
        state::waiting(&source.store, &source.slot, table.oid).await?;
        info!(source.log, "nobody is subscribed to the inserts of a table, so its rows wait for who will be";
            "table" => %table);
    }
    if !history.is_empty() {
        let urls: Vec<&str> = history.iter().map(String::as_str).collect();
        state::has_history(&source.store, &source.slot, table.oid, &urls).await?;
    }
    for waiting in lock(tables)
        .iter_mut()
        .filter(|waiting| waiting.task.table.oid == table.oid)
    {
        waiting.is_written_down = true;
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
fn known(stored: state::LeftOut) -> Option<LeftOut> {
    Some(LeftOut {
        sees: stored.sees.parse().ok()?,
        schema: stored.schema,
        table: stored.table,
        endpoint: stored.endpoint.into(),
        until: stored.until,
    })
}
