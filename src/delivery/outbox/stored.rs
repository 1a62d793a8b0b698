//! What follows from the work that the store has done, or could not do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::backing::{Backing, Delivery, Half};
use super::super::model::Removed;
use super::backlog::{Dying, Queued};
use super::work::{Loaded, NO_ROOM, StoreWork, Stored};
use super::{Next, Outbox, Settled, State};

impl Outbox {
    /// The store has done its work.
    pub(in crate::delivery) fn stored(&self, stored: Stored, now: Instant) -> Next {
        let mut state = self.lock();
        let mut next = Next::default();
        match stored {
            Stored::Buried(dying) => state.buried(dying, now, &mut next),
            Stored::Cleared(finished) => state.cleared(&finished),
            Stored::Appended { queued, seqs } => {
                state.appended(queued, &seqs, now, &mut next);
                let look = now + self.policy.retention.interval();
                state.backlog.retain_at.get_or_insert(look);
                if state.backlog.exceeds(self.policy.retention) {
                    state.backlog.retain_at = Some(now);
                }
            }
            Stored::Loaded { rows, end } => state.loaded(self.target.url(), rows, end, now),
            Stored::NoRoom => state.no_room(now),
            Stored::Swept { removed, last } => {
                state.removed(removed);
                state.counts.discarded += removed.rows;
                // Another sweep that has begun meanwhile goes first.
                state.backlog.sweep_after = state.backlog.sweep_after.or(last);
            }
            Stored::Expired(removed) => {
                state.removed(removed);
                state.counts.dead += removed.rows;
                state.backlog.retain_at = Some(now);
            }
            Stored::Recorded => {}
        }
        state.next(now, next)
    }

    /// The store could not do it: everything is as before, and is tried again after `pause`.
    pub(in crate::delivery) fn not_stored(&self, work: StoreWork, pause: Duration, now: Instant) -> Next {
        let mut state = self.lock();
        let backlog = &mut state.backlog;
        match work {
            StoreWork::Bury(dying) => dying
                .into_iter()
                .rev()
                .for_each(|one| backlog.dying.push_front(one)),
            StoreWork::Clear { finished, touched } => {
                backlog.finished.extend(finished);
                backlog.flush_at = Some(now);
                for (seq, attempts) in touched {
                    backlog.touched.entry(seq).or_insert(attempts);
                }
            }
            StoreWork::Append(queued) => {
                backlog.appending = false;
                // It may have been done all the same: then there are rows that nobody knows of.
                backlog.in_doubt = true;
                backlog.unloaded = true;
                backlog.disturbed = true;
                queued
                    .into_iter()
                    .rev()
                    .for_each(|one| backlog.queue.push_front(one));
            }
            StoreWork::Load { .. } => {}
            StoreWork::Sweep { after, .. } => {
                backlog.sweep_after.get_or_insert(after);
            }
            StoreWork::Retain { .. } => backlog.retain_at = Some(now),
            StoreWork::RecordHealth(state, reason) => {
                backlog.health.get_or_insert((state, reason));
            }
            StoreWork::Disable(reason) => backlog.disable = Some(reason),
        }
        backlog.blocked_until = Some(now + pause);
        state.next(now, Next::default())
    }
}

impl State {
    fn buried(&mut self, dying: Vec<Dying>, now: Instant, next: &mut Next) {
        for Dying { delivery, .. } in dying {
            let row = delivery.row();
            if let Some(seq) = row {
                // Deleted together with the writing of the dead letter.
                self.forget_row(seq, delivery.event.payload.len() as u64);
                next.settled.push(Settled::new(delivery.event, None));
            } else {
                self.settle(delivery, now, &mut next.settled);
            }
        }
    }

    /// There is no room for rows now. What waits in memory to be behind them may be what takes it: then it goes to the backlog
    /// after all.
    fn no_room(&mut self, now: Instant) {
        self.backlog.no_room_until = Some(now + NO_ROOM);
        self.backlog.hurry |= self.lanes.is_empty() && !self.backlog.queue.is_empty();
    }

    /// Rows that were not in memory are gone.
    fn removed(&mut self, removed: Removed) {
        let backlog = &mut self.backlog;
        backlog.total_rows = backlog.total_rows.saturating_sub(removed.rows);
        backlog.total_bytes = backlog.total_bytes.saturating_sub(removed.bytes);
    }

    fn forget_row(&mut self, seq: i64, bytes: u64) {
        self.backlog.rows.remove(&seq);
        self.backlog.touched.remove(&seq);
        self.backlog.total_rows = self.backlog.total_rows.saturating_sub(1);
        self.backlog.total_bytes = self.backlog.total_bytes.saturating_sub(bytes);
    }

    fn cleared(&mut self, finished: &[i64]) {
        for seq in finished {
            let bytes = self.backlog.rows.get(seq).copied().unwrap_or_default();
            self.forget_row(*seq, bytes);
        }
    }

    /// The rows are durable, and so what is theirs of the stream is settled.
    fn appended(&mut self, queued: Vec<Queued>, seqs: &[Option<i64>], now: Instant, next: &mut Next) {
        self.backlog.appending = false;
        self.backlog.in_doubt = false;
        for (queued, seq) in queued.into_iter().zip(seqs) {
            let Queued {
                event, token, other, ..
            } = queued;
            let bytes = event.payload.len() as u64;
            self.backlog.leaving = self.backlog.leaving.saturating_sub(event.share.bytes());
            if seq.is_some() {
                self.backlog.total_rows += 1;
                self.backlog.total_bytes += bytes;
                self.counts.appended += 1;
            }
            match (other.map(|(_, cell)| (cell.get(), cell)), *seq) {
                (Some((Half::Pending, cell)), Some(seq)) => {
                    cell.set(Half::Row(seq));
                    self.backlog.rows.insert(seq, bytes);
                }
                (Some((Half::Pending, cell)), None) => cell.set(Half::Known),
                (Some((Half::Settled, _)), Some(seq)) => self.backlog.finish_row(seq, bytes, now),
                (Some((Half::Settled, _)), None) => {}
                _ => self.backlog.unloaded = true,
            }
            next.settled.push(Settled::new(event, Some(token)));
        }
    }

    fn loaded(&mut self, url: &str, rows: Vec<Loaded>, end: bool, now: Instant) {
        if self.backlog.disturbed {
            // Rows left memory meanwhile, or came from another hand: what was read may begin in the wrong place.
            return;
        }
        for Loaded {
            seq,
            appended_at,
            event,
            attempts,
        } in rows
        {
            self.backlog.cursor = seq;
            if self.backlog.rows.contains_key(&seq) {
                continue;
            }
            let bytes = event.payload.len() as u64;
            let keep = self.backlog.keep.as_ref();
            if event.origin.needs_subscription()
                && keep.is_some_and(|keep| !keep(url, &event.table, event.action))
            {
                self.counts.discarded += 1;
                self.backlog.finish_row(seq, bytes, now);
                continue;
            }
            self.backlog.rows.insert(seq, bytes);
            self.admit(Delivery {
                event: Arc::new(event),
                backing: Backing::Row(seq),
                attempts: (attempts.count > 0).then(|| Box::new(attempts)),
                appended_at: Some(appended_at),
                since: now,
            });
        }
        if end && !self.backlog.grew {
            self.backlog.unloaded = false;
        }
    }
}
