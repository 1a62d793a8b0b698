//! The keepers: what is between the outboxes and the store.
//!
//! A keeper takes the token of an outbox that has work for the store, and does one piece after the other, as the outbox
//! gives them out. An outbox is with one keeper at a time. The store being away is backpressure, not loss: what could not
//! be written goes back to where it was, its LSN stays unconfirmed, and the budget fills until reading pauses.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use slog::{Logger, info, warn};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use super::dispatch::Shared;
use super::model::{Attempts, Removed, Row, Written};
use super::outbox::{CHUNK_BYTES, Keep, Loaded, Outbox, StoreWork, Stored};
use crate::event::{Event, Origin, TableName};
use crate::progress::{Budget, Share};
use crate::store::backlog::{self, TooMuch, Touched};
use crate::store::{PgPool, StoreError, dead_letters, endpoints};

/// How many keepers there are: the pool has a connection for each, and some to spare.
pub(super) const KEEPERS: usize = 3;
/// How many pieces of work are done for one outbox while others wait.
const QUANTUM: usize = 8;
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_millis(500);
/// How many rows are removed at one time.
const REMOVE_ROWS: usize = 500;
/// How many rows are looked at in one step of a sweep.
const SWEEP_ROWS: usize = 2000;

/// What a loaded row takes in memory beside its payload.
const ROW_OVERHEAD: u64 = 512;
/// How long the store may take for one piece of work before it is given up, and done again.
const DEADLINE: Duration = Duration::from_secs(30);

/// The outboxes that wait for a keeper.
pub(super) type Waiting = Mutex<UnboundedReceiver<Arc<Outbox>>>;

/// Serves outboxes until the dispatcher is gone.
pub(super) async fn run(shared: Arc<Shared>, waiting: Arc<Waiting>) {
    loop {
        let outbox = waiting.lock().await.recv().await;
        let Some(outbox) = outbox else { return };
        serve(&shared, &outbox).await;
        shared.follow_up(&outbox, outbox.end_keeping(Instant::now()));
        shared.kept.notify_waiters();
    }
}

async fn serve(shared: &Arc<Shared>, outbox: &Arc<Outbox>) {
    for _ in 0..QUANTUM {
        let (work, next) = outbox.store_work(Instant::now());
        shared.follow_up(outbox, next);
        let Some(work) = work else { return };
        let keeper = Keeper {
            shared,
            outbox,
            url: outbox.target().url(),
        };
        let next = match keeper.perform(work).await {
            Ok(stored) => {
                shared.store_health.answered(&shared.log);
                outbox.stored(stored, Instant::now())
            }
            Err(undone) => {
                let (work, error) = *undone;
                shared.store_health.failed(&error, &shared.log);
                shared.follow_up(outbox, outbox.not_stored(work, PAUSE, Instant::now()));
                return;
            }
        };
        shared.follow_up(outbox, next);
    }
}

/// Says once that the store fails, and once that it answers again.
#[derive(Default)]
pub(super) struct StoreHealth {
    failing: AtomicBool,
}

impl StoreHealth {
    fn failed(&self, error: &StoreError, log: &Logger) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            warn!(log, "the store does not take the backlog, trying again until it does; nothing is lost, and what is not \
                written is not confirmed"; "event" => "store_failing", "error" => #error);
        }
    }

    fn answered(&self, log: &Logger) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            info!(log, "the store takes the backlog again"; "event" => "store_restored");
        }
    }
}

struct Keeper<'a> {
    shared: &'a Arc<Shared>,
    outbox: &'a Outbox,
    url: &'a Arc<str>,
}

/// What was done, or what could not be done, and why.
type Done = Result<Stored, Box<(StoreWork, StoreError)>>;

impl Keeper<'_> {
    async fn perform(&self, work: StoreWork) -> Done {
        match work {
            StoreWork::Bury(dying) => {
                let buried = in_time(self.bury(&dying)).await;
                with(buried, dying, |dying, ()| Stored::Buried(dying), StoreWork::Bury)
            }
            StoreWork::Clear { finished, touched } => {
                let cleared = in_time(self.clear(&finished, &touched)).await;
                let back = |(finished, touched)| StoreWork::Clear { finished, touched };
                with(
                    cleared,
                    (finished, touched),
                    |(finished, _), ()| Stored::Cleared(finished),
                    back,
                )
            }
            StoreWork::Append(queued) => {
                let appended = in_time(self.append(&queued)).await;
                let done = |queued, seqs| Stored::Appended { queued, seqs };
                with(appended, queued, done, StoreWork::Append)
            }
            StoreWork::Load { after, rows, probing } => {
                let loaded = in_time(self.load(after, rows, probing)).await;
                with(
                    loaded,
                    (),
                    |(), loaded| loaded,
                    |()| StoreWork::Load { after, rows, probing },
                )
            }
            StoreWork::Sweep { after, keep, except } => {
                let swept = in_time(self.sweep(after, &keep, &except)).await;
                let back = |(keep, except)| StoreWork::Sweep { after, keep, except };
                with(swept, (keep, except), |_, stored| stored, back)
            }
            StoreWork::Retain {
                before,
                excess_rows,
                excess_bytes,
                except,
            } => {
                let retained = in_time(self.retain(before, excess_rows, excess_bytes, &except)).await;
                let back = |except| StoreWork::Retain {
                    before,
                    excess_rows,
                    excess_bytes,
                    except,
                };
                with(retained, except, |_, stored| stored, back)
            }
            StoreWork::RecordHealth(state, reason) => {
                let now = SystemTime::now();
                let record =
                    endpoints::record_health(self.pool(), self.url, state.as_str(), now, reason.as_deref());
                let recorded = in_time(record).await;
                with(
                    recorded,
                    reason,
                    |_, ()| Stored::Recorded,
                    |reason| StoreWork::RecordHealth(state, reason),
                )
            }
            StoreWork::Disable(reason) => {
                let standing = crate::endpoint::Standing::Disabled;
                let disable = endpoints::set_standing(self.pool(), self.url, standing, Some(reason));
                with(
                    in_time(disable).await,
                    (),
                    |(), ()| Stored::Recorded,
                    |()| StoreWork::Disable(reason),
                )
            }
        }
    }

    fn pool(&self) -> &PgPool {
        &self.shared.store
    }

    async fn bury(&self, dying: &[super::outbox::Dying]) -> Result<(), StoreError> {
        let none = Attempts::default();
        let letters: Vec<(Written<'_>, &str)> = dying
            .iter()
            .map(|one| {
                let delivery = one.delivery();
                let attempts = delivery.attempts.as_deref().unwrap_or(&none);
                (Written::of(&delivery.event, attempts), one.reason())
            })
            .collect();
        let rows: Vec<i64> = dying.iter().filter_map(|one| one.delivery().row()).collect();
        dead_letters::bury(self.pool(), Some(self.url), &letters, &rows).await
    }

    async fn clear(&self, finished: &[i64], touched: &[(i64, Attempts)]) -> Result<(), StoreError> {
        if !finished.is_empty() {
            backlog::delete(self.pool(), self.url, finished).await?;
        }
        if !touched.is_empty() {
            let touched: Vec<Touched> = touched
                .iter()
                .map(|(seq, attempts)| Touched {
                    seq: *seq,
                    attempts: attempts.clone(),
                })
                .collect();
            backlog::touch(self.pool(), self.url, &touched).await?;
        }
        Ok(())
    }

    /// Says of each under which `seq` it was appended; of none where the backlog had it, or it was settled meanwhile.
    async fn append(&self, queued: &[super::outbox::Queued]) -> Result<Vec<Option<i64>>, StoreError> {
        let none = Attempts::default();
        let live: Vec<_> = queued.iter().filter(|one| !one.is_settled()).collect();
        let rows: Vec<Written<'_>> = live
            .iter()
            .map(|one| Written::of(&one.event, one.attempts.as_deref().unwrap_or(&none)))
            .collect();
        let newest = live.iter().rev().find(|one| one.event.origin == Origin::Stream);
        let mark = newest.map(|one| one.event.position);
        let appended = if rows.is_empty() {
            Vec::new()
        } else {
            backlog::append(self.pool(), self.url, &rows, mark.as_ref()).await?
        };
        let seqs: HashMap<(&str, i64), i64> = appended
            .iter()
            .map(|row| ((row.webhook_id.as_str(), row.replay_run), row.seq))
            .collect();
        let seq_of = |event: &Event| seqs.get(&(event.id.as_str(), event.replay_run)).copied();
        Ok(queued.iter().map(|one| seq_of(&one.event)).collect())
    }

    async fn load(&self, after: i64, rows: usize, probing: bool) -> Result<Stored, StoreError> {
        let budget = &self.shared.budget;
        let (pressed, idle) = (budget.is_pressed(), self.shared.is_idle(self.url));
        // An endpoint that does not work has no use for much, and while memory is short, for no more than one row. One that
        // works leaves room to others then: to the reader of the stream above all, which would otherwise be starved for as
        // long as a backlog is drained.
        let bytes = match (probing, pressed) {
            (true, _) => budget.slice(CHUNK_BYTES) / 16,
            (false, true) => budget.slice(CHUNK_BYTES) / 4,
            (false, false) => budget.slice(CHUNK_BYTES),
        };
        let short = pressed && (probing || !idle);
        // Room for a chunk, or for one row alone: without it, an endpoint could wait for room for ever.
        let (mut share, rows) = match budget.try_take(bytes).filter(|_| !short) {
            Some(share) => (share, rows),
            None if idle => (budget.overdraw(0), 1),
            None => return Ok(Stored::NoRoom),
        };
        let chunk = backlog::load(self.pool(), self.url, after, rows, bytes).await?;
        let rows = chunk
            .rows
            .into_iter()
            .map(|row| loaded(row, &mut share, budget))
            .collect();
        Ok(Stored::Loaded { rows, end: chunk.end })
    }

    /// Looks through one page of the backlog. The next one is another piece of work, so that a large backlog keeps neither
    /// this endpoint's appends waiting nor other endpoints.
    async fn sweep(&self, after: i64, keep: &Keep, except: &[i64]) -> Result<Stored, StoreError> {
        let page = backlog::page(self.pool(), self.url, after, SWEEP_ROWS).await?;
        let mut removed = Removed::default();
        for kind in &page.kinds {
            let table = TableName {
                schema: kind.schema.clone(),
                table: kind.table.clone(),
                root: kind.root.clone(),
            };
            if let Some(last) = page.last
                && !keep(self.url, &table, kind.action)
            {
                let gone = backlog::discard_kind(self.pool(), self.url, kind, (after, last), except).await?;
                removed.rows += gone.rows;
                removed.bytes += gone.bytes;
            }
        }
        Ok(Stored::Swept {
            removed,
            last: page.last,
        })
    }

    async fn retain(
        &self,
        before: Option<SystemTime>,
        excess_rows: u64,
        excess_bytes: u64,
        except: &[i64],
    ) -> Result<Stored, StoreError> {
        let nothing = Stored::Recorded;
        let too_old = match before {
            Some(before) => {
                let oldest = backlog::oldest(self.pool(), self.url, REMOVE_ROWS, except).await?;
                oldest.is_some_and(|oldest| oldest < before)
            }
            None => false,
        };
        let too_many = excess_rows > 0 || excess_bytes > 0;
        if !too_old && !too_many {
            return Ok(nothing);
        }
        if self.shared.limits.strict {
            self.shared.must_stop(format!(
                "the backlog of an endpoint is beyond its bounds: {}",
                self.outbox.target()
            ));
            return Ok(nothing);
        }
        let too_much = match before {
            Some(before) if !too_many => TooMuch::Before(before),
            _ => TooMuch::Excess {
                rows: excess_rows,
                bytes: excess_bytes,
            },
        };
        let buried = backlog::bury_oldest(self.pool(), self.url, REMOVE_ROWS, too_much, except).await?;
        if buried.rows == 0 {
            // All of it is in memory, and about to be delivered.
            return Ok(nothing);
        }
        if let Some(suppressed) = self.outbox.told().bounds.admit(Instant::now()) {
            warn!(self.shared.log, "the backlog of an endpoint was beyond its bounds; the oldest events became dead letters";
                "event" => "backlog_beyond_bounds", "endpoint" => %self.outbox.target(), "events" => buried.rows,
                "suppressed" => suppressed);
        }
        Ok(Stored::Expired(buried))
    }
}

/// The store's answer, if it comes in time. One that does not may have been done all the same, as with any that fails.
async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(DEADLINE, answer)
        .await
        .unwrap_or(Err(StoreError::Slow {
            seconds: DEADLINE.as_secs(),
        }))
}

/// What was done with what was given, or what was given and why it could not be done.
fn with<G, T>(
    outcome: Result<T, StoreError>,
    given: G,
    done: impl FnOnce(G, T) -> Stored,
    back: impl FnOnce(G) -> StoreWork,
) -> Done {
    match outcome {
        Ok(value) => Ok(done(given, value)),
        Err(error) => Err(Box::new((back(given), error))),
    }
}

fn loaded(row: Row, share: &mut Share, budget: &Arc<Budget>) -> Loaded {
    let bytes = row.payload.len() as u64;
    // What a delivery takes in memory beside its payload.
    let charge = bytes + ROW_OVERHEAD;
    let mut own = share.split_off(charge);
    if own.bytes() < charge {
        // One row larger than a chunk, or many small ones.
        own = budget.overdraw(charge);
    }
    let Row {
        seq,
        webhook_id,
        replay_run,
        origin,
        schema,
        table,
        root,
        action,
        place,
        position,
        payload,
        attempts,
        appended_at,
    } = row;
    let event = Event {
        id: webhook_id,
        table: Arc::new(TableName { schema, table, root }),
        action,
        position,
        origin,
        replay_run,
        place: place.into(),
        payload,
        share: own,
    };
    Loaded {
        seq,
        appended_at,
        event,
        attempts,
    }
}
