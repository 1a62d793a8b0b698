//! The dispatcher: from submitted deliveries to workers, and their owner.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use slog::{Logger, debug, error, info, trace, warn};

use super::outbox::{Change, Next, Outbox, Work};
use super::outcome::{Outcome, Reason};
use super::ready::{Pushed, ReadyQueue, Turn};
use super::retry::Backoff;
use super::target::Target;
use super::timer::Timer;
use super::worker::{Connections, Names, Slots, exchange};
use crate::endpoint::{EndpointSettings, HealthChange, Registry};
use crate::event::Delivery;

/// How many exchanges a worker makes for one endpoint in one turn while others wait.
const QUANTUM: usize = 16;
/// A worker's stack: an exchange needs a few pages of it, a TLS handshake some dozens.
const STACK_SIZE: usize = 512 * 1024;
/// Files that are open for other purposes than connections to endpoints; half of it for clients of the API.
const OTHER_FILES: usize = 512;
/// How long an exchange that was broken off may take to notice.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// The bounds of the dispatcher.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many exchanges may be under way at one time.
    pub workers: usize,
    /// How long an exchange may take up to the complete head of the response.
    pub timeout: Duration,
    /// When to try again.
    pub backoff: Backoff,
}

/// Owns the endpoints' outboxes, the workers and the timer.
pub struct Dispatcher {
    shared: Arc<Shared>,
    timer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    outboxes: Registry<Outbox>,
    made: AtomicUsize,
    ready: ReadyQueue,
    timer: Timer,
    names: Arc<Names>,
    connections: Arc<Connections>,
    limits: Limits,
    log: Logger,
}

/// The dispatcher could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {
    /// The system gave no thread.
    #[error("could not start a thread of the delivery engine: {0}; check the limit of processes (ulimit -u)")]
    Thread(io::Error),
}

/// How an orderly end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Exchanges that were broken off. Their changes are sent again after the next start.
    pub broken_off: usize,
    /// Deliveries that were not made. Their changes are sent again after the next start.
    pub undelivered: usize,
}

impl Dispatcher {
    /// Starts the timer and the first worker; more start on demand.
    pub fn start(limits: Limits, log: Logger) -> Result<Self, DispatcherError> {
        let shared = Arc::new(Shared {
            outboxes: Registry::default(),
            made: AtomicUsize::new(0),
            ready: ReadyQueue::new(limits.workers),
            timer: Timer::default(),
            names: Names::start().map_err(DispatcherError::Thread)?,
            connections: Connections::new(connections_to_keep(limits.workers)),
            limits,
            log,
        });
        shared.ready.count_first_worker();
        shared.spawn_worker().map_err(DispatcherError::Thread)?;
        let for_timer = Arc::clone(&shared);
        let timer = thread::Builder::new()
            .name("pgstream-timer".to_owned())
            .spawn(move || for_timer.run_timer())
            .map_err(DispatcherError::Thread)?;
        Ok(Self {
            shared,
            timer: Mutex::new(Some(timer)),
        })
    }

    /// The outbox of an endpoint. It exists from now on.
    #[must_use]
    pub fn outbox(&self, target: &Target) -> Arc<Outbox> {
        let shared = &self.shared;
        shared.outboxes.get_or_insert_with(target.url(), || {
            let settings = EndpointSettings {
                timeout: shared.limits.timeout,
                ..EndpointSettings::default()
            };
            let slots = Slots::new(
                settings.timeout,
                Arc::clone(&shared.names),
                Arc::clone(&shared.connections),
            );
            let number = shared.made.fetch_add(1, Ordering::Relaxed);
            Outbox::new(number, target.clone(), &settings, shared.limits.backoff, slots)
        })
    }

    /// Submits deliveries to one endpoint, in their order. Never blocks on I/O.
    pub fn submit(&self, outbox: &Arc<Outbox>, deliveries: impl IntoIterator<Item = Delivery>) {
        let next = outbox.push(deliveries);
        self.shared.follow_up(outbox, next);
    }

    /// Ends in order: lends no more work, waits until what is in flight is done, at most for `grace`, then breaks off
    /// what is left. Blocks.
    pub fn stop(&self, grace: Duration) -> Drained {
        let shared = &self.shared;
        let outboxes = shared.outboxes.all();
        for outbox in &outboxes {
            outbox.stop();
        }
        shared.ready.close();
        shared.timer.close();
        let mut broken_off = shared.ready.wait_for_workers(Instant::now() + grace);
        if broken_off > 0 {
            for outbox in &outboxes {
                outbox.interrupt();
            }
            broken_off -= broken_off.min(shared.ready.wait_for_workers(Instant::now() + INTERRUPT_GRACE));
        }
        if let Some(timer) = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It has nothing to report: an end by panic was printed when it happened.
            let _ = timer.join();
        }
        let undelivered = outboxes.iter().map(|outbox| outbox.len()).sum();
        Drained {
            broken_off,
            undelivered,
        }
    }
}

impl Shared {
    fn run_timer(self: Arc<Self>) {
        while let Some((outbox, at)) = self.timer.next() {
            let next = outbox.ring(at, Instant::now());
            self.follow_up(&outbox, next);
        }
    }

    fn run_worker(self: Arc<Self>) {
        while let Some(turn) = self.ready.next_turn() {
            self.serve(&turn);
            self.ready.end_turn(turn);
        }
    }

    /// One turn on one endpoint.
    fn serve(self: &Arc<Self>, turn: &Turn) {
        let outbox = &turn.outbox;
        let mut served = 0;
        let mut work = self.follow_up(outbox, outbox.begin());
        while let Some(current) = work {
            let exchanged = || exchange(&current.slot, outbox.target(), &current.event);
            // A receiver's bytes go through ureq and TLS there. A fault in these must not take the delivery with it.
            let outcome = catch_unwind(AssertUnwindSafe(exchanged)).unwrap_or_else(|_| {
                error!(self.log, "an exchange panicked; it is tried again"; "endpoint" => %outbox.target());
                Outcome::retry(Reason::Network("the exchange panicked".to_owned()))
            });
            served += 1;
            self.log_outcome(outbox, &current, &outcome);
            let go_on = served % QUANTUM != 0 || !self.ready.others_wait();
            let mut next = outbox.finish(current, &outcome, go_on, Instant::now());
            if let Some(change) = next.change.take() {
                self.log_change(outbox, change, &outcome);
            }
            work = self.follow_up(outbox, next);
        }
    }

    /// Does what a look at an outbox has found to be done; returns the work for the caller.
    fn follow_up(self: &Arc<Self>, outbox: &Arc<Outbox>, next: Next) -> Option<Work> {
        if next.requeue && self.ready.push(Arc::clone(outbox), next.failing) == Pushed::StartWorker {
            self.start_worker();
        }
        if let Some(at) = next.alarm {
            self.timer.set(outbox, at);
        }
        if let Some(Delivery { event, token, .. }) = next.delivered {
            // In this order, so that what is settled holds nothing of the budget any more.
            drop(event);
            token.settle();
        }
        next.work
    }

    /// Starts a worker that is counted already.
    fn start_worker(self: &Arc<Self>) {
        if let Err(cause) = self.spawn_worker() {
            self.ready.worker_failed_to_start();
            // The token stays queued: the workers that run will come to it.
            error!(self.log, "could not start a delivery worker; check the limit of processes (ulimit -u)";
                "error" => %cause);
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

    fn log_outcome(&self, outbox: &Outbox, work: &Work, outcome: &Outcome) {
        let id = &work.event.id;
        if *outcome == Outcome::Delivered {
            trace!(self.log, "delivered"; "endpoint" => %outbox.target(), "webhook_id" => id);
        } else {
            debug!(self.log, "delivery failed"; "endpoint" => %outbox.target(), "webhook_id" => id,
                "attempt" => work.attempts + 1, "outcome" => %outcome);
        }
    }

    fn log_change(&self, outbox: &Outbox, change: Change, outcome: &Outcome) {
        match change {
            Change::Health(HealthChange::Failing) => {
                warn!(self.log, "endpoint is failing; its deliveries wait and are tried again";
                "endpoint" => %outbox.target(), "outcome" => %outcome);
            }
            Change::Health(HealthChange::Recovered(failures)) => info!(self.log, "endpoint answers again";
                "endpoint" => %outbox.target(), "failures" => failures),
            Change::Held { id, attempts } => {
                warn!(self.log, "a delivery keeps failing; it is kept, and holds back what is confirmed until it is made; \
                    to give it up, unsubscribe its URL and restart";
                    "endpoint" => %outbox.target(), "webhook_id" => id, "attempts" => attempts, "outcome" => %outcome);
            }
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
