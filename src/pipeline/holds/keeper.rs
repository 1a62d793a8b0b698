//! The task that writes held changes, and moves them in the end.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{debug, info, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{Closing, HoldParts};
use crate::delivery::model::{Attempts, Hold, Written};
use crate::delivery::{Outbox, Target};
use crate::event::{Event, table_hash};
use crate::pipeline::hand_over::{LeftOut, leaves_out};
use crate::progress::SettleToken;
use crate::store::StoreError;
use crate::store::snapshot as held;
use crate::telemetry::Seldom;

/// How many changes are written at one time.
const BATCH_ROWS: usize = 1000;
/// How many are moved: more than are added meanwhile, so that it comes to an end.
const MOVE_ROWS: u32 = 4000;
/// How many bytes of payload are written at one time, but for one larger change.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// With so many left to be moved, the stream may as well wait for them.
const FEW_ROWS: u64 = 100;
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// A change that is to be held.
pub(super) struct Change {
    pub(super) hold: i64,
    pub(super) outbox: Arc<Outbox>,
    pub(super) event: Arc<Event>,
    pub(super) xid: Option<u32>,
    pub(super) token: SettleToken,
}

/// What the keeper is told.
pub(super) enum Told {
    /// Keep this change.
    Keep(Change),
    /// More may be held by this hold than its endpoint's backlog may have.
    Unbound(i64),
    /// No more than that any longer.
    Bound(i64),
    /// Nothing is to come before these any more: move what is held, but for what is left out.
    Release(Hold, Vec<LeftOut>, oneshot::Sender<()>),
    /// The last change of this hold was given over.
    Stopped(i64),
    /// Nothing is read from the stream any more.
    End,
}

/// A hold that is being released.
struct Release {
    hold: Hold,
    left_out: Vec<LeftOut>,
    outbox: Option<Arc<Outbox>>,
    stage: Stage,
    moved: u64,
    /// What was moved so far, by the order in which it was held.
    after: i64,
    /// Whether a step was given up that the store may have carried out.
    is_in_doubt: bool,
    closed: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Changes may be added all the time.
    Moving,
    /// The intake was asked to stop.
    Stopping,
    /// Nothing is added any more.
    Last,
}

pub(super) struct Keeper {
    parts: HoldParts,
    told: mpsc::UnboundedReceiver<Told>,
    closing: mpsc::UnboundedSender<Closing>,
    /// What is to be written, by hold: only within one does the order matter.
    changes: BTreeMap<i64, VecDeque<Change>>,
    releases: VecDeque<Release>,
    /// How much is held.
    bytes: HashMap<i64, u64>,
    /// Holds that may hold whatever comes.
    unbound: HashSet<i64>,
    /// Holds of which it was said that reading pauses.
    full: HashSet<i64>,
    /// Whether nothing more is read, so that all may be written that is there.
    is_ending: bool,
}

impl Keeper {
    pub(super) fn new(
        parts: HoldParts,
        told: mpsc::UnboundedReceiver<Told>,
        closing: mpsc::UnboundedSender<Closing>,
    ) -> Self {
        Self {
            parts,
            told,
            closing,
            changes: BTreeMap::new(),
            releases: VecDeque::new(),
            bytes: HashMap::new(),
            unbound: HashSet::new(),
            full: HashSet::new(),
            is_ending: false,
        }
    }

    /// Keeps and releases until nobody can tell it anything any more.
    pub(super) async fn run(mut self) {
        let seldom = Seldom::once_a_minute();
        loop {
            while let Ok(told) = self.told.try_recv() {
                self.take(told);
            }
            // In turns: neither may the stream wait for a long move, nor the other way round.
            let worked = match self.write().await {
                Ok(wrote) => self.step().await.map(|stepped| stepped || wrote),
                Err(error) => Err(error),
            };
            match worked {
                Ok(true) => {}
                Ok(false) => match self.told.recv().await {
                    Some(told) => self.take(told),
                    None => return,
                },
                Err(error) => {
                    if let Some(suppressed) = seldom.admit(Instant::now()) {
                        warn!(self.parts.log, "held changes cannot be written to the store, trying again until they can; \
                            nothing is lost, and what is not written is not confirmed";
                                "event" => "held_changes_not_written", "error" => #&error, "suppressed" => suppressed);
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Keep(change) => self.changes.entry(change.hold).or_default().push_back(change),
            Told::End => self.is_ending = true,
            Told::Unbound(hold) => {
                self.unbound.insert(hold);
            }
            Told::Bound(hold) => {
                self.unbound.remove(&hold);
            }
            Told::Release(hold, left_out, closed) => {
                let outbox = Target::parse(&hold.endpoint).ok();
                self.releases.push_back(Release {
                    outbox: outbox.map(|target| self.parts.dispatcher.outbox(&target)),
                    hold,
                    left_out,
                    stage: Stage::Moving,
                    moved: 0,
                    after: 0,
                    is_in_doubt: false,
                    closed: Some(closed),
                });
            }
            Told::Stopped(hold) => {
                let stopped = self.releases.iter_mut().find(|release| release.hold.id == hold);
                if let Some(release) = stopped {
                    release.stage = Stage::Last;
                }
            }
        }
    }

    /// Writes the first changes of each hold that may hold more, and settles them. Returns whether there were any. Those of other
    /// holds wait, with their bytes in the budget, so that reading pauses.
    async fn write(&mut self) -> Result<bool, StoreError> {
        let holds: Vec<i64> = self.changes.keys().copied().collect();
        let mut wrote = false;
        for hold in holds {
            if self.is_within_bounds(hold).await {
                self.write_of(hold).await?;
                wrote = true;
            }
        }
        Ok(wrote)
    }

    async fn is_within_bounds(&mut self, hold: i64) -> bool {
        if self.is_ending || self.unbound.contains(&hold) {
            return true;
        }
        let held = match self.bytes.get(&hold) {
            Some(held) => *held,
            None => match held::held_bytes(&self.parts.store, hold).await {
                Ok(held) => *self.bytes.entry(hold).or_insert(held),
                Err(_) => return true,
            },
        };
        // The rest is for what it has in its backlog when they are released.
        let is_within = held < self.parts.max_bytes / 2;
        if !is_within
            && self.full.insert(hold)
            && let Some(first) = self.changes.get(&hold).and_then(VecDeque::front)
        {
            warn!(self.parts.log, "the changes that are held for an endpoint have half of the bytes that its backlog may have; \
                reading the stream pauses until it was sent the rows of their table";
                "endpoint" => %first.outbox.target(), "bytes" => held);
        }
        is_within
    }

    async fn write_of(&mut self, hold: i64) -> Result<(), StoreError> {
        let Some(queue) = self.changes.get_mut(&hold) else {
            return Ok(());
        };
        let mut bytes = 0;
        let fits = |change: &&Change| {
            let is_first = bytes == 0;
            bytes += change.event.payload.len();
            is_first || bytes <= BATCH_BYTES
        };
        let count = queue.iter().take(BATCH_ROWS).take_while(fits).count().max(1);
        let none = Attempts::default();
        let changes = || queue.iter().take(count);
        let rows: Vec<Written<'_>> = changes()
            .map(|change| Written::of(&change.event, &none))
            .collect();
        let xids: Vec<Option<u32>> = changes().map(|change| change.xid).collect();
        let kept = held::keep(&self.parts.store, hold, &rows, &xids).await?;
        *self.bytes.entry(hold).or_default() += kept;
        for change in queue.drain(..count.min(queue.len())) {
            change.token.settle();
        }
        if queue.is_empty() {
            self.changes.remove(&hold);
        }
        Ok(())
    }

    /// A step of each release that can be made one of. Returns whether there was any.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let mut worked = false;
        for _ in 0..self.releases.len() {
            let Some(mut release) = self.releases.pop_front() else {
                break;
            };
            let id = release.hold.id;
            // What it holds last is written before it is moved.
            let is_due = match release.stage {
                Stage::Moving => true,
                Stage::Stopping => false,
                Stage::Last => !self.changes.contains_key(&id),
            };
            let stepped = if is_due {
                self.step_of(&mut release).await
            } else {
                Ok(false)
            };
            worked |= is_due;
            if matches!(stepped, Ok(true)) {
                self.bytes.remove(&id);
                self.unbound.remove(&id);
                self.full.remove(&id);
            } else {
                release.is_in_doubt |= stepped.is_err();
                self.releases.push_back(release);
            }
            stepped?;
        }
        Ok(worked)
    }

    /// Whether it is closed.
    async fn step_of(&self, release: &mut Release) -> Result<bool, StoreError> {
        let HoldParts {
            store, dispatcher, ..
        } = &self.parts;
        let hold = &release.hold;
        let is_left_out = |one: &held::Held| {
            let table = table_hash(&one.schema, &one.table);
            leaves_out(
                &release.left_out,
                table,
                (one.xid, one.commit_lsn),
                &hold.endpoint,
            )
        };
        let done = held::release(store, hold, release.after, is_left_out, MOVE_ROWS).await?;
        if let Some(outbox) = &release.outbox {
            if std::mem::take(&mut release.is_in_doubt) {
                dispatcher.backlog_may_have_grown(outbox);
            } else if done.put > 0 {
                dispatcher.backlog_grew(outbox, done.put, done.bytes);
            }
        }
        release.moved += done.put;
        release.after = done.last.unwrap_or(release.after);
        match release.stage {
            Stage::Moving if done.taken <= FEW_ROWS => {
                release.stage = Stage::Stopping;
                self.tell(Closing::Stop(hold.id, release.left_out.clone()));
            }
            // Once more from the beginning: whatever was written late is there now.
            Stage::Last if done.taken == 0 && release.after > 0 => release.after = 0,
            Stage::Last if done.taken == 0 => {
                held::end_hold(store, hold.id).await?;
                self.tell(Closing::GoOn(hold.id));
                if let Some(closed) = release.closed.take() {
                    // Whoever has waited for it may be gone.
                    let _ = closed.send(());
                }
                if release.moved > 0 {
                    let endpoint = release.outbox.as_ref().map(|outbox| outbox.target().to_string());
                    info!(self.parts.log, "the changes of a table that were held while its rows were sent are released";
                        "endpoint" => endpoint, "events" => release.moved);
                } else {
                    debug!(self.parts.log, "nothing was held while rows were sent"; "hold" => hold.id);
                }
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    fn tell(&self, closing: Closing) {
        // Whoever reads the stream may be gone: then the program ends.
        let _ = self.closing.send(closing);
        self.parts.wake.notify_one();
    }
}
