//! The route of an endpoint's deliveries: straight into the lanes, or behind its backlog.
//!
//! # The invariants
//!
//! **Nothing is lost.** Each delivery has one backing at any time ([`Backing`]): the stream, which sends it again as
//! long as its token is not settled; or a row of the backlog. A token is settled only when its delivery is delivered,
//! discarded, or its row or dead letter is committed. A row is deleted only when its delivery is settled or its dead
//! letter is in the same commit.
//!
//! **Order.** At any time an endpoint's deliveries stand in the order of the stream: first what is in the lanes (with
//! what is in flight), then the rows of the backlog that are not in memory, by `seq`, then the queue. Rows are loaded into
//! the lanes from the front, and the queue is appended at the back; the lanes get what is in the queue only when no
//! row is left between them. A spill moves everything from the lanes to the queue, at a time when there are no such
//! rows, so the order holds. What is in flight then is in both: the half in the lanes keeps its place until the
//! exchange ends; the half in the queue becomes its row.
//!
//! **One keeper.** All work for the store is done by one keeper at a time, one piece after the other. So a load never
//! meets an append, and `seq` order is the order of appending.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::backing::{Backing, Delivery, Half, RowCell};
use super::super::lanes::{Lanes, Member};
use super::super::model::Attempts;
use super::{Change, Next, Retention, Settled, State};
use crate::endpoint::HealthState;
use crate::event::{Event, Position, TableName};
use crate::progress::SettleToken;

/// How long rows that are done with wait for more, to be deleted together.
const GATHER: Duration = Duration::from_millis(100);

/// Says of an endpoint's URL, a table and a kind of change whether it is subscribed to at the time of asking: what was
/// unsubscribed may be subscribed to again while rows wait.
pub(in crate::delivery) type Keep = Arc<dyn Fn(&str, &TableName, char) -> bool + Send + Sync>;

/// Which way new deliveries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Route {
    /// Into the lanes.
    #[default]
    Direct,
    /// Into the queue, which is appended to the backlog.
    Behind,
}

/// What of an endpoint's deliveries is in the backlog, or on the way to or from it.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) route: Route,
    /// What is to be appended, in the order of the stream.
    pub(super) queue: VecDeque<Queued>,
    /// The bytes of the queue and of what is being appended.
    pub(super) leaving: u64,
    /// Rows that are in memory or wait to be deleted, with their bytes.
    pub(super) rows: HashMap<i64, u64>,
    /// Rows up to this `seq` have been loaded.
    pub(super) cursor: i64,
    /// Whether there may be rows beyond the cursor that are not in memory.
    pub(super) unloaded: bool,
    /// Whether what a load under way brings is out of date.
    pub(super) disturbed: bool,
    /// Whether rows were added while a load was under way, which may not have seen them.
    pub(super) grew: bool,
    /// Rows to be deleted.
    pub(super) finished: Vec<i64>,
    /// Rows that were tried again, with what came of it.
    pub(super) touched: HashMap<i64, Attempts>,
    /// What is to become a dead letter.
    pub(super) dying: VecDeque<Dying>,
    /// When what was gathered for the store is written.
    pub(super) flush_at: Option<Instant>,
    /// When room in the budget is looked for again.
    pub(super) no_room_until: Option<Instant>,
    /// When the store is asked again.
    pub(super) blocked_until: Option<Instant>,
    /// Whether a keeper is at work here or on its way.
    pub(super) kept: bool,
    /// Whether an append is under way.
    pub(super) appending: bool,
    /// Whether an append was given up that the store may still carry out: until the next one, which waits for it, there may be
    /// rows to come that nobody knows of.
    pub(super) in_doubt: bool,
    /// Whether the totals are those of the whole backlog; after a start they have to be counted first.
    pub(super) counted: bool,
    /// Whether the queue is to be appended even if it could wait in memory.
    pub(super) hurry: bool,
    /// Whether that was the last work for the store.
    pub(super) appended_last: bool,
    pub(super) total_rows: u64,
    pub(super) total_bytes: u64,
    /// When the bounds of the backlog are looked at again.
    pub(super) retain_at: Option<Instant>,
    /// Up to here everything of the stream was dealt with before the start.
    pub(super) mark: Option<Position>,
    /// A state of health to be recorded, and the reason.
    pub(super) health: Option<(HealthState, Option<Arc<str>>)>,
    /// Whether any state was recorded, and so healthy has to be, too.
    pub(super) health_recorded: bool,
    /// The reason why the endpoint is to be disabled.
    pub(super) disable: Option<&'static str>,
    /// What is still subscribed to, if that has changed.
    pub(super) keep: Option<Keep>,
    /// Behind which row they are to be looked through for what nobody is subscribed to, if they are.
    pub(super) sweep_after: Option<i64>,
    /// Whether that was the last work for the store.
    pub(super) swept_last: bool,
}

/// A delivery on its way to the backlog.
#[derive(Debug)]
pub(in crate::delivery) struct Queued {
    pub(in crate::delivery) event: Arc<Event>,
    pub(super) token: SettleToken,
    pub(in crate::delivery) attempts: Option<Box<Attempts>>,
    since: Instant,
    /// The other half, which is in flight or was.
    pub(super) other: Option<(Member, Arc<RowCell>)>,
}

/// A delivery that is to become a dead letter.
#[derive(Debug)]
pub(in crate::delivery) struct Dying {
    pub(super) delivery: Delivery,
    pub(super) reason: &'static str,
}

impl Backlog {
    /// Whether this change of the stream was settled or written to the backlog before the start. The stream goes
    /// forward, so the first change that was not ends the question.
    pub(super) fn has_had(&mut self, position: &Position) -> bool {
        let had = self.mark.is_some_and(|mark| position.is_before(&mark));
        if !had {
            self.mark = None;
        }
        had
    }

    pub(super) fn enqueue(&mut self, delivery: Delivery) {
        let charge = delivery.charge();
        let Delivery {
            event,
            backing,
            attempts,
            since,
            ..
        } = delivery;
        // Only what comes from the stream is ever queued: rows are where the queue leads.
        if let Backing::Stream(token) = backing {
            self.leaving += charge;
            self.queue.push_back(Queued {
                event,
                token,
                attempts,
                since,
                other: None,
            });
        }
    }

    /// How many deliveries wait for the store.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.dying.len()
    }

    pub(super) fn leaving(&self) -> u64 {
        self.leaving
    }

    pub(super) fn record_health(&mut self, state: HealthState, reason: Option<Arc<str>>) {
        // An endpoint that has always been well is not worth a row.
        if state != HealthState::Healthy || self.health_recorded || self.health.is_some() {
            self.health = Some((state, reason));
        }
    }

    /// Whether anything is to be written that would be done again after a restart.
    pub(super) fn has_unwritten(&self) -> bool {
        let queued = self.route == Route::Behind && !self.queue.is_empty();
        self.kept || queued || !self.dying.is_empty() || !self.finished.is_empty()
    }

    /// When something of it is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let no_room = self.no_room_until.filter(|_| self.unloaded);
        let due = [self.flush_at, self.retain_at, no_room]
            .into_iter()
            .flatten()
            .min();
        if self.kept {
            None
        } else {
            self.blocked_until.or(due)
        }
    }

    /// Forgets what was waited for until now.
    pub(super) fn forget_past(&mut self, now: Instant) {
        self.no_room_until = self.no_room_until.filter(|until| *until > now);
        self.blocked_until = self.blocked_until.filter(|until| *until > now);
    }

    /// Whether there may be rows of it at all.
    pub(super) fn has_rows(&self) -> bool {
        self.total_rows > 0 || self.route == Route::Behind || !self.rows.is_empty()
    }

    /// Whether there is more of it than is kept.
    pub(super) fn exceeds(&self, retention: Retention) -> bool {
        self.total_rows > retention.rows || self.total_bytes > retention.bytes
    }

    /// A row that is done with.
    pub(super) fn finish_row(&mut self, seq: i64, bytes: u64, now: Instant) {
        self.rows.insert(seq, bytes);
        self.touched.remove(&seq);
        self.finished.push(seq);
        self.flush_at.get_or_insert(now + GATHER);
    }

    /// A row was tried again in vain.
    pub(super) fn touch(&mut self, seq: i64, attempts: Attempts, now: Instant) {
        self.touched.insert(seq, attempts);
        self.flush_at.get_or_insert(now + 10 * GATHER);
    }

    /// A row leaves memory unsettled: it will be loaded again.
    fn unload(&mut self, seq: i64) {
        self.rows.remove(&seq);
        self.cursor = self.cursor.min(seq - 1);
        self.unloaded = true;
        self.disturbed = true;
    }

    /// What is stored may have changed by another hand.
    pub(super) fn look_again(&mut self) {
        self.unloaded = true;
        self.disturbed = true;
        self.route = Route::Behind;
    }
}

impl State {
    /// Moves everything from the lanes to the backlog.
    pub(super) fn spill(&mut self, why: &'static str) -> Option<Change> {
        let mut moved: Vec<(u64, Queued)> = Vec::new();
        for (arrival, delivery) in self.lanes.evict() {
            self.charge = self.charge.saturating_sub(delivery.charge());
            let Delivery {
                event,
                backing,
                attempts,
                since,
                ..
            } = delivery;
            match backing {
                Backing::Stream(token) => {
                    moved.push((
                        arrival,
                        Queued {
                            event,
                            token,
                            attempts,
                            since,
                            other: None,
                        },
                    ));
                }
                Backing::Row(seq) => self.backlog.unload(seq),
                Backing::Appending(cell) => match cell.get() {
                    Half::Row(seq) => self.backlog.unload(seq),
                    // Its row is somewhere in the backlog.
                    Half::Known => self.backlog.unload(1),
                    Half::Pending | Half::Settled | Half::Dissolved => cell.set(Half::Dissolved),
                },
            }
        }
        for (arrival, member) in self.lanes.in_flight_members() {
            let delivery = self.lanes.get_mut(member);
            if matches!(delivery.backing, Backing::Stream(_)) {
                let cell = RowCell::pending();
                let half = Backing::Appending(Arc::clone(&cell));
                let Backing::Stream(token) = std::mem::replace(&mut delivery.backing, half) else {
                    continue;
                };
                let queued = Queued {
                    event: Arc::clone(&delivery.event),
                    token,
                    attempts: delivery.attempts.clone(),
                    since: delivery.since,
                    other: Some((member, cell)),
                };
                moved.push((arrival, queued));
            }
        }
        moved.sort_unstable_by_key(|(arrival, _)| *arrival);
        self.backlog.leaving += moved
            .iter()
            .map(|(_, queued)| queued.event.share.bytes())
            .sum::<u64>();
        self.backlog
            .queue
            .extend(moved.into_iter().map(|(_, queued)| queued));
        self.backlog.hurry = !self.backlog.queue.is_empty();
        let begins = self.backlog.route == Route::Direct;
        self.backlog.route = Route::Behind;
        if begins {
            // Until it was looked at: what is in the queue has to go through the backlog, and not back at once.
            self.backlog.unloaded = true;
        }
        begins.then_some(Change::Spilled(why))
    }

    /// Ends the detour over the backlog if no row is left that is not in memory: the queue joins the lanes.
    pub(super) fn join_if_drained(&mut self, now: Instant, next: &mut Next) {
        if let Some(order) = self.next_order
            && self.lanes.is_empty()
        {
            self.lanes = Lanes::new(order);
            self.next_order = None;
        }
        let drained = self.backlog.route == Route::Behind
            && !self.backlog.unloaded
            && !self.backlog.appending
            && !self.backlog.in_doubt;
        if !drained || !self.health.is_well() || self.next_order.is_some() || self.stopped {
            return;
        }
        // What dies is written first: only then is it known that its other half is not to be delivered.
        let dies = |queued: &Queued| {
            let other = queued.other.as_ref();
            other.is_some_and(|(member, cell)| cell.get() == Half::Pending && !self.lanes.holds(*member))
        };
        if self.backlog.queue.iter().any(dies) {
            return;
        }
        for Queued {
            event,
            token,
            attempts,
            since,
            other,
        } in std::mem::take(&mut self.backlog.queue)
        {
            self.backlog.leaving = self.backlog.leaving.saturating_sub(event.share.bytes());
            match other.map(|(member, cell)| (member, cell.get())) {
                Some((member, Half::Pending)) => self.lanes.get_mut(member).backing = Backing::Stream(token),
                Some((_, Half::Settled)) => next.settled.push(Settled::new(event, Some(token))),
                _ => self.admit(Delivery {
                    event,
                    backing: Backing::Stream(token),
                    attempts,
                    appended_at: None,
                    since,
                }),
            }
        }
        self.backlog.route = Route::Direct;
        // All rows that are left are in memory. What was counted may have missed what others did meanwhile.
        self.backlog.counted = true;
        self.backlog.total_rows = self.backlog.rows.len() as u64;
        if self.backlog.rows.is_empty() {
            self.backlog.total_bytes = 0;
        }
        next.changes.push(Change::Drained);
        if let Some(transition) = self.health.drained(now) {
            let change = self.changed(transition);
            next.changes.push(change);
        }
    }

    /// A delivery left the lanes delivered or discarded.
    pub(super) fn settle(&mut self, delivery: Delivery, now: Instant, settled: &mut Vec<Settled>) {
        let Delivery { event, backing, .. } = delivery;
        let token = match backing {
            Backing::Stream(token) => Some(token),
            Backing::Row(seq) => {
                self.backlog.finish_row(seq, event.payload.len() as u64, now);
                None
            }
            Backing::Appending(cell) => {
                match cell.get() {
                    Half::Row(seq) => self.backlog.finish_row(seq, event.payload.len() as u64, now),
                    _ => cell.set(Half::Settled),
                }
                None
            }
        };
        settled.push(Settled::new(event, token));
    }

    /// Discards what is not in flight and not wanted any more.
    pub(super) fn sweep(&mut self, url: &str, keep: &Keep, now: Instant, settled: &mut Vec<Settled>) {
        let wanted =
            |event: &Event| !event.origin.needs_subscription() || keep(url, &event.table, event.action);
        for delivery in self.lanes.retain(|delivery| wanted(&delivery.event)) {
            self.charge = self.charge.saturating_sub(delivery.charge());
            self.counts.discarded += 1;
            self.settle(delivery, now, settled);
        }
        let queue = std::mem::take(&mut self.backlog.queue);
        for queued in queue {
            if wanted(&queued.event) || queued.other.is_some() {
                self.backlog.queue.push_back(queued);
            } else {
                self.backlog.leaving = self.backlog.leaving.saturating_sub(queued.event.share.bytes());
                self.counts.discarded += 1;
                settled.push(Settled::new(queued.event, Some(queued.token)));
            }
        }
        self.backlog.keep = Some(Arc::clone(keep));
        self.backlog.sweep_after = self.backlog.has_rows().then_some(0);
    }
}
