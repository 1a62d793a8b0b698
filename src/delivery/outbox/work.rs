//! What an outbox has the store do, one piece at a time, and what follows from it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::backing::{Delivery, Half};
use super::super::model::{Attempts, Removed};
use super::backlog::{Dying, Keep, Queued, Route};
use super::{Next, Outbox, Policy, State};
use crate::endpoint::HealthState;
use crate::event::{Event, Position};

/// How many rows are written or deleted at one time.
const BATCH_ROWS: usize = 500;
/// How many bytes of payload are written at one time, but for one larger event.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// How many rows are loaded at one time.
const CHUNK_ROWS: usize = 512;
/// How many bytes of payload are, but for one larger row.
pub(in crate::delivery) const CHUNK_BYTES: u64 = 1024 * 1024;
/// With fewer deliveries in the lanes, the next chunk is loaded.
const LOW_WATER: usize = 256;
/// With so many deliveries in the lanes, no more are loaded, whatever they wait for.
const MOST_ROWS: usize = 16_384;
/// With so many bytes in the lanes, no more are loaded while anything can move.
const MOST_BYTES: u64 = 8 * CHUNK_BYTES;
/// For an endpoint that does not work: how many lanes whose heads were tried are enough.
const MOST_PROBE_HEADS: usize = 512;
/// The same as [`MOST_ROWS`] for such an endpoint.
const MOST_PROBE_ROWS: usize = 8 * 1024;
/// With so many bytes in the lanes, no more are loaded for such an endpoint.
const MOST_PROBE_BYTES: u64 = 2 * CHUNK_BYTES;
/// How many rows are loaded for an endpoint that does not work: the heads of lanes to be tried in turn.
const PROBE_ROWS: usize = 32;
/// When room for a chunk is looked for again.
pub(super) const NO_ROOM: Duration = Duration::from_millis(50);

/// One piece of work for the store.
pub(in crate::delivery) enum StoreWork {
    /// Write dead letters, and delete the rows they come from.
    Bury(Vec<Dying>),
    /// Delete rows that are done with, and write down what was tried.
    Clear {
        /// Rows to be deleted.
        finished: Vec<i64>,
        /// Attempts to be written down.
        touched: Vec<(i64, Attempts)>,
    },
    /// Append to the backlog.
    Append(Vec<Queued>),
    /// Read from the backlog.
    Load {
        /// Rows behind this `seq`.
        after: i64,
        /// So many.
        rows: usize,
        /// Whether it is only to try an endpoint that does not work.
        probing: bool,
    },
    /// Discard rows that nobody is subscribed to, of some.
    Sweep {
        /// Those behind this `seq`.
        after: i64,
        /// What somebody is.
        keep: Keep,
        /// Rows that are in memory.
        except: Vec<i64>,
    },
    /// See that the backlog is within its bounds.
    Retain {
        /// What was first tried or written before this is too old.
        before: Option<SystemTime>,
        /// So many rows are too many.
        excess_rows: u64,
        /// So many bytes are too many.
        excess_bytes: u64,
        /// Rows that are in memory.
        except: Vec<i64>,
    },
    /// Write down how the endpoint does.
    RecordHealth(HealthState, Option<Arc<str>>),
    /// Write down that it is disabled.
    Disable(&'static str),
}

/// A row as it comes back from the backlog.
pub(in crate::delivery) struct Loaded {
    pub(in crate::delivery) seq: i64,
    /// When it was written.
    pub(in crate::delivery) appended_at: SystemTime,
    pub(in crate::delivery) event: Event,
    pub(in crate::delivery) attempts: Attempts,
}

/// What the store has done.
pub(in crate::delivery) enum Stored {
    /// The dead letters are written.
    Buried(Vec<Dying>),
    /// The rows are deleted.
    Cleared(Vec<i64>),
    /// These were appended; `seqs` says under which `seq`, or that the backlog had them before.
    Appended {
        /// What was given.
        queued: Vec<Queued>,
        /// For each of it.
        seqs: Vec<Option<i64>>,
    },
    /// These were read.
    Loaded {
        /// In the order of their `seq`.
        rows: Vec<Loaded>,
        /// Whether nothing was behind them.
        end: bool,
    },
    /// There was no room for what would have been read.
    NoRoom,
    /// So much was discarded.
    Swept {
        /// Which nobody is subscribed to.
        removed: Removed,
        /// The last row that was looked at; nothing where there was none.
        last: Option<i64>,
    },
    /// So much became dead letters for its age or number, and there may be more.
    Expired(Removed),
    /// Something was written down.
    Recorded,
}

impl Outbox {
    /// The next piece of work for the store. A keeper asks, which has the outbox to itself.
    pub(in crate::delivery) fn store_work(&self, now: Instant) -> (Option<StoreWork>, Next) {
        let mut state = self.lock();
        let mut next = Next::default();
        state.join_if_drained(now, &mut next);
        let work = state.pick(now, &self.policy, &mut next);
        (work, state.next(now, next))
    }

    /// The keeper leaves.
    pub(in crate::delivery) fn end_keeping(&self, now: Instant) -> Next {
        let mut state = self.lock();
        state.backlog.kept = false;
        state.next(now, Next::default())
    }

    /// What was found in the store at the start.
    pub(in crate::delivery) fn recover(
        &self,
        rows: u64,
        bytes: u64,
        mark: Option<Position>,
        ill: bool,
        now: Instant,
    ) -> Next {
        let mut state = self.lock();
        state.backlog.counted = rows == 0;
        state.backlog.mark = mark;
        state.backlog.health_recorded = ill;
        if ill && rows == 0 {
            // Written down by a program that was stopped meanwhile: it has to show again that it is ill.
            state.backlog.health = Some((state.health.state(), None));
        }
        state.stored_elsewhere(rows, bytes, now);
        state.next(now, Next::default())
    }

    /// The whole backlog was counted, which the start did not wait for.
    pub(in crate::delivery) fn counted(&self, rows: u64, bytes: u64, now: Instant) -> Next {
        let mut state = self.lock();
        state.backlog.counted = true;
        if state.backlog.route == Route::Direct {
            // It was drained meanwhile.
            return state.next(now, Next::default());
        }
        state.backlog.total_rows = rows;
        state.backlog.total_bytes = bytes;
        if state.backlog.exceeds(self.policy.retention) {
            state.backlog.retain_at = Some(now);
        }
        state.next(now, Next::default())
    }

    /// So much was put behind what is stored for this endpoint. It has nothing that would have to come before in memory.
    pub(in crate::delivery) fn grew(&self, rows: u64, bytes: u64, now: Instant) -> Next {
        let mut state = self.lock();
        let mut next = Next::default();
        if state.backlog.route == Route::Direct {
            // What is in memory has to be in the store as well before anything that comes later.
            let spilled = state.spill("changes that were held for it are released");
            next.changes.extend(spilled);
            state.backlog.route = Route::Behind;
        }
        state.backlog.total_rows += rows;
        state.backlog.total_bytes += bytes;
        state.backlog.unloaded = true;
        state.backlog.grew = true;
        let look = now + self.policy.retention.interval();
        state.backlog.retain_at.get_or_insert(look);
        if state.backlog.exceeds(self.policy.retention) {
            state.backlog.retain_at = Some(now);
        }
        state.next(now, next)
    }

    /// Another hand has changed what is stored for this endpoint; how much that is has to be counted.
    pub(in crate::delivery) fn changed_elsewhere(&self, has_rows: bool, now: Instant) -> Next {
        let mut state = self.lock();
        let mut next = Next::default();
        if has_rows || state.backlog.route == Route::Behind {
            // What is in memory may be gone, or belong to another endpoint now: it is read again.
            let spilled = state.spill("an operator has changed its backlog");
            next.changes.extend(spilled);
        }
        state.backlog.counted = !has_rows;
        state.stored_elsewhere(u64::from(has_rows), 0, now);
        state.next(now, next)
    }
}

impl State {
    fn stored_elsewhere(&mut self, rows: u64, bytes: u64, now: Instant) {
        self.backlog.total_rows = rows;
        self.backlog.total_bytes = bytes;
        if rows > 0 {
            self.backlog.retain_at.get_or_insert(now);
            self.backlog.look_again();
        }
    }

    /// Whether a keeper has to be sent for. It is counted as being on its way from then on.
    pub(super) fn wants_keeper(&mut self, now: Instant) -> bool {
        if self.backlog.kept || !self.has_store_work(now) {
            return false;
        }
        self.backlog.kept = true;
        true
    }

    fn has_store_work(&mut self, now: Instant) -> bool {
        if self.backlog.blocked_until.is_some_and(|until| until > now) {
            return false;
        }
        let backlog = &self.backlog;
        !backlog.dying.is_empty() || self.wants_append() || self.has_other_work(now) || self.wants_load(now)
    }

    /// Whether there is work that neither adds to the backlog nor reads it.
    fn has_other_work(&self, now: Instant) -> bool {
        self.is_flush_due(now)
            || self.backlog.sweep_after.is_some()
            || self.backlog.health.is_some()
            || self.backlog.disable.is_some()
            || self.backlog.retain_at.is_some_and(|at| at <= now)
    }

    fn wants_append(&self) -> bool {
        self.backlog.route == Route::Behind && !self.backlog.queue.is_empty() && !self.holds_queue()
    }

    /// Whether so little of the backlog is left that it is not worth appending to it: what is queued waits in memory until
    /// the rest is loaded, and joins it.
    pub(super) fn holds_queue(&self) -> bool {
        let left = self
            .backlog
            .total_rows
            .saturating_sub(self.backlog.rows.len() as u64);
        self.health.is_well()
            && self.backlog.counted
            && !self.backlog.hurry
            && !self.backlog.in_doubt
            && left <= CHUNK_ROWS as u64
    }

    fn is_flush_due(&self, now: Instant) -> bool {
        self.backlog.finished.len() >= BATCH_ROWS || self.backlog.flush_at.is_some_and(|at| at <= now)
    }

    fn wants_load(&self, now: Instant) -> bool {
        let backlog = &self.backlog;
        // Counted is what can move: what waits behind a row that fails must not keep the other rows from being loaded.
        let moving = self.lanes.ready_len() + self.lanes.in_flight();
        let enough = if self.health.is_well() {
            moving >= LOW_WATER.max(self.settings.batch.size * 2)
                || self.lanes.len() >= MOST_ROWS
                || (moving > 0 && self.charge >= MOST_BYTES)
        } else {
            // The rows of one lane that fails may be many: the heads of others are behind them.
            moving > 0
                || self.lanes.delayed() >= MOST_PROBE_HEADS
                || self.lanes.len() >= MOST_PROBE_ROWS
                || self.charge >= MOST_PROBE_BYTES
        };
        backlog.route == Route::Behind
            && backlog.unloaded
            && backlog.no_room_until.is_none_or(|until| until <= now)
            && !enough
            && self.health.is_permitted()
            && self.next_order.is_none()
            && !self.stopped
    }

    /// The next piece of work, in the order that the invariants ask for: a dead letter is written before anything later
    /// is appended, since the mark says of everything before it that it is dealt with; rows that are done with are deleted
    /// before others are read.
    fn pick(&mut self, now: Instant, policy: &Policy, next: &mut Next) -> Option<StoreWork> {
        if self.backlog.blocked_until.is_some_and(|until| until > now) {
            return None;
        }
        self.backlog.blocked_until = None;
        if !self.backlog.dying.is_empty() {
            let count = self.backlog.dying.len().min(BATCH_ROWS);
            return Some(StoreWork::Bury(self.backlog.dying.drain(..count).collect()));
        }
        let loads = self.wants_load(now);
        // Under a steady stream there is always something to append: then it takes turns with what drains the backlog.
        let yields = std::mem::take(&mut self.backlog.appended_last) && (loads || self.has_other_work(now));
        if self.wants_append() && !yields {
            self.backlog.appending = true;
            self.backlog.appended_last = true;
            return Some(StoreWork::Append(self.next_append()));
        }
        if self.is_flush_due(now) || (loads && !self.backlog.finished.is_empty()) {
            return Some(self.clear(now));
        }
        if let Some(reason) = self.backlog.disable.take() {
            return Some(StoreWork::Disable(reason));
        }
        if let Some((health, reason)) = self.backlog.health.take() {
            self.backlog.health_recorded = health != HealthState::Healthy;
            return Some(StoreWork::RecordHealth(health, reason));
        }
        // A long sweep takes turns with what drains the backlog.
        if !(std::mem::take(&mut self.backlog.swept_last) && loads)
            && let Some(work) = self.next_sweep()
        {
            return Some(work);
        }
        if self.backlog.retain_at.is_some_and(|at| at <= now) {
            return self.retain(now, policy, next);
        }
        loads.then(|| {
            self.backlog.disturbed = false;
            self.backlog.grew = false;
            let probing = !self.health.is_well();
            let rows = if probing {
                PROBE_ROWS
            } else {
                CHUNK_ROWS.max(self.settings.batch.size)
            };
            StoreWork::Load {
                after: self.backlog.cursor,
                rows,
                probing,
            }
        })
    }

    fn next_sweep(&mut self) -> Option<StoreWork> {
        let keep = Arc::clone(self.backlog.keep.as_ref()?);
        let after = self.backlog.sweep_after.take()?;
        self.backlog.swept_last = true;
        Some(StoreWork::Sweep {
            after,
            keep,
            except: self.backlog.rows.keys().copied().collect(),
        })
    }

    fn next_append(&mut self) -> Vec<Queued> {
        let mut bytes = 0;
        let fits = |queued: &&Queued| {
            let first = bytes == 0;
            bytes += queued.event.payload.len() as u64;
            first || bytes <= BATCH_BYTES
        };
        let count = self
            .backlog
            .queue
            .iter()
            .take(BATCH_ROWS)
            .take_while(fits)
            .count();
        let next = self.backlog.queue.drain(..count.max(1)).collect();
        self.backlog.hurry &= !self.backlog.queue.is_empty();
        next
    }

    fn clear(&mut self, now: Instant) -> StoreWork {
        let backlog = &mut self.backlog;
        let rest = backlog
            .finished
            .split_off(backlog.finished.len().min(2 * BATCH_ROWS));
        let finished = std::mem::replace(&mut backlog.finished, rest);
        let touched = backlog.touched.drain().collect();
        backlog.flush_at = (!backlog.finished.is_empty()).then_some(now);
        StoreWork::Clear { finished, touched }
    }
}

impl Queued {
    /// Whether its other half was settled while it waited, so that nothing is to be written.
    pub(in crate::delivery) fn is_settled(&self) -> bool {
        self.other
            .as_ref()
            .is_some_and(|(_, cell)| cell.get() == Half::Settled)
    }
}

impl Dying {
    /// What dies.
    pub(in crate::delivery) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Why.
    pub(in crate::delivery) fn reason(&self) -> &'static str {
        self.reason
    }
}
