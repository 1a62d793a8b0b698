//! Where everything that is monitored comes together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use slog::{Logger, info, warn};

use super::collect;
use super::endpoints::{MAX_ENDPOINTS, Standing, bounded};
use super::latest::{Known, Latest};
use super::readiness::{self, Condition, Progress, Reason, Stuck};
use crate::delivery::{Counts, Dispatcher, Figures};
use crate::endpoint::HealthState;
use crate::pipeline::IntakeCounts;
use crate::progress::Budget;
use crate::replication::Vitals;
use crate::store::figures::{self, StoreFigures};
use crate::store::{PgPool, StoreError};
use crate::subscription::cache::Subscriptions;
use crate::telemetry::Figure;

/// How long an answer may wait for the store.
pub const PATIENCE: Duration = Duration::from_millis(700);
/// How old an answer of the store may be that a probe goes by.
const ANSWER_AGE: Duration = Duration::from_secs(1);
/// How old the figures of the store may be that are shown.
const FIGURES_AGE: Duration = Duration::from_secs(5);
/// Of how many endpoints the age of their backlog is looked up.
const MAX_AGES: usize = 1_000;

/// What is monitored from the start of the program.
pub struct MonitorParts {
    /// What is seen of the stream.
    pub vitals: Arc<Vitals>,
    /// What is taken in.
    pub counts: Arc<IntakeCounts>,
    /// The slot.
    pub slot: String,
    /// The store.
    pub store: PgPool,
    /// What is subscribed to.
    pub subscriptions: Subscriptions,
    /// Where it is told that the store does not answer.
    pub log: Logger,
}

/// What is monitored as soon as there is a stream.
pub struct Engine {
    /// Who delivers.
    pub dispatcher: Arc<Dispatcher>,
    /// How much may be in memory, in bytes, and of what.
    pub budget: Arc<Budget>,
}

/// Answers whoever monitors the program.
pub struct Monitor {
    pub(super) vitals: Arc<Vitals>,
    pub(super) counts: Arc<IntakeCounts>,
    pub(super) slot_lag: Figure,
    pub(super) subscriptions: Subscriptions,
    pub(super) engine: Arc<ArcSwapOption<Engine>>,
    pub(super) started: SystemTime,
    answers: Latest<()>,
    figures: Latest<StoreFigures>,
    progress: Mutex<Progress>,
}

/// All outboxes at one time.
#[derive(Default)]
pub(super) struct Outboxes {
    pub(super) counts: Counts,
    pub(super) in_flight: usize,
    pub(super) in_memory: usize,
    /// How many endpoints are in each state, in the order of [`HealthState::ALL`].
    pub(super) health: [u64; HealthState::ALL.len()],
    /// The endpoints that have series of their own, and the others as one.
    pub(super) shown: Vec<Standing>,
}

impl Monitor {
    /// Begins to monitor. Has to be called within tokio's runtime.
    #[must_use]
    pub fn start(parts: MonitorParts) -> Self {
        let MonitorParts {
            vitals,
            counts,
            slot,
            store,
            subscriptions,
            log,
        } = parts;
        let engine: Arc<ArcSwapOption<Engine>> = Arc::default();
        let pool = store.clone();
        let asking = move || {
            let pool = pool.clone();
            async move { figures::answers(&pool).await }
        };
        let looked_at = Arc::clone(&engine);
        let looking = move || {
            let (store, slot) = (store.clone(), slot.clone());
            let behind = looked_at
                .load()
                .as_deref()
                .map(endpoints_behind)
                .unwrap_or_default();
            async move {
                let behind: Vec<&str> = behind.iter().map(|url| &**url).collect();
                figures::figures(&store, &slot, &behind).await
            }
        };
        Self {
            vitals,
            counts,
            slot_lag: Figure::default(),
            subscriptions,
            engine,
            started: SystemTime::now(),
            answers: Latest::start(asking, telling(log)),
            figures: Latest::start(looking, |_| {}),
            progress: Mutex::new(Progress::new(Instant::now())),
        }
    }

    /// From now on there is a stream, or another one.
    pub fn watch(&self, engine: Engine) {
        self.engine.store(Some(Arc::new(engine)));
    }

    /// There is no stream any more until there is another one: what it knew is let go of.
    pub fn forget(&self) {
        self.engine.store(None);
    }

    /// How many bytes of WAL the slot is behind, for whoever looks at the slot to set.
    #[must_use]
    pub fn slot_lag(&self) -> Figure {
        self.slot_lag.clone()
    }

    /// Whether the program is alive: whether what asks is answered at all, and the stream turns.
    ///
    /// # Errors
    /// Why it is not.
    pub fn alive(&self) -> Result<(), Stuck> {
        readiness::alive(&self.vitals.seen(), Instant::now())
    }

    /// Whether the program is ready. Answers within [`PATIENCE`].
    ///
    /// # Errors
    /// Why it is not.
    pub async fn ready(&self) -> Result<(), Reason> {
        let store_answers = self.answers.get(ANSWER_AGE, PATIENCE).await.is_fresh;
        let (stream, now) = (self.vitals.seen(), Instant::now());
        let engine = self.engine.load();
        let engine = engine.as_ref();
        let counts = engine
            .map(|engine| engine.dispatcher.counts())
            .unwrap_or_default();
        let moved = counts.delivered + counts.failed + counts.dead + counts.discarded + counts.appended;
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let condition = Condition {
            stream,
            recovered: engine.map(|engine| engine.dispatcher.is_recovered()),
            progressed: progress.note(stream.confirmed.as_u64(), moved, now),
            store_answers,
        };
        readiness::ready(&condition, now)
    }

    /// All metrics. Answers within about [`PATIENCE`].
    pub async fn metrics(&self) -> String {
        // Side by side: figures may take long where there is much to count, and say nothing of whether the store is well.
        let (answers, known) = tokio::join!(
            self.answers.get(ANSWER_AGE, PATIENCE),
            self.figures.get(FIGURES_AGE, PATIENCE),
        );
        collect::metrics(self, answers.is_fresh, &known)
    }

    /// All outboxes, with what the store knows of their backlogs.
    pub(super) fn outboxes(engine: &Engine, known: &Known<StoreFigures>) -> Outboxes {
        let since: HashMap<&str, SystemTime> =
            known.value.as_ref().map_or_else(HashMap::new, |(_, figures)| {
                let waiting = figures.waiting_since.iter();
                waiting.map(|(url, since)| (url.as_str(), *since)).collect()
            });
        let now = SystemTime::now();
        let mut sum = Outboxes::default();
        let mut all = Vec::new();
        for outbox in engine.dispatcher.outboxes() {
            let figures = outbox.figures();
            let Figures {
                health,
                in_flight,
                in_memory,
                backlog_rows,
                backlog_bytes,
                counts,
            } = figures;
            sum.counts = sum.counts + counts;
            sum.in_flight += in_flight;
            sum.in_memory += in_memory;
            let state = HealthState::ALL.iter().position(|state| *state == health);
            if let Some(state) = state {
                sum.health[state] += 1;
            }
            let since = since.get(&**outbox.target().url()).filter(|_| backlog_rows > 0);
            all.push(Standing {
                label: outbox.target().to_string(),
                up: matches!(health, HealthState::Healthy | HealthState::Draining),
                in_flight,
                in_memory,
                backlog_rows,
                backlog_bytes,
                backlog_age: since
                    .and_then(|since| now.duration_since(*since).ok())
                    .unwrap_or_default(),
            });
        }
        sum.shown = bounded(all, MAX_ENDPOINTS);
        sum
    }
}

/// The URLs of endpoints that have a backlog, those with the largest first.
fn endpoints_behind(engine: &Engine) -> Vec<Arc<str>> {
    let outboxes = engine.dispatcher.outboxes();
    let rows = outboxes
        .iter()
        .map(|outbox| (outbox.figures().backlog_rows, outbox));
    let mut behind: Vec<_> = rows.filter(|(rows, _)| *rows > 0).collect();
    behind.sort_by_key(|(rows, _)| std::cmp::Reverse(*rows));
    let first = behind.into_iter().take(MAX_AGES);
    first
        .map(|(_, outbox)| Arc::clone(outbox.target().url()))
        .collect()
}

/// Tells once that the store does not answer, and once that it does again.
fn telling(log: Logger) -> impl Fn(Result<(), &StoreError>) + Send {
    let failing = AtomicBool::new(false);
    move |answer| match answer {
        Err(error) if !failing.swap(true, Ordering::Relaxed) => {
            warn!(log, "the store does not answer a probe, so the program is not ready"; "event" => "store_unavailable",
                "error" => #error);
        }
        Ok(()) if failing.swap(false, Ordering::Relaxed) => {
            info!(log, "the store answers probes again"; "event" => "store_available");
        }
        _ => {}
    }
}
