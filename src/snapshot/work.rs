//! Readings that go on while the stream does.
//!
//! Before a table is read for an endpoint, its changes are held for it (a *hold*, see the pipeline's module of this name); when
//! all rows are settled, they are released. Several readings may need one hold, as those of the partitions of one table
//! do: it is released when the last of them has ended.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgstream_proto::Lsn;
use slog::{error, info, warn};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::SnapshotError;
use super::accounts::{Accounts, Key, Running, ToHold};
use super::hand_over::{Left, Tables, known};
use super::table::{Ended, Readings, Source, Submitted, Task, insist};
use crate::delivery::model::Hold;
use crate::pipeline::{LeftOut, Releases, StreamPosition};
use crate::store::StoreError;
use crate::store::snapshot as state;
use crate::subscription::matcher::SubscriptionSet;

/// The pause before tables are read again that could not be.
const PAUSE: Duration = Duration::from_secs(5);

/// What is read, and what is held because of it.
pub(super) struct Work {
    pub(super) source: Arc<Source>,
    releases: Releases,
    tables: Arc<Tables>,
    accounts: Mutex<Accounts>,
    /// Notified whenever a hold is closed.
    closed: Notify,
    /// Dropped, they end where they are.
    tasks: Mutex<JoinSet<()>>,
}

impl Work {
    pub(super) fn new(source: Source, releases: Releases, tables: Arc<Tables>, left: Left) -> Self {
        Self {
            source: Arc::new(source),
            releases,
            tables,
            accounts: Mutex::new(Accounts::new(left)),
            closed: Notify::new(),
            tasks: Mutex::default(),
        }
    }

    /// Whether there is anything to do, whatever is to be read: what an earlier program has left, or readings that nobody
    /// wants any more.
    pub(super) fn is_due(&self, set: &SubscriptionSet) -> bool {
        let accounts = self.lock();
        !accounts.left.is_empty() || accounts.running.values().any(|running| is_unwanted(running, set))
    }

    /// Begins to read these tables; returns what is held from then on. An error leaves everything as it was.
    pub(super) async fn begin(
        self: &Arc<Self>,
        tasks: Vec<Task>,
        position: &StreamPosition,
    ) -> Result<Vec<Hold>, StoreError> {
        let entrance = &self.source.entrance;
        let tasks: Vec<(Task, Vec<ToHold>)> = tasks
            .into_iter()
            .map(|task| {
                let held = entrance.to_be_held(&task.audience, &task.name());
                let held = held.into_iter().map(|held| self.lock().as_held(held));
                let held = held.collect();
                (task, held)
            })
            .collect();
        let wanted: BTreeSet<ToHold> = tasks.iter().flat_map(|(_, held)| held.iter().cloned()).collect();
        let wanted: Vec<ToHold> = wanted.into_iter().collect();
        let pinned = self.pin(&wanted).await;
        let holds = self.hold(&tasks, &wanted, position.from).await;
        let (readings, orphans) = match &holds {
            Ok(holds) => {
                let mut accounts = self.lock();
                // What an earlier program has left is taken up with the first tasks.
                (accounts.begin(tasks, holds), accounts.take_orphans())
            }
            Err(_) => Default::default(),
        };
        for id in pinned.into_iter().chain(orphans) {
            self.unpin(id);
        }
        if !readings.is_empty() {
            let work = Arc::clone(self);
            let recent = position.recent.clone();
            self.spawn(async move { work.read(readings, recent).await });
        }
        holds
    }

    async fn hold(
        &self,
        tasks: &[(Task, Vec<ToHold>)],
        wanted: &[ToHold],
        from: Lsn,
    ) -> Result<Vec<Hold>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let fresh = tasks.iter().filter(|(task, _)| task.row.fresh);
        let fresh: Vec<(u32, Arc<str>)> = fresh
            .flat_map(|(task, held)| {
                held.iter()
                    .map(|(endpoint, _)| (task.table.oid, Arc::clone(endpoint)))
            })
            .collect();
        let Source { store, slot, .. } = &*self.source;
        state::hold(store, slot, wanted, &fresh, from).await
    }

    /// Sees that no hold of these is closed under whoever is about to rely on it: counts them as needed, takes back what was
    /// only about to be closed, and waits for what is being closed.
    async fn pin(&self, wanted: &[ToHold]) -> Vec<i64> {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            if let Some(pinned) = self.try_pin(wanted) {
                return pinned;
            }
            closed.await;
        }
    }

    fn try_pin(&self, wanted: &[ToHold]) -> Option<Vec<i64>> {
        let mut accounts = self.lock();
        let pinned = accounts.pin(wanted)?;
        // Under the lock, so that it is told in the order in which it happens.
        for id in &pinned {
            self.releases.more_rows(*id);
        }
        Some(pinned)
    }

    fn unpin(self: &Arc<Self>, id: i64) {
        let mut accounts = self.lock();
        if accounts.unpin(id) {
            self.releases.rows_are_done(id);
            drop(accounts);
            self.release(id);
        }
    }

    /// Breaks off what nobody is subscribed to any more.
    pub(super) fn cancel_unwanted(&self, set: &SubscriptionSet) {
        for running in self.lock().running.values() {
            if is_unwanted(running, set) {
                running.task.cancelled.cancel();
            }
        }
    }

    /// Breaks off a reading, if it is under way.
    pub(super) fn cancel(&self, key: Key) {
        if let Some(running) = self.lock().running.get(&key) {
            running.task.cancelled.cancel();
        }
    }

    /// Has something go on for as long as this exists.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are forgotten.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self: Arc<Self>, mut tasks: Vec<Task>, recent: Vec<u32>) {
        loop {
            let mut again = Vec::new();
            let mut readings = Readings::new(&self.source, tasks, recent.clone());
            while let Some((task, ended)) = readings.next().await {
                again.extend(self.ended(task, ended).await);
            }
            drop(readings);
            if again.is_empty() {
                return;
            }
            sleep(PAUSE).await;
            tasks = again;
        }
    }

    /// Deals with a reading that has ended; returns it where it is to be tried again.
    async fn ended(self: &Arc<Self>, task: Task, ended: Result<Ended, SnapshotError>) -> Option<Task> {
        let Source { log, .. } = &*self.source;
        let table = &task.table;
        match ended {
            Ok(Ended::Read(submitted)) => {
                let work = Arc::clone(self);
                self.spawn(async move { work.settle(task, submitted).await });
                return None;
            }
            Ok(Ended::Gone) => {
                warn!(log, "a table was dropped or renamed before it was read"; "table" => %table);
                if task.row.backfill == 0 {
                    // Under its new name, it may be sent to whoever is written down as never having been sent anything of it.
                    self.set_aside(&task).await;
                } else {
                    self.fail(&task, "it was dropped or renamed before it was read")
                        .await;
                }
            }
            Ok(Ended::Attached) if task.row.backfill != 0 => {
                self.fail(
                    &task,
                    "it was attached to a partitioned table, or detached, before it was read: ask again",
                )
                .await;
            }
            Ok(Ended::Attached) => {
                warn!(log, "a table was attached to a partitioned table, or detached, before it was read; the next start reads it";
                    "table" => %table);
                self.set_aside(&task).await;
            }
            Ok(Ended::Unwanted) if task.row.backfill != 0 => {
                self.fail(&task, "its endpoint's URL cannot be delivered to")
                    .await;
            }
            Ok(Ended::Unwanted | Ended::Cancelled) => {
                self.put_back(task).await;
                return None;
            }
            Err(problem) if problem.is_lasting() => {
                if task.row.backfill == 0 {
                    self.set_aside(&task).await;
                    error!(log, "a table cannot be read, and is set aside until the next start; its changes are streamed";
                        "event" => "snapshot_table_failed", "table" => %table, "error" => #&problem);
                } else {
                    error!(log, "a table cannot be read for a backfill"; "table" => %table, "backfill" => task.row.backfill,
                        "error" => #&problem);
                    self.fail(&task, &problem.to_string()).await;
                }
            }
            Err(problem) => {
                warn!(log, "a table could not be read to its end, and is read again from its start; its changes are held \
                    meanwhile"; "table" => %table, "error" => #&problem);
                return Some(task);
            }
        }
        self.end(&task, &[]);
        None
    }

    async fn settle(self: Arc<Self>, task: Task, submitted: Submitted) {
        let settled = task.cancelled.run_until_cancelled(submitted.settled()).await;
        if settled.is_none() {
            self.put_back(task).await;
            return;
        }
        let mut left_out = Vec::new();
        if task.row.backfill == 0 {
            let Source { store, slot, .. } = &*self.source;
            let stored = insist(&self.source, "look up what is left out", || {
                state::left_out_of(store, slot, task.table.oid)
            });
            left_out.extend(stored.await.into_iter().filter_map(known));
        }
        self.end(&task, &left_out);
    }

    /// A table is not read any more: nobody is subscribed to its rows, or an operator wants it so.
    async fn put_back(self: &Arc<Self>, task: Task) {
        let Source { store, slot, log, .. } = &*self.source;
        if task.row.backfill != 0 {
            info!(log, "a backfill is broken off"; "table" => %task.table, "backfill" => task.row.backfill);
            self.end(&task, &[]);
            return;
        }
        insist(&self.source, "write down that a table waits", || {
            state::waiting(store, slot, task.table.oid)
        })
        .await;
        info!(log, "nobody is subscribed to the inserts of a table any more, so its rows wait for who will be";
            "table" => %task.table);
        // Not before: whoever has it read again needs a hold that is not about to be closed.
        self.end(&task, &[]);
        self.tables.put_back(&task);
    }

    async fn set_aside(&self, task: &Task) {
        let Source { store, slot, .. } = &*self.source;
        insist(&self.source, "write down that a table is set aside", || {
            state::set_aside(store, slot, task.table.oid)
        })
        .await;
    }

    /// Ends everything that is under way.
    pub(super) fn abort(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }

    async fn fail(&self, task: &Task, problem: &str) {
        let Source { store, slot, .. } = &*self.source;
        insist(&self.source, "write down that a table cannot be read", || {
            state::fail(store, slot, task.key(), problem)
        })
        .await;
    }

    /// A reading has ended, and this much is left out because of it: releases what nobody needs any more.
    fn end(self: &Arc<Self>, task: &Task, left_out: &[LeftOut]) {
        let mut accounts = self.lock();
        let released = accounts.end(task.key(), left_out);
        for id in &released {
            self.releases.rows_are_done(*id);
        }
        drop(accounts);
        for id in released {
            self.release(id);
        }
    }

    /// Closes a hold, unless it is taken back before everything is settled that comes before it.
    fn release(self: &Arc<Self>, id: i64) {
        let work = Arc::clone(self);
        self.spawn(async move {
            let Some((hold, mark)) = work.lock().is_releasing(id) else {
                return;
            };
            work.releases.all_before(&hold, mark).await;
            let Some(left_out) = work.lock().closes(id) else {
                return;
            };
            work.releases.close(hold, left_out).await;
            work.lock().releasing.remove(&id);
            work.closed.notify_waiters();
        });
    }
}

fn is_unwanted(running: &Running, set: &SubscriptionSet) -> bool {
    running.task.row.backfill == 0 && !running.task.is_wanted(set)
}

impl Task {
    /// Whether anybody is subscribed to its rows.
    pub(super) fn is_wanted(&self, set: &SubscriptionSet) -> bool {
        !super::hand_over::receivers(&self.table, set, crate::subscription::model::EventType::Insert)
            .is_empty()
    }
}
