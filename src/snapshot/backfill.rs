//! Backfills: tables that an operator has read once more for one endpoint, while the stream goes on.
//!
//! Another program asks for them, or cancels them, in the store; this one listens. They begin between two transactions.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slog::{info, warn};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::model::{Relation, RelationKind};
use super::table::{Source, Task};
use super::task;
use super::work::Work;
use crate::pipeline::Audience;
use crate::store::StoreError;
use crate::store::snapshot::{self as state, BackfillNews, SnapshotState, TableRow};
use crate::telemetry::Seldom;

/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked for.
pub(super) struct Backfills {
    state: Mutex<State>,
    /// Counts what was asked for.
    requests: AtomicU64,
    /// Whether it is known what was asked for before the start.
    known: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Not begun yet.
    asked: Vec<Task>,
    /// All that was ever seen of those that are not done.
    seen: HashSet<(u32, i64)>,
}

impl Backfills {
    /// Follows what is asked for, for as long as this work exists. `wake` wakes the stream.
    pub(super) fn follow(work: &Arc<Work>, wake: Arc<Notify>) -> Arc<Self> {
        let backfills = Arc::new(Self {
            state: Mutex::default(),
            requests: AtomicU64::new(0),
            known: watch::channel(false).0,
        });
        let (following, weak) = (Arc::clone(&backfills), Arc::downgrade(work));
        let source = Arc::clone(&work.source);
        work.spawn(async move {
            let mut news = None;
            let seldom = Seldom::once_a_minute();
            loop {
                let looked = following.look(&source, &mut news, |key| {
                    if let Some(work) = weak.upgrade() {
                        work.cancel(key);
                    }
                });
                match looked.await {
                    Ok(()) => {
                        following.known.send_replace(true);
                        wake.notify_one();
                    }
                    Err(error) => {
                        if let Some(suppressed) = seldom.admit(Instant::now()) {
                            warn!(source.log, "cannot look for backfills, trying again until it works";
                                "event" => "backfills_not_followed", "error" => #&error, "suppressed" => suppressed);
                        }
                        sleep(PAUSE).await;
                        continue;
                    }
                }
                if let Some(news) = &mut news
                    && let Err(error) = BackfillNews::changed(news).await
                {
                    if let Some(suppressed) = seldom.admit(Instant::now()) {
                        warn!(source.log, "cannot listen for backfills, trying again until it works";
                            "event" => "backfills_not_followed", "error" => #&error, "suppressed" => suppressed);
                    }
                    sleep(PAUSE).await;
                }
            }
        });
        backfills
    }

    async fn look(
        &self,
        source: &Source,
        news: &mut Option<BackfillNews>,
        cancel: impl Fn((u32, i64)) + Send,
    ) -> Result<(), StoreError> {
        if news.is_none() {
            // Listened to first, so that nothing falls between the listening and the looking.
            *news = Some(BackfillNews::listen(&source.store).await?);
        }
        for row in state::backfills(&source.store).await? {
            let key = (row.oid, row.backfill);
            match row.state {
                SnapshotState::Pending | SnapshotState::Reading if row.slot == source.slot => {
                    self.ask(&row, source);
                }
                SnapshotState::Cancelled => {
                    self.lock().asked.retain(|task| {
                        let is_meant = task.key() == key;
                        if is_meant {
                            // It may be about to begin.
                            task.cancelled.cancel();
                        }
                        !is_meant
                    });
                    cancel(key);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ask(&self, row: &TableRow, source: &Source) {
        let mut state = self.lock();
        let Some(endpoint) = row.endpoint.as_deref() else {
            return;
        };
        if !state.seen.insert((row.oid, row.backfill)) {
            return;
        }
        let audience = Audience::Endpoint(endpoint.into());
        let table = relation(row);
        info!(source.log, "a backfill was asked for"; "backfill" => row.backfill, "table" => %table);
        state.asked.push(task(table, row, audience));
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until it is known what was asked for before the start.
    pub(super) async fn known(&self) {
        let mut known = self.known.subscribe();
        // It ends with the program at the latest.
        let _ = known.wait_for(|known| *known).await;
    }

    pub(super) fn are_known(&self) -> bool {
        *self.known.borrow()
    }

    /// Whether any is to be begun.
    pub(super) fn is_due(&self) -> bool {
        !self.lock().asked.is_empty()
    }

    /// Those that are to be begun.
    pub(super) fn asked(&self) -> Vec<Task> {
        self.lock().asked.clone()
    }

    /// These are begun.
    pub(super) fn begun(&self, begun: &HashSet<(u32, i64)>) {
        self.lock()
            .asked
            .retain(|task| !begun.contains(&(task.table.oid, task.row.backfill)));
    }

    /// How many were asked for so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table as it was when it was asked for. Whoever reads it looks at it again.
fn relation(row: &TableRow) -> Relation {
    Relation {
        oid: row.oid,
        schema: row.schema.clone(),
        name: row.table.clone(),
        root: row.root.clone(),
        kind: RelationKind::Table,
        is_readable: true,
        hides_rows: false,
        pages: 0,
        bytes: row.total_bytes,
        rows: row.estimated_rows,
    }
}
