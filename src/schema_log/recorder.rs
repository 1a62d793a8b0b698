//! Writing down what has been applied, and deleting what nobody needs any more.
//!
//! One task of its own, so that nothing waits for the database but the confirmation of the transactions in question. What
//! it has not written yet is bounded: the reader of the stream asks for room first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use pgstream_proto::Lsn;
use slog::{Logger, debug, info, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::progress::SettleToken;
use crate::store::schema_log::{self as table, At};
use crate::store::{PgPool, StoreError};

/// How many entries may wait to be written down.
const MAX_WAITING: usize = 1024;
/// How many are written down at one time.
const BATCH: usize = 256;
/// The pause after a failure of the database.
const PAUSE: Duration = Duration::from_secs(1);
/// How often superfluous entries are looked for: as often as they get old enough, but not more or less often than this.
const PRUNE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// The first pause before an entry is looked at again that could not be seen; doubled each time, up to [`LOOK_RARELY`].
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// See [`LOOK_AGAIN`].
const LOOK_RARELY: Duration = Duration::from_secs(5);
/// How many entries are remembered that could not be seen. The next start acknowledges what is forgotten.
const MAX_UNSEEN: usize = 4096;
/// How many of them are deleted in one statement.
const PRUNE_ROWS: i64 = 100;

/// What is to be written down.
enum Note {
    /// An entry has been applied.
    Applied {
        entry: At,
        /// Those that it has made superfluous.
        superseded: Vec<At>,
        /// Holds its transaction back until it is written.
        token: SettleToken,
    },
    /// Entries turned out to be superfluous.
    Superseded(Vec<At>),
    /// Somebody waits until everything before this is written.
    Flush(oneshot::Sender<()>),
}

/// Where notes are handed in. There is one who does.
#[derive(Debug)]
pub(super) struct Recorder {
    notes: mpsc::Sender<Note>,
}

/// The task that writes, for its owner.
#[derive(Debug)]
pub struct Recording {
    notes: mpsc::WeakSender<Note>,
    /// Has the task end when it is dropped.
    stop: DropGuard,
    task: JoinHandle<()>,
}

/// The recorder has ended, which it never does by itself.
#[derive(Debug, thiserror::Error)]
#[error(
    "what is applied of the schema log cannot be written down any more: see what was logged before, and start again"
)]
pub struct Ended;

/// Starts the recorder of what the reader of `slot` applies. Superfluous entries are kept for `retention`, or for ever.
pub(super) fn start(
    pool: PgPool,
    slot: String,
    retention: Option<Duration>,
    log: Logger,
) -> (Recorder, Recording) {
    let (notes, waiting) = mpsc::channel(MAX_WAITING);
    let stop = CancellationToken::new();
    let writer = Writer {
        pool,
        slot,
        retention,
        log,
        unseen: Unseen::default(),
    };
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        stopped.run_until_cancelled(writer.run(waiting)).await;
    });
    let recording = Recording {
        notes: notes.downgrade(),
        stop: stop.drop_guard(),
        task,
    };
    (Recorder { notes }, recording)
}

impl Recorder {
    /// Whether a note can be handed in now.
    pub(super) fn has_room(&self) -> bool {
        self.notes.capacity() > 0
    }

    /// Waits until one can be. Cancel-safe.
    pub(super) async fn room(&self) -> Result<(), Ended> {
        self.notes.reserve().await.map(drop).map_err(|_| Ended)
    }

    /// An entry has been applied, and has made others superfluous. `token` is settled when this is written.
    pub(super) fn applied(&self, entry: At, superseded: Vec<At>, token: SettleToken) -> Result<(), Ended> {
        self.send(Note::Applied {
            entry,
            superseded,
            token,
        })
    }

    /// Entries are superfluous.
    pub(super) fn superseded(&self, entries: Vec<At>) -> Result<(), Ended> {
        self.send(Note::Superseded(entries))
    }

    fn send(&self, note: Note) -> Result<(), Ended> {
        self.notes.try_send(note).map_err(|_| Ended)
    }
}

impl Recording {
    /// Waits until everything is written that was handed in before this is first polled, at most for `grace`; says whether
    /// it is.
    pub fn flush(&self, grace: Duration) -> impl Future<Output = bool> + Send + use<> {
        let notes = self.notes.clone();
        async move {
            let Some(notes) = notes.upgrade() else {
                return true;
            };
            let (done, written) = oneshot::channel();
            let flushed = async { notes.send(Note::Flush(done)).await.is_ok() && written.await.is_ok() };
            timeout(grace, flushed).await.unwrap_or(false)
        }
    }

    /// Ends the task. What is not written holds its transaction back, and comes again after the next start.
    pub async fn end(self) {
        drop(self.stop);
        // Its only way to fail is a panic, which was printed when it happened.
        let _ = self.task.await;
    }
}

/// The task.
struct Writer {
    pool: PgPool,
    slot: String,
    retention: Option<Duration>,
    log: Logger,
    unseen: Unseen,
}

/// Entries that are applied and could not be seen, and so not acknowledged, yet.
#[derive(Default)]
struct Unseen {
    ids: VecDeque<String>,
    /// When they are looked at next, and the pause before that.
    next: Option<(Instant, Duration)>,
}

impl Unseen {
    fn add(&mut self, ids: Vec<String>) {
        if ids.is_empty() {
            return;
        }
        self.ids.extend(ids);
        let excess = self.ids.len().saturating_sub(MAX_UNSEEN);
        self.ids.drain(..excess);
        self.next = Some((Instant::now() + LOOK_AGAIN, LOOK_AGAIN));
    }

    /// These are left after another look.
    fn keep(&mut self, ids: Vec<String>) {
        self.ids = ids.into();
        let pause = self
            .next
            .map_or(LOOK_AGAIN, |(_, pause)| (pause * 2).min(LOOK_RARELY));
        self.next = (!self.ids.is_empty()).then(|| (Instant::now() + pause, pause));
    }
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Note>) {
        let mut notes = Vec::with_capacity(BATCH);
        let mut prune_at = Instant::now();
        if let Err(error) = table::acknowledge_applied(&self.pool, &self.slot).await {
            debug!(self.log, "cannot acknowledge entries of the schema log that were applied before"; "error" => #&error);
        }
        loop {
            let look_at = self.unseen.next.map_or(prune_at, |(at, _)| at);
            tokio::select! {
                biased;
                count = waiting.recv_many(&mut notes, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.write(notes.drain(..)).await;
                }
                () = sleep_until(look_at), if self.unseen.next.is_some() => self.look_again().await,
                () = sleep_until(prune_at), if self.retention.is_some() => {
                    let is_done = self.prune().await;
                    let (often, rarely) = PRUNE_EVERY;
                    let pause = self.retention.unwrap_or(rarely).clamp(often, rarely);
                    prune_at = Instant::now() + if is_done { pause } else { Duration::ZERO };
                }
            }
        }
    }

    /// Writes notes, again and again until the database takes them.
    async fn write(&mut self, notes: impl Iterator<Item = Note>) {
        let (mut applied, mut gone) = (Vec::new(), Vec::new());
        let (mut tokens, mut flushed) = (Vec::new(), Vec::new());
        for note in notes {
            match note {
                Note::Applied {
                    entry,
                    superseded,
                    token,
                } => {
                    applied.push(entry);
                    gone.extend(superseded);
                    tokens.push(token);
                }
                Note::Superseded(entries) => gone.extend(entries),
                Note::Flush(done) => flushed.push(done),
            }
        }
        if !(applied.is_empty() && gone.is_empty()) {
            let unseen = self.insist(&last_of_each(applied), &last_of_each(gone)).await;
            self.unseen.add(unseen);
        }
        tokens.into_iter().for_each(SettleToken::settle);
        for done in flushed {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
    }

    /// Writes until the database takes it, and returns the ids of the entries that could not be seen yet.
    async fn insist(&self, applied: &[At], superseded: &[At]) -> Vec<String> {
        let mut failed = false;
        let unseen = loop {
            match table::record(&self.pool, &self.slot, applied, superseded).await {
                Ok(unseen) => break unseen,
                Err(error) if !failed => {
                    warn!(self.log, "cannot write down which entries of the schema log are applied, trying again until it \
                        works; their transactions are not confirmed meanwhile";
                        "event" => "schema_log_not_recorded", "error" => #&error);
                }
                Err(_) => {}
            }
            failed = true;
            sleep(PAUSE).await;
        };
        if failed {
            info!(
                self.log,
                "applied entries of the schema log can be written down again"; "event" => "schema_log_recorded"
            );
        }
        debug!(self.log, "wrote down the applied entries of the schema log"; "entries" => applied.len(),
            "superseded" => superseded.len(), "unseen" => unseen.len());
        unseen
    }

    /// Acknowledges what can be seen by now.
    async fn look_again(&mut self) {
        let ids: Vec<String> = self.unseen.ids.iter().cloned().collect();
        let left = table::acknowledge(&self.pool, &ids).await;
        // While the database does not answer, all of them are left.
        self.unseen.keep(left.unwrap_or(ids));
    }

    /// Deletes some superfluous entries; returns whether that were all.
    async fn prune(&self) -> bool {
        let Some(age) = self.retention else { return true };
        let pruned: Result<u64, StoreError> = table::prune(&self.pool, &self.slot, age, PRUNE_ROWS).await;
        match pruned {
            Ok(0) => true,
            Ok(entries) => {
                info!(self.log, "deleted entries of the schema log that later ones have made superfluous";
                    "entries" => entries);
                i64::try_from(entries).is_ok_and(|entries| entries < PRUNE_ROWS)
            }
            Err(error) => {
                warn!(self.log, "cannot delete superfluous entries of the schema log, trying again later";
                    "error" => #&error);
                true
            }
        }
    }
}

/// One statement cannot write one row twice.
fn last_of_each(entries: Vec<At>) -> Vec<At> {
    let by_id: HashMap<String, Lsn> = entries.into_iter().collect();
    by_id.into_iter().collect()
}
