//! Readings that go on while the stream does.
//!
//! Before a table is read for an endpoint, its changes are held for it (a *hold*, see the pipeline's module of this name); when
//! all rows are settled, they are released. Several readings may need one hold, as those of the partitions of one table
//! do: it is released when the last of them has ended.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgstream_proto::Lsn;
use slog::{error, info, warn};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::SnapshotError;
use super::hand_over::{Left, Tables, known};
use super::table::{Ended, Readings, Source, Submitted, Task, insist};
use crate::delivery::model::Hold;
use crate::event::TableKey;
use crate::pipeline::{LeftOut, Releases, Standing};
use crate::store::StoreError;
use crate::store::snapshot as state;
use crate::subscription::matcher::SubscriptionSet;

/// The pause before tables are read again that could not be.
const PAUSE: Duration = Duration::from_secs(5);

/// A table's OID, and the backfill that it is read for.
type Key = (u32, i64);
/// An endpoint, and the table whose changes are to be held for it.
type ToHold = (Arc<str>, TableKey);

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

#[derive(Default)]
struct Accounts {
    running: HashMap<Key, Running>,
    holds: HashMap<i64, Account>,
    /// Holds that are not closed yet, though nothing needs them any more.
    releasing: HashSet<ToHold>,
    /// Holds that an earlier program has left, and what it has sent as rows.
    left: Vec<Hold>,
    left_out: Vec<LeftOut>,
    /// Up to which commit each endpoint's changes were dealt with then, but for those that were to be held.
    marks: HashMap<String, Lsn>,
}

struct Running {
    task: Task,
    holds: Vec<i64>,
}

struct Account {
    hold: Hold,
    readings: usize,
    left_out: Vec<LeftOut>,
}

impl Work {
    pub(super) fn new(source: Source, releases: Releases, tables: Arc<Tables>, left: Left) -> Self {
        let Left {
            holds: left,
            left_out,
            marks,
        } = left;
        Self {
            source: Arc::new(source),
            releases,
            tables,
            accounts: Mutex::new(Accounts {
                left,
                left_out,
                marks,
                ..Accounts::default()
            }),
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
        standing: &Standing,
    ) -> Result<Vec<Hold>, StoreError> {
        let entrance = &self.source.entrance;
        let tasks: Vec<(Task, Vec<ToHold>)> = tasks
            .into_iter()
            .map(|task| {
                let held = entrance.to_be_held(&task.audience, &task.name());
                (task, held)
            })
            .collect();
        let wanted: BTreeSet<ToHold> = tasks.iter().flat_map(|(_, held)| held.iter().cloned()).collect();
        let wanted: Vec<ToHold> = wanted.into_iter().collect();
        self.none_is_releasing(&wanted).await;
        let mut holds = Vec::new();
        if !wanted.is_empty() {
            let fresh = tasks.iter().filter(|(task, _)| task.row.fresh);
            let fresh: Vec<(u32, Arc<str>)> = fresh
                .flat_map(|(task, held)| {
                    held.iter()
                        .map(|(endpoint, _)| (task.table.oid, Arc::clone(endpoint)))
                })
                .collect();
            let Source { store, slot, .. } = &*self.source;
            holds = state::hold(store, slot, &wanted, &fresh, standing.from).await?;
        }
        let readings = self.lock().begin(tasks, &holds);
        for hold in self.lock().take_orphans() {
            let left_out = self.lock().left_out.clone();
            self.release(hold, left_out);
        }
        if !readings.is_empty() {
            let work = Arc::clone(self);
            let recent = standing.recent.clone();
            self.spawn(async move { work.read(readings, recent).await });
        }
        Ok(holds)
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

    /// Waits until none of these is about to be closed: it would be closed under whoever relies on it.
    async fn none_is_releasing(&self, wanted: &[ToHold]) {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            let is_releasing = wanted.iter().any(|hold| self.lock().releasing.contains(hold));
            if !is_releasing {
                return;
            }
            closed.await;
        }
    }

    async fn read(self: Arc<Self>, mut tasks: Vec<Task>, recent: Vec<u32>) {
        loop {
            let mut again = Vec::new();
            let mut readings = Readings::new(&self.source, tasks, recent.clone());
            loop {
                match readings.next().await {
                    Ok(None) => break,
                    Ok(Some((task, ended))) => again.extend(self.ended(task, ended).await),
                    Err(problem) => {
                        error!(self.source.log, "the reading of a table has ended by a fault of this program; its changes are \
                            held until the next start"; "error" => #&problem);
                        break;
                    }
                }
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
                if task.row.backfill != 0 {
                    self.fail(&task, "it was dropped or renamed before it was read")
                        .await;
                }
            }
            Ok(Ended::Unwanted) if task.row.backfill != 0 => {
                self.fail(&task, "its endpoint's URL cannot be delivered to")
                    .await;
            }
            Ok(Ended::Unwanted | Ended::Cancelled) => self.put_back(&task).await,
            Err(problem) if problem.is_lasting() => {
                if task.row.backfill == 0 {
                    insist(&self.source, "write down that a table is set aside", || {
                        state::set_aside(&self.source.store, &self.source.slot, table.oid)
                    })
                    .await;
                    error!(log, "a table cannot be read, and is set aside until the next start; its changes are streamed";
                        "table" => %table, "error" => #&problem);
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
            self.put_back(&task).await;
            self.end(&task, &[]);
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
    async fn put_back(&self, task: &Task) {
        let Source { store, slot, log, .. } = &*self.source;
        if task.row.backfill != 0 {
            info!(log, "a backfill is broken off"; "table" => %task.table, "backfill" => task.row.backfill);
            return;
        }
        insist(&self.source, "write down that a table waits", || {
            state::waiting(store, slot, task.table.oid)
        })
        .await;
        info!(log, "nobody is subscribed to the inserts of a table any more, so its rows wait for who will be";
            "table" => %task.table);
        self.tables.put_back(task);
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
        let released = self.lock().end(task.key(), left_out);
        for (hold, left_out) in released {
            self.release(hold, left_out);
        }
    }

    fn release(self: &Arc<Self>, hold: Hold, left_out: Vec<LeftOut>) {
        let work = Arc::clone(self);
        self.spawn(async move {
            let held = (Arc::clone(&hold.endpoint), hold.table);
            let mark = work.lock().marks.get(&*hold.endpoint).copied();
            work.releases
                .release(hold, left_out, mark.unwrap_or(Lsn::ZERO))
                .await;
            work.lock().releasing.remove(&held);
            work.closed.notify_waiters();
        });
    }
}

fn is_unwanted(running: &Running, set: &SubscriptionSet) -> bool {
    running.task.row.backfill == 0 && !running.task.is_wanted(set)
}

impl Accounts {
    fn begin(&mut self, tasks: Vec<(Task, Vec<ToHold>)>, holds: &[Hold]) -> Vec<Task> {
        let mut begun = Vec::with_capacity(tasks.len());
        for (task, held) in tasks {
            let of_task = holds.iter().filter(|hold| {
                held.iter()
                    .any(|(endpoint, table)| *endpoint == hold.endpoint && *table == hold.table)
            });
            let ids = of_task.map(|hold| {
                let account = self.holds.entry(hold.id).or_insert_with(|| Account {
                    hold: hold.clone(),
                    readings: 0,
                    left_out: Vec::new(),
                });
                account.readings += 1;
                hold.id
            });
            let holds = ids.collect();
            let running = Running {
                task: task.clone(),
                holds,
            };
            self.running.insert(task.key(), running);
            begun.push(task);
        }
        begun
    }

    /// Those that an earlier program has left and that no reading needs.
    fn take_orphans(&mut self) -> Vec<Hold> {
        let left = std::mem::take(&mut self.left);
        let orphans: Vec<Hold> = left
            .into_iter()
            .filter(|hold| !self.holds.contains_key(&hold.id))
            .collect();
        for hold in &orphans {
            self.releasing.insert((Arc::clone(&hold.endpoint), hold.table));
        }
        orphans
    }

    /// The holds that nobody needs any more.
    fn end(&mut self, key: Key, left_out: &[LeftOut]) -> Vec<(Hold, Vec<LeftOut>)> {
        let Some(running) = self.running.remove(&key) else {
            return Vec::new();
        };
        let mut released = Vec::new();
        for id in running.holds {
            let Some(account) = self.holds.get_mut(&id) else {
                continue;
            };
            let endpoint = &account.hold.endpoint;
            let of_endpoint = left_out.iter().filter(|one| one.endpoint == *endpoint);
            account.left_out.extend(of_endpoint.cloned());
            account.readings -= 1;
            if account.readings == 0
                && let Some(Account { hold, left_out, .. }) = self.holds.remove(&id)
            {
                self.releasing.insert((Arc::clone(&hold.endpoint), hold.table));
                released.push((hold, left_out));
            }
        }
        released
    }
}

impl Task {
    /// Whether anybody is subscribed to its rows.
    pub(super) fn is_wanted(&self, set: &SubscriptionSet) -> bool {
        !super::hand_over::receivers(&self.table, set, crate::subscription::model::EventType::Insert)
            .is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::pipeline::Audience;
    use crate::snapshot::model::Relation;
    use crate::store::snapshot::TableRow;

    fn task(oid: u32) -> Task {
        Task {
            table: Relation {
                oid,
                ..Relation::sample("s", "t")
            },
            row: TableRow::sample(),
            audience: Audience::Endpoint("a".into()),
            cancelled: CancellationToken::new(),
        }
    }

    fn hold(id: i64, endpoint: &str) -> Hold {
        Hold {
            id,
            endpoint: endpoint.into(),
            table: TableKey(7),
            from: Lsn::ZERO,
        }
    }

    fn left_out(endpoint: &str) -> LeftOut {
        LeftOut {
            hash: 1,
            endpoint: endpoint.into(),
            sees: "5:5:".parse().unwrap(),
            until: Lsn::new(9),
        }
    }

    #[test]
    fn a_hold_is_released_with_all_that_is_left_out_when_the_last_reading_ends() {
        let (a, b) = (hold(1, "a"), hold(2, "b"));
        let held = |hold: &Hold| (Arc::clone(&hold.endpoint), hold.table);
        let mut accounts = Accounts {
            left: vec![a.clone(), hold(3, "c")],
            ..Accounts::default()
        };
        accounts.begin(
            vec![(task(10), vec![held(&a), held(&b)]), (task(11), vec![held(&a)])],
            &[a.clone(), b.clone()],
        );
        assert_eq!(accounts.take_orphans(), [hold(3, "c")]);
        let released = accounts.end((10, 0), &[left_out("a"), left_out("b")]);
        assert_eq!(released, [(b, vec![left_out("b")])]);
        let released = accounts.end((11, 0), &[left_out("a")]);
        assert_eq!(released, [(a.clone(), vec![left_out("a"), left_out("a")])]);
        assert!(accounts.releasing.contains(&held(&a)));
        assert!(accounts.end((11, 0), &[]).is_empty() && accounts.holds.is_empty());
    }
}
