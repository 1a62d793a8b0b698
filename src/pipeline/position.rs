//! What is remembered of the source, so that the next start can tell whether commits are missing.
//!
//! # The invariant
//!
//! Let `C` be what is written as confirmed, and `B` the bound that is written with it. At any time
//!
//! 1. everything up to `C` is settled;
//! 2. nothing beyond `B` has been confirmed to the server: what is settled beyond it waits until a higher bound is written;
//! 3. what is confirmed is the end of a transaction, or where the slot was.
//!
//! So a slot that is found beyond `B` was moved by somebody else, and a server whose history does not go up to `C` lacks what
//! was streamed.
//!
//! It is written at most once a second; where nothing but our own bookkeeping, and time, has passed, only when the bound
//! gets near, so that an idle database stays idle. In an orderly end `C` and `B` become the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgstream_proto::Lsn;
use slog::{Logger, debug, info, warn};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::PgPool;
use crate::store::sources::{self, Source};

/// The shortest time between two writings.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long it may take at the end.
const GRACE: Duration = Duration::from_secs(5);
/// The bound is this far ahead at least. After a crash a slot that was moved by less is not noticed.
const LEAST_SLACK: u64 = 256 << 10;
/// And this far at most.
const MOST_SLACK: u64 = 1 << 30;

/// How far the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    /// Everything up to here is settled.
    confirmed: Lsn,
    /// The end of the last of these transactions that changed anything that is not our own.
    notable: Lsn,
    timeline: u32,
}

/// Where the intake reports how far it is.
#[derive(Debug)]
pub struct Position {
    bound: Arc<AtomicU64>,
    /// The last end of a transaction that was settled and within the bound.
    allowed: AtomicU64,
    progress: watch::Sender<Progress>,
    written: watch::Receiver<Lsn>,
    hurry: CancellationToken,
}

/// The task that writes, for its owner.
#[derive(Debug)]
pub struct Remembering {
    task: JoinHandle<()>,
    writer: Writer,
    /// Cancelled when somebody else has taken the slot over.
    taken_over: CancellationToken,
}

/// Starts to remember. `source` is what is written at the moment. `wake` is notified when more may be confirmed.
pub fn remember(
    store: PgPool,
    (slot, term): (String, i64),
    source: Source,
    wake: Arc<Notify>,
    log: Logger,
) -> (Position, Remembering) {
    let bound = Arc::new(AtomicU64::new(source.bound.as_u64()));
    let (progress, last) = watch::channel(Progress {
        confirmed: source.confirmed,
        notable: source.confirmed,
        timeline: source.timeline,
    });
    let (done, written) = watch::channel(source.confirmed);
    let (hurry, taken_over) = (CancellationToken::new(), CancellationToken::new());
    let writer = Writer {
        store,
        slot,
        term,
        written: source,
        bound: Arc::clone(&bound),
        last,
        log,
    };
    let signals = Signals {
        wake,
        done,
        hurry: hurry.clone(),
        taken_over: taken_over.clone(),
    };
    let position = Position {
        bound,
        allowed: AtomicU64::default(),
        progress,
        written,
        hurry,
    };
    let remembering = Remembering {
        task: tokio::spawn(writer.clone().run(signals)),
        writer,
        taken_over,
    };
    (position, remembering)
}

/// The bound that goes with a position which is `moved` further than the last one.
#[must_use]
pub fn bound(confirmed: Lsn, moved: u64) -> Lsn {
    let slack = moved.saturating_mul(2).clamp(LEAST_SLACK, MOST_SLACK);
    Lsn::new(confirmed.as_u64().saturating_add(slack))
}

impl Position {
    /// Everything up to `settled`, the end of a transaction, is settled, and `notable` is the end of the last transaction that
    /// is not our own bookkeeping. How far it may be confirmed: to the end of a transaction as well.
    pub fn settled(&self, settled: Lsn, notable: Lsn) -> Lsn {
        if settled.as_u64() <= self.bound.load(Ordering::Acquire) {
            self.allowed.fetch_max(settled.as_u64(), Ordering::Relaxed);
        }
        self.progress.send_if_modified(|progress| {
            // What is settled is written, whether or not it may be confirmed yet.
            let is_news = settled > progress.confirmed;
            if is_news {
                progress.confirmed = settled;
                progress.notable = notable.min(settled);
            }
            is_news
        });
        Lsn::new(self.allowed.load(Ordering::Relaxed))
    }

    /// The source is on this timeline. If ours ended at `branched_off`, nothing beyond that is confirmed before this is written.
    pub fn timeline(&self, timeline: u32, branched_off: Option<Lsn>) {
        self.progress.send_if_modified(|progress| {
            let is_news = progress.timeline != timeline;
            progress.timeline = timeline;
            if let Some(at) = branched_off {
                self.bound.fetch_min(at.as_u64(), Ordering::AcqRel);
            }
            is_news
        });
    }

    /// Waits for a while until all that is settled may be confirmed.
    pub async fn written(&self) {
        let settled = self.progress.borrow().confirmed;
        if settled.as_u64() > self.bound.load(Ordering::Acquire) {
            self.hurry.cancel();
            let mut written = self.written.clone();
            // Where it takes longer, less is confirmed.
            let _ = timeout(GRACE, written.wait_for(|written| *written >= settled)).await;
        }
    }
}

impl Remembering {
    /// Resolves when somebody else has taken the slot over, or moves it.
    pub fn taken_over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.taken_over.clone().cancelled_owned()
    }

    /// Ends, and writes down how far the stream came, if the store takes it soon.
    pub async fn end(self, confirmed: Lsn) {
        let Self { task, mut writer, .. } = self;
        task.abort();
        // Its only other way to fail is a panic, which was printed when it happened.
        let _ = task.await;
        let confirmed = writer.written.confirmed.max(confirmed);
        let source = Source {
            timeline: writer.last.borrow().timeline,
            confirmed,
            bound: confirmed,
            ..writer.written
        };
        if !matches!(timeout(GRACE, writer.write(source)).await, Ok(Written::Done)) {
            debug!(writer.log, "could not write down how far the stream came"; "confirmed" => %confirmed);
        }
    }
}

#[derive(Debug, Clone)]
struct Writer {
    store: PgPool,
    slot: String,
    term: i64,
    written: Source,
    bound: Arc<AtomicU64>,
    last: watch::Receiver<Progress>,
    log: Logger,
}

/// What others wait for, and what it waits for.
struct Signals {
    wake: Arc<Notify>,
    done: watch::Sender<Lsn>,
    hurry: CancellationToken,
    taken_over: CancellationToken,
}

/// What came of writing.
enum Written {
    Done,
    /// Somebody else has the slot.
    Refused,
    Failed,
}

impl Writer {
    async fn run(mut self, signals: Signals) {
        let mut failed = false;
        while self.last.changed().await.is_ok() {
            let progress = *self.last.borrow_and_update();
            if !is_due(&self.written, progress) {
                continue;
            }
            let confirmed = progress.confirmed.max(self.written.confirmed);
            let moved = confirmed.as_u64() - self.written.confirmed.as_u64();
            let source = Source {
                timeline: progress.timeline,
                confirmed,
                bound: bound(confirmed, moved).max(self.written.bound),
                ..self.written
            };
            loop {
                match self.write(source).await {
                    Written::Done => break,
                    Written::Refused => return signals.taken_over.cancel(),
                    Written::Failed if failed => {}
                    Written::Failed => {
                        warn!(self.log, "cannot write down how far the stream is, trying again until it works; beyond a \
                            bound nothing is confirmed meanwhile";
                            "event" => "position_not_written", "bound" => %self.written.bound);
                    }
                }
                failed = true;
                sleep(INTERVAL).await;
            }
            if failed {
                info!(self.log, "how far the stream is can be written down again"; "event" => "position_written");
            }
            failed = false;
            signals.wake.notify_one();
            signals.done.send_replace(confirmed);
            signals.hurry.run_until_cancelled(sleep(INTERVAL)).await;
        }
    }

    async fn write(&mut self, source: Source) -> Written {
        match sources::write(&self.store, &self.slot, &source, self.term).await {
            Ok(true) => {
                self.written = source;
                // It does not change while this is borrowed. The bound of an old timeline says nothing of a new one.
                let progress = self.last.borrow();
                if progress.timeline == source.timeline {
                    self.bound.store(source.bound.as_u64(), Ordering::Release);
                }
                Written::Done
            }
            Ok(false) => Written::Refused,
            Err(error) => {
                debug!(self.log, "cannot write down how far the stream is"; "error" => #&error);
                Written::Failed
            }
        }
    }
}

/// Whether it is worth writing: something was settled that is not our own, or the bound gets near.
fn is_due(written: &Source, progress: Progress) -> bool {
    let ahead = written.bound.as_u64() - written.confirmed.as_u64();
    let near = Lsn::new(written.confirmed.as_u64() + ahead / 2);
    progress.notable > written.confirmed || progress.confirmed > near || progress.timeline != written.timeline
}
