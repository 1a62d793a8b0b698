//! The dispatcher: from submitted deliveries to workers and keepers, and their owner.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use slog::{Logger, debug, error, trace};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::keeper::{self, KEEPERS, StoreHealth};
use super::outbox::{Configured, Counts, Next, Outbox, Policy, Retention, Work};
use super::outcome::{Outcome, Reason};
use super::pressure;
use super::ready::{Pushed, ReadyQueue, Turn, Workers};
use super::recovery::{self, Uncounted};
use super::report::ToldOfWorkers;
use super::retry::RetryPolicy;
use super::target::Target;
use super::timer::Timer;
use super::timings::Timings;
use super::worker::{Answer, Connections, Names, Slots, exchange};
use crate::endpoint::{EndpointSettings, Registry, Standing};
use crate::event::{Event, TableName};
use crate::progress::{Budget, SettleToken};
use crate::store::PgPool;

/// How many exchanges a worker makes for one endpoint in one turn while others wait.
const QUANTUM: usize = 16;
/// A worker's stack: an exchange needs a few pages of it, a TLS handshake some dozens.
const STACK_SIZE: usize = 512 * 1024;
/// Files that are open for other purposes than connections to endpoints; half of it for clients of the API.
const OTHER_FILES: usize = 512;
/// How long an exchange that was broken off may take to notice.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// The bounds of the dispatcher.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many exchanges may be under way at one time.
    pub workers: usize,
    /// The settings of an endpoint that nobody configured.
    pub defaults: EndpointSettings,
    /// When to try again, and how often.
    pub retry: RetryPolicy,
    /// How much of one endpoint's backlog is kept.
    pub retention: Retention,
    /// How long dead letters are kept.
    pub dead_letters: Duration,
    /// Whether the stream stops instead of losing an event to the dead letters.
    pub strict: bool,
}

/// Owns the endpoints' outboxes, the workers, the keepers and the timer.
pub struct Dispatcher {
    shared: Arc<Shared>,
    timer: Mutex<Option<JoinHandle<()>>>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

pub(super) struct Shared {
    pub(super) outboxes: Registry<Outbox>,
    /// What was configured for an endpoint, whether it is in use or not.
    pub(super) configured: Registry<Configured>,
    made: AtomicUsize,
    ready: ReadyQueue,
    timer: Timer,
    names: Arc<Names>,
    connections: Arc<Connections>,
    pub(super) limits: Limits,
    pub(super) budget: Arc<Budget>,
    pub(super) store: PgPool,
    pub(super) store_health: StoreHealth,
    keepers: mpsc::UnboundedSender<Arc<Outbox>>,
    /// Notified whenever a keeper has finished with an outbox.
    pub(super) kept: tokio::sync::Notify,
    pub(super) recovered: watch::Sender<bool>,
    pub(super) uncounted: Uncounted,
    timings: Timings,
    told: ToldOfWorkers,
    stop: watch::Sender<Option<String>>,
    pub(super) log: Logger,
}

/// The dispatcher could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {
    /// The system gave no thread.
    #[error("could not start a thread of the delivery engine: {0}; check the limit of processes (ulimit -u)")]
    Thread(io::Error),
}

impl Dispatcher {
    /// Starts the timer, the keepers and the first worker; more workers start on demand. Begins to take up the backlog:
    /// nothing may be submitted before that is [done](Self::recovered). Has to be called within tokio's runtime.
    pub fn start(
        limits: Limits,
        store: PgPool,
        budget: Arc<Budget>,
        log: Logger,
    ) -> Result<Self, DispatcherError> {
        let (keepers, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            outboxes: Registry::default(),
            configured: Registry::default(),
            made: AtomicUsize::new(0),
            ready: ReadyQueue::new(limits.workers),
            timer: Timer::default(),
            names: Names::start().map_err(DispatcherError::Thread)?,
            connections: Connections::new(connections_to_keep(limits.workers), 2 * limits.workers),
            limits,
            budget,
            store,
            store_health: StoreHealth::default(),
            keepers,
            kept: tokio::sync::Notify::new(),
            recovered: watch::channel(false).0,
            uncounted: Uncounted::default(),
            timings: Timings::default(),
            told: ToldOfWorkers::default(),
            stop: watch::channel(None).0,
            log,
        });
        shared.ready.count_first_worker();
        shared.spawn_worker().map_err(DispatcherError::Thread)?;
        let for_timer = Arc::clone(&shared);
        let timer = thread::Builder::new()
            .name("pgstream-timer".to_owned())
            .spawn(move || for_timer.run_timer())
            .map_err(DispatcherError::Thread)?;
        let mut tasks = JoinSet::new();
        let waiting = Arc::new(keeper::Waiting::new(waiting));
        for _ in 0..KEEPERS {
            tasks.spawn(keeper::run(Arc::clone(&shared), Arc::clone(&waiting)));
        }
        tasks.spawn(pressure::run(Arc::clone(&shared)));
        tasks.spawn(recovery::run(Arc::clone(&shared)));
        tasks.spawn(recovery::clean_dead_letters(Arc::clone(&shared)));
        Ok(Self {
            shared,
            timer: Mutex::new(Some(timer)),
            tasks: tokio::sync::Mutex::new(tasks),
        })
    }

    /// Resolves when the backlog is taken up: from then on, each endpoint that has one is behind it.
    pub fn recovered(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut recovered = self.shared.recovered.subscribe();
        async move {
            if recovered.wait_for(|recovered| *recovered).await.is_err() {
                // The dispatcher is gone, and will not do it any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The outbox of an endpoint. It exists from now on.
    #[must_use]
    pub fn outbox(&self, target: &Target) -> Arc<Outbox> {
        self.shared.outbox(target)
    }

    /// Submits deliveries to one endpoint, in their order. Never blocks on I/O.
    pub fn submit(
        &self,
        outbox: &Arc<Outbox>,
        deliveries: impl IntoIterator<Item = (Arc<Event>, SettleToken)>,
    ) {
        let next = outbox.push(deliveries, Instant::now());
        self.shared.follow_up(outbox, next);
    }

    /// So much was put behind what this endpoint has in its backlog. What is submitted from now on comes behind that.
    pub fn backlog_grew(&self, outbox: &Arc<Outbox>, rows: u64, bytes: u64) {
        let next = outbox.grew(rows, bytes, Instant::now());
        self.shared.follow_up(outbox, next);
    }

    /// The same where it is not known how much it was, if it was anything.
    pub fn backlog_may_have_grown(&self, outbox: &Arc<Outbox>) {
        let next = outbox.changed_elsewhere(true, Instant::now());
        self.shared.follow_up(outbox, next);
        self.shared.uncounted.add(Arc::clone(outbox.target().url()));
    }

    /// Discards, in memory and backlog, what `keep` does not want any more. What is in flight finishes.
    ///
    /// `keep` is asked with the endpoint's URL, the table and the kind of change, now and whenever rows are loaded later: it
    /// answers for the subscriptions of that time.
    pub fn sweep(&self, keep: impl Fn(&str, &TableName, char) -> bool + Send + Sync + 'static) {
        let keep: super::outbox::Keep = Arc::new(keep);
        for outbox in self.shared.outboxes.all() {
            self.shared
                .follow_up(&outbox, outbox.sweep(&keep, Instant::now()));
        }
    }

    /// What has become of the deliveries to all endpoints since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let outboxes = self.shared.outboxes.all();
        outboxes
            .iter()
            .fold(Counts::default(), |sum, outbox| sum + outbox.counts())
    }

    /// The outboxes of all endpoints, in no particular order.
    #[must_use]
    pub fn outboxes(&self) -> Vec<Arc<Outbox>> {
        self.shared.outboxes.all()
    }

    /// The threads that make exchanges.
    #[must_use]
    pub fn workers(&self) -> Workers {
        self.shared.ready.workers()
    }

    /// What was timed.
    #[must_use]
    pub fn timings(&self) -> &Timings {
        &self.shared.timings
    }

    /// Whether the backlog is taken up.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        *self.shared.recovered.borrow()
    }

    /// Resolves when the stream has to stop, since an event cannot be delivered in strict mode; says which.
    pub fn must_stop(&self) -> impl Future<Output = String> + Send + use<> {
        let mut stop = self.shared.stop.subscribe();
        async move {
            let why = stop
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|why| why.clone());
            match why {
                Some(why) => why,
                // The dispatcher is gone: nothing can be asked of the stream any more.
                None => std::future::pending().await,
            }
        }
    }

    /// Ends the exchanges: lends no more work, waits until what is in flight is done, at most for `grace`, then breaks
    /// off what is left. Blocks. Returns how many were broken off.
    pub fn stop_exchanges(&self, grace: Duration) -> usize {
        let shared = &self.shared;
        let outboxes = shared.outboxes.all();
        for outbox in &outboxes {
            shared.follow_up(outbox, outbox.stop(Instant::now()));
        }
        shared.ready.close();
        let mut broken_off = shared.ready.wait_for_workers(Instant::now() + grace);
        if broken_off > 0 {
            for outbox in &outboxes {
                outbox.interrupt();
            }
            broken_off -= broken_off.min(shared.ready.wait_for_workers(Instant::now() + INTERRUPT_GRACE));
        }
        broken_off
    }

    /// Ends everything else, after the exchanges: what waits for the store is still written within `grace`. What is in
    /// memory only is left unconfirmed.
    pub async fn stop_keeping(&self, grace: Duration) -> usize {
        let shared = &self.shared;
        let outboxes = shared.outboxes.all();
        let deadline = tokio::time::Instant::now() + grace;
        loop {
            let kept = shared.kept.notified();
            tokio::pin!(kept);
            kept.as_mut().enable();
            let busy = outboxes.iter().filter(|outbox| outbox.wants_store()).count();
            if busy == 0 || tokio::time::timeout_at(deadline, kept).await.is_err() {
                break;
            }
        }
        // They hold connections of the store's pool, which is to be closed.
        self.tasks.lock().await.shutdown().await;
        shared.timer.close();
        if let Some(timer) = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It has nothing to report: an end by panic was printed when it happened.
            let _ = timer.join();
        }
        outboxes.iter().map(|outbox| outbox.len_unstored()).sum()
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // The workers end with the queue; the tasks are dropped with their set.
        self.shared.ready.close();
        self.shared.timer.close();
    }
}

impl Shared {
    pub(super) fn outbox(&self, target: &Target) -> Arc<Outbox> {
        self.outboxes.get_or_insert_with(target.url(), || {
            let configured = self.configured.get(target.url());
            let configured =
                configured.map_or_else(|| self.unconfigured(), |configured| (*configured).clone());
            let slots = Slots::new(
                configured.settings.timeout,
                Arc::clone(&self.names),
                Arc::clone(&self.connections),
            );
            let policy = Policy {
                retry: self.limits.retry,
                strict: self.limits.strict,
                retention: self.limits.retention,
            };
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            Outbox::new(number, target.clone(), configured, policy, slots)
        })
    }

    /// What holds for an endpoint that nobody configured.
    pub(super) fn unconfigured(&self) -> Configured {
        Configured {
            settings: self.limits.defaults.clone(),
            standing: Standing::Active,
            changed_at: SystemTime::UNIX_EPOCH,
        }
    }

    /// Whether an endpoint has nothing in its lanes.
    pub(super) fn is_idle(&self, url: &Arc<str>) -> bool {
        self.outboxes.get(url).is_some_and(|outbox| outbox.is_idle())
    }

    /// Has the stream stop.
    pub(super) fn must_stop(&self, why: String) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(why);
            first
        });
    }

    fn run_timer(self: Arc<Self>) {
        while let Some((outbox, at)) = self.timer.next() {
            let next = outbox.ring(at, Instant::now());
            self.follow_up(&outbox, next);
        }
    }

    fn run_worker(self: Arc<Self>) {
        while let Some(mut turn) = self.ready.next_turn() {
            self.serve(&mut turn);
            self.ready.end_turn(turn);
        }
    }

    /// One turn on one endpoint.
    fn serve(self: &Arc<Self>, turn: &mut Turn) {
        let outbox = &Arc::clone(&turn.outbox);
        let mut served = 0;
        let mut work = self.follow_up(outbox, outbox.begin(Instant::now()));
        while let Some(current) = work {
            let begun = Instant::now();
            let exchanged = || exchange(&current.slot, outbox.target(), &current.events, current.batched);
            // A receiver's bytes go through ureq and TLS there. A fault in these must not take the delivery with it.
            let answer = catch_unwind(AssertUnwindSafe(exchanged)).unwrap_or_else(|_| {
                if let Some(suppressed) = self.told.panics.admit(Instant::now()) {
                    error!(self.log, "an exchange panicked; it is tried again"; "event" => "exchange_panicked",
                        "endpoint" => %outbox.target(), "suppressed" => suppressed);
                }
                Answer::failed(Reason::Network("the exchange panicked".to_owned()))
            });
            served += 1;
            self.timings.exchanged(begun.elapsed());
            if answer.outcome == Outcome::Delivered {
                self.timings.delivered(&current.events, SystemTime::now());
                self.ready.proven(turn);
            }
            self.log_outcome(outbox, &current, &answer);
            let go_on = served % QUANTUM != 0 || !self.ready.others_wait();
            let next = outbox.finish(current, &answer, go_on, Instant::now());
            work = self.follow_up(outbox, next);
        }
    }

    /// Does what a look at an outbox has found to be done; returns the work for the caller.
    pub(super) fn follow_up(self: &Arc<Self>, outbox: &Arc<Outbox>, next: Next) -> Option<Work> {
        if next.requeue && self.ready.push(Arc::clone(outbox), next.class) == Pushed::StartWorker {
            self.start_worker();
        }
        if next.promote {
            self.ready.promote(outbox);
        }
        if next.keep {
            // Refused only when the keepers have ended, and then nobody waits for the store.
            let _ = self.keepers.send(Arc::clone(outbox));
        }
        if let Some(at) = next.alarm {
            self.timer.set(outbox, at);
        }
        for change in next.changes {
            self.report(outbox, change);
        }
        for settled in next.settled {
            settled.settle();
        }
        next.work
    }

    /// Starts a worker that is counted already.
    fn start_worker(self: &Arc<Self>) {
        if let Err(cause) = self.spawn_worker() {
            self.ready.worker_failed_to_start();
            // The token stays queued: the workers that run will come to it.
            if let Some(suppressed) = self.told.threads.admit(Instant::now()) {
                error!(self.log, "could not start a delivery worker; check the limit of processes (ulimit -u)";
                    "event" => "no_worker_thread", "error" => %cause, "suppressed" => suppressed);
            }
        }
    }

    fn spawn_worker(self: &Arc<Self>) -> io::Result<()> {
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name("pgstream-worker".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || shared.run_worker())
            .map(drop)
    }

    fn log_outcome(&self, outbox: &Outbox, work: &Work, answer: &Answer) {
        let id = work.events.first().map_or("", |event| event.id.as_str());
        if answer.outcome == Outcome::Delivered {
            trace!(self.log, "delivered"; "endpoint" => %outbox.target(), "webhook_id" => id,
                "events" => work.events.len());
        } else {
            debug!(self.log, "delivery failed"; "endpoint" => %outbox.target(), "webhook_id" => id,
                "events" => work.events.len(), "outcome" => %answer.outcome);
        }
    }
}

/// How many idle connections may be kept, so that with one more for each worker the limit of open files is not hit.
fn connections_to_keep(workers: usize) -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, hard)| {
        // What the system allows is ours to use; where it refuses after all, the limit stays as it was.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard)
    });
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    files.saturating_sub(OTHER_FILES + workers)
}
