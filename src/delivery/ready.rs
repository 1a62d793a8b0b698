//! The queue of ready endpoints: the one structure that all workers share.
//!
//! It holds tokens, not events: an outbox has at most one token in it, and a token is the right to one *turn* on that
//! outbox. It is touched when an endpoint becomes ready and when a turn ends, never for each event. Endpoints take
//! turns in the order in which they became ready; those whose last outcome failed may together occupy at most a
//! quarter of the workers, so that endpoints which hang cannot hold all of them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::outbox::Outbox;

/// A worker that found nothing to do for this long ends.
const IDLE_WORKER: Duration = Duration::from_secs(10);

/// Tokens of ready endpoints, and the workers that wait for them.
pub(super) struct ReadyQueue {
    state: Mutex<State>,
    /// Where idle workers are parked.
    parked: Condvar,
    /// Notified when a worker ends.
    ended: Condvar,
    max_workers: usize,
}

#[derive(Default)]
struct State {
    healthy: VecDeque<Token>,
    failing: VecDeque<Token>,
    /// Gives tokens their order over both queues.
    arrivals: u64,
    /// Workers on endpoints that were failing when their turn began.
    failing_turns: usize,
    workers: usize,
    idle: usize,
    closed: bool,
}

struct Token {
    arrival: u64,
    outbox: Arc<Outbox>,
}

/// The right of one worker to serve one outbox, until it is given back with [`ReadyQueue::end_turn`].
pub(super) struct Turn {
    pub(super) outbox: Arc<Outbox>,
    failing: bool,
}

/// What the caller of [`ReadyQueue::push`] has to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Pushed {
    /// Nothing: a worker was woken, or one that is busy will come.
    Enough,
    /// Start a worker: there is none to spare. It is counted already.
    StartWorker,
}

impl ReadyQueue {
    pub(super) fn new(max_workers: usize) -> Self {
        Self {
            state: Mutex::default(),
            parked: Condvar::new(),
            ended: Condvar::new(),
            max_workers: max_workers.max(1),
        }
    }

    /// Appends the token of `outbox`, whose last outcome failed or not.
    pub(super) fn push(&self, outbox: Arc<Outbox>, failing: bool) -> Pushed {
        let mut state = self.lock();
        if state.closed {
            return Pushed::Enough;
        }
        state.arrivals += 1;
        let token = Token {
            arrival: state.arrivals,
            outbox,
        };
        if failing {
            state.failing.push_back(token);
        } else {
            state.healthy.push_back(token);
        }
        // A worker that was woken counts as idle until it runs: there must be one for each token, not just one.
        if state.idle >= state.servable(self.max_workers) {
            self.parked.notify_one();
            Pushed::Enough
        } else if state.workers < self.max_workers {
            state.workers += 1;
            Pushed::StartWorker
        } else {
            Pushed::Enough
        }
    }

    /// Counts the first worker, which never ends before the queue is closed: where the system gives no further thread,
    /// there is still one that comes to every token.
    pub(super) fn count_first_worker(&self) {
        self.lock().workers += 1;
    }

    /// The next turn. `None` tells the worker to end: the queue is closed, or there was nothing to do for a while and it
    /// is not the last one.
    pub(super) fn next_turn(&self) -> Option<Turn> {
        let mut state = self.lock();
        let mut deadline = Instant::now() + IDLE_WORKER;
        loop {
            if state.closed {
                break;
            }
            if let Some(turn) = state.pop(self.max_workers) {
                return Some(turn);
            }
            let now = Instant::now();
            if now >= deadline {
                if state.workers > 1 {
                    break;
                }
                deadline = now + IDLE_WORKER;
            }
            state.idle += 1;
            let waited = self.parked.wait_timeout(state, deadline - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
        }
        state.workers -= 1;
        self.ended.notify_all();
        None
    }

    /// Gives a turn back.
    pub(super) fn end_turn(&self, Turn { failing, .. }: Turn) {
        if failing {
            let mut state = self.lock();
            state.failing_turns -= 1;
            if state.idle > 0 && !state.failing.is_empty() {
                self.parked.notify_one();
            }
        }
    }

    /// A worker that was counted could not be started.
    pub(super) fn worker_failed_to_start(&self) {
        self.lock().workers -= 1;
        self.ended.notify_all();
    }

    /// Whether other endpoints wait for a worker while all of them are busy: then a turn ends with its quantum.
    pub(super) fn others_wait(&self) -> bool {
        let state = self.lock();
        state.idle == 0 && !(state.healthy.is_empty() && state.failing.is_empty())
    }

    /// No turn is given any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.healthy.clear();
        state.failing.clear();
        self.parked.notify_all();
    }

    /// Waits until every worker has ended, at most until `deadline`; says how many have not.
    pub(super) fn wait_for_workers(&self, deadline: Instant) -> usize {
        let mut state = self.lock();
        while state.workers > 0 {
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            let waited = self.ended.wait_timeout(state, deadline - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.workers
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panicked left the counts as they were before its change: each change is one statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many tokens may be served now.
    fn servable(&self, max_workers: usize) -> usize {
        let failing_may = (max_workers / 4).max(1).saturating_sub(self.failing_turns);
        self.healthy.len() + self.failing.len().min(failing_may)
    }

    /// Takes the token that came first of those that may be served.
    fn pop(&mut self, max_workers: usize) -> Option<Turn> {
        let failing_may = self.failing_turns < (max_workers / 4).max(1);
        let healthy_first = match (self.healthy.front(), self.failing.front()) {
            (Some(healthy), Some(failing)) => !failing_may || healthy.arrival < failing.arrival,
            (Some(_), None) => true,
            (None, Some(_)) if failing_may => false,
            (None, _) => return None,
        };
        let (queue, failing) = if healthy_first {
            (&mut self.healthy, false)
        } else {
            (&mut self.failing, true)
        };
        let token = queue.pop_front()?;
        self.failing_turns += usize::from(failing);
        Some(Turn {
            outbox: token.outbox,
            failing,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::delivery::outbox::{Configured, Policy, Retention};
    use crate::delivery::retry::{Backoff, Retries, RetryPolicy};
    use crate::delivery::target::Target;
    use crate::delivery::worker::{Connections, Names, Slots};
    use crate::endpoint::{EndpointSettings, Standing};

    fn outbox() -> Arc<Outbox> {
        let settings = EndpointSettings::default();
        let slots = Slots::new(settings.timeout, Names::start().unwrap(), Connections::new(1, 1));
        let interval = Duration::from_secs(1);
        let retry = RetryPolicy {
            backoff: Backoff::Constant { interval },
            retries: Retries::AtMost(20),
        };
        let target = Target::parse(&"http://localhost/".into()).unwrap();
        let policy = Policy {
            retry,
            strict: false,
            retention: Retention {
                age: interval,
                bytes: 0,
                rows: 0,
            },
        };
        let configured = Configured {
            settings,
            standing: Standing::Active,
            changed_at: std::time::SystemTime::UNIX_EPOCH,
        };
        Arc::new(Outbox::new(0, target, configured, policy, slots))
    }

    #[test]
    fn one_idle_worker_is_not_promised_to_two_endpoints() {
        let queue = Arc::new(ReadyQueue::new(8));
        assert_eq!(queue.push(outbox(), false), Pushed::StartWorker);
        let turn = queue.next_turn().unwrap();
        queue.end_turn(turn);
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.next_turn().is_some()
        });
        let deadline = Instant::now() + Duration::from_secs(5);
        while queue.lock().idle == 0 {
            assert!(Instant::now() < deadline, "the worker does not park");
            thread::yield_now();
        }
        assert_eq!(queue.push(outbox(), false), Pushed::Enough);
        assert_eq!(queue.push(outbox(), false), Pushed::StartWorker);
        assert!(worker.join().unwrap());
    }
}
