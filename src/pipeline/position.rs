//! What is remembered of the source, so that the next start can tell whether commits are missing.
//!
//! # The invariant
//!
//! Let `C` be what is written as confirmed, and `B` the bound that is written with it. At any time
//!
//! 1. everything up to `C` is settled;
//! 2. nothing beyond `B` has been confirmed to the server: what is settled beyond it waits until a higher bound is written.
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

use crate::store::PgPool;
use crate::store::sources::{self, Source};

/// The shortest time between two writings.
const INTERVAL: Duration = Duration::from_secs(1);
/// The bound is this far ahead at least: a segment of the WAL.
const LEAST_SLACK: u64 = 16 << 20;
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
    progress: watch::Sender<Progress>,
}

/// The task that writes, for its owner.
#[derive(Debug)]
pub struct Remembering {
    task: JoinHandle<()>,
    last: watch::Receiver<Progress>,
    writer: Writer,
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
    let writer = Writer {
        store,
        slot,
        term,
        written: source,
        bound: Arc::clone(&bound),
        log,
    };
    let task = tokio::spawn(writer.clone().run(last.clone(), wake));
    let remembering = Remembering { task, last, writer };
    (Position { bound, progress }, remembering)
}

/// The bound that goes with a position which is `moved` further than the last one.
#[must_use]
pub fn bound(confirmed: Lsn, moved: u64) -> Lsn {
    let slack = moved.saturating_mul(2).clamp(LEAST_SLACK, MOST_SLACK);
    Lsn::new(confirmed.as_u64().saturating_add(slack))
}

impl Position {
    /// Everything up to `settled` is settled, and `notable` is the end of the last transaction that is not our own
    /// bookkeeping. How far it may be confirmed.
    pub fn settled(&self, settled: Lsn, notable: Lsn) -> Lsn {
        let confirmed = settled.min(Lsn::new(self.bound.load(Ordering::Acquire)));
        self.progress.send_if_modified(|progress| {
            // What is settled is written, whether or not it may be confirmed yet.
            let is_news = settled > progress.confirmed;
            if is_news {
                progress.confirmed = settled;
                progress.notable = notable.min(settled);
            }
            is_news
        });
        confirmed
    }

    /// The source is on this timeline.
    pub fn timeline(&self, timeline: u32) {
        self.progress.send_if_modified(|progress| {
            let is_news = progress.timeline != timeline;
            progress.timeline = timeline;
            is_news
        });
    }
}

impl Remembering {
    /// Ends, and writes down how far the stream came, if the store takes it within `grace`.
    pub async fn end(self, confirmed: Lsn, grace: Duration) {
        let Self {
            task,
            last,
            mut writer,
        } = self;
        task.abort();
        // Its only other way to fail is a panic, which was printed when it happened.
        let _ = task.await;
        let progress = *last.borrow();
        let source = Source {
            timeline: progress.timeline,
            confirmed: writer.written.confirmed.max(confirmed),
            bound: writer.written.confirmed.max(confirmed),
            ..writer.written
        };
        match timeout(grace, writer.write(source)).await {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                debug!(writer.log, "could not write down how far the stream came"; "confirmed" => %confirmed);
            }
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
    log: Logger,
}

impl Writer {
    async fn run(mut self, mut last: watch::Receiver<Progress>, wake: Arc<Notify>) {
        let mut failed = false;
        while last.changed().await.is_ok() {
            let progress = *last.borrow_and_update();
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
            while !self.write(source).await {
                if !failed {
                    warn!(self.log, "cannot write down how far the stream is, trying again until it works; beyond a bound \
                        nothing is confirmed meanwhile"; "event" => "position_not_written", "bound" => %self.written.bound);
                }
                failed = true;
                sleep(INTERVAL).await;
            }
            if failed {
                info!(self.log, "how far the stream is can be written down again"; "event" => "position_written");
            }
            failed = false;
            wake.notify_one();
            sleep(INTERVAL).await;
        }
    }

    /// Whether it worked.
    async fn write(&mut self, source: Source) -> bool {
        match sources::write(&self.store, &self.slot, &source, self.term).await {
            Ok(true) => {
                self.written = source;
                self.bound.store(source.bound.as_u64(), Ordering::Release);
                true
            }
            // Somebody else streams by now: what they write is not touched, and they will be noticed.
            Ok(false) => false,
            Err(error) => {
                debug!(self.log, "cannot write down how far the stream is"; "error" => #&error);
                false
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
