//! The queue of ready endpoints: the one structure that all workers share.
//!
//! It holds tokens, not events: an outbox has at most one token in it, and a token is the right to one *turn* on that
//! outbox. It is touched when an endpoint becomes ready and when a turn ends, never for each event. Endpoints take
//! turns in the order in which they became ready. So that endpoints which hang cannot hold all workers, those whose last
//! outcome failed may together occupy at most a quarter of them, and those of which it is not known whether they answer
//! at all, at most half. A success ends that for an endpoint at once. And since those that answered may be the next to
//! hang, a quarter is kept for the first worker of each: the further ones together occupy at most three quarters.

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

/// What is known of an endpoint, and so how many workers it and its like may occupy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Class {
    /// Its last outcome was a success, and no worker is on it.
    Proven,
    /// Its last outcome was a success, and it has workers already.
    Served,
    /// It has not answered yet, or not for a while.
    #[default]
    Unproven,
    /// Its last outcome was a failure.
    Failing,
}

/// All classes.
const CLASSES: [Class; 4] = [Class::Proven, Class::Served, Class::Unproven, Class::Failing];

#[derive(Default)]
struct State {
    /// By class.
    tokens: [VecDeque<Token>; CLASSES.len()],
    /// Gives tokens their order over all queues.
    arrivals: u64,
    /// Workers on endpoints that were of this class when their turn began.
    turns: [usize; CLASSES.len()],
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
    class: Class,
}

/// The threads that make exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// How many there are.
    pub running: usize,
    /// Those of them that have nothing to do.
    pub idle: usize,
    /// How many there may be.
    pub limit: usize,
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

    /// Appends the token of `outbox`, an endpoint of this class.
    pub(super) fn push(&self, outbox: Arc<Outbox>, class: Class) -> Pushed {
        let mut state = self.lock();
        if state.closed {
            return Pushed::Enough;
        }
        state.arrivals += 1;
        let arrival = state.arrivals;
        state.tokens[class as usize].push_back(Token { arrival, outbox });
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

    /// The endpoint has answered with a success: neither this turn nor its token counts against the doubtful ones any more.
    pub(super) fn proven(&self, turn: &mut Turn) {
        if !turn.class.is_doubtful() {
            return;
        }
        let mut state = self.lock();
        state.promote(turn.outbox.number());
        self.leave(&mut state, turn.class);
        state.turns[Class::Proven as usize] += 1;
        turn.class = Class::Proven;
    }

    /// The endpoint has answered with a success in a turn that was not counted against the doubtful ones: nor is its token.
    pub(super) fn promote(&self, outbox: &Outbox) {
        let mut state = self.lock();
        state.promote(outbox.number());
        if state.idle > 0 && state.servable(self.max_workers) > 0 {
            self.parked.notify_one();
        }
    }

    /// Gives a turn back.
    pub(super) fn end_turn(&self, Turn { class, .. }: Turn) {
        self.leave(&mut self.lock(), class);
    }

    /// There is one turn less of this class, which may be what a token of it waits for.
    fn leave(&self, state: &mut State, class: Class) {
        state.turns[class as usize] -= 1;
        if state.idle > 0 && state.servable(self.max_workers) > 0 {
            self.parked.notify_one();
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
        state.idle == 0 && state.tokens.iter().any(|tokens| !tokens.is_empty())
    }

    /// The workers there are now.
    pub(super) fn workers(&self) -> Workers {
        let state = self.lock();
        Workers {
            running: state.workers,
            idle: state.idle,
            limit: self.max_workers,
        }
    }

    /// No turn is given any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.tokens.iter_mut().for_each(VecDeque::clear);
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

impl Class {
    /// Whether it is not known to answer.
    pub(super) fn is_doubtful(self) -> bool {
        matches!(self, Self::Unproven | Self::Failing)
    }

    /// How many workers may be on endpoints of this class.
    fn bound(self, max_workers: usize) -> usize {
        match self {
            Self::Proven => max_workers,
            Self::Served => (max_workers - max_workers / 4).max(1),
            Self::Unproven => (max_workers / 2).max(1),
            Self::Failing => (max_workers / 4).max(1),
        }
    }
}

impl State {
    /// How many more turns on endpoints of this class there may be.
    fn room(&self, class: Class, max_workers: usize) -> usize {
        class
            .bound(max_workers)
            .saturating_sub(self.turns[class as usize])
    }

    /// How many tokens may be served now.
    fn servable(&self, max_workers: usize) -> usize {
        let of = |class: Class| {
            self.tokens[class as usize]
                .len()
                .min(self.room(class, max_workers))
        };
        CLASSES.into_iter().map(of).sum()
    }

    /// Takes the token that came first of those that may be served.
    fn pop(&mut self, max_workers: usize) -> Option<Turn> {
        let arrival = |class: Class| self.tokens[class as usize].front().map(|token| token.arrival);
        let class = CLASSES
            .into_iter()
            .filter(|class| self.room(*class, max_workers) > 0)
            .filter_map(|class| arrival(class).map(|arrival| (arrival, class)))
            .min_by_key(|(arrival, _)| *arrival)?
            .1;
        let token = self.tokens[class as usize].pop_front()?;
        self.turns[class as usize] += 1;
        Some(Turn {
            outbox: token.outbox,
            class,
        })
    }

    /// Puts the token of the outbox of this number, if it has one, among those that have succeeded and are being served.
    fn promote(&mut self, number: usize) {
        for class in [Class::Unproven, Class::Failing] {
            let tokens = &mut self.tokens[class as usize];
            let place = tokens.iter().position(|token| token.outbox.number() == number);
            if let Some(token) = place.and_then(|place| tokens.remove(place)) {
                let served = &mut self.tokens[Class::Served as usize];
                let place = served.partition_point(|other| other.arrival < token.arrival);
                served.insert(place, token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::backoff::Backoff;
    use crate::delivery::outbox::{Configured, Policy, Retention};
    use crate::delivery::retry::{Retries, RetryPolicy};
    use crate::delivery::target::Target;
    use crate::delivery::worker::{Connections, Names, Slots};
    use crate::endpoint::{EndpointSettings, Standing};

    fn outbox() -> Arc<Outbox> {
        numbered(0)
    }

    fn numbered(number: usize) -> Arc<Outbox> {
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
        Arc::new(Outbox::new(number, target, configured, policy, slots))
    }

    #[test]
    fn one_idle_worker_is_not_promised_to_two_endpoints() {
        let queue = Arc::new(ReadyQueue::new(8));
        assert_eq!(queue.push(outbox(), Class::Proven), Pushed::StartWorker);
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
        assert_eq!(queue.push(outbox(), Class::Proven), Pushed::Enough);
        assert_eq!(queue.push(outbox(), Class::Proven), Pushed::StartWorker);
        assert!(worker.join().unwrap());
    }

    /// The numbers of the outboxes whose turns come now.
    fn served(queue: &ReadyQueue) -> (Vec<usize>, Vec<Turn>) {
        let pop = || queue.lock().pop(queue.max_workers);
        let turns: Vec<Turn> = std::iter::from_fn(pop).collect();
        (turns.iter().map(|turn| turn.outbox.number()).collect(), turns)
    }

    #[test]
    fn doubtful_endpoints_occupy_a_part_of_the_workers_until_they_succeed() {
        let queue = ReadyQueue::new(4);
        let push = |number, class| {
            let _ = queue.push(numbered(number), class);
        };
        for number in 0..3 {
            push(number, Class::Unproven);
            push(10 + number, Class::Failing);
        }
        push(20, Class::Proven);
        let (numbers, mut turns) = served(&queue);
        assert_eq!(numbers, [0, 10, 1, 20]);
        // A turn that ends makes room for one of its class.
        queue.end_turn(turns.remove(1));
        assert_eq!(served(&queue).0, [11]);
        // A success takes the endpoint's turn and its next token out of the bound.
        push(0, Class::Failing);
        queue.proven(&mut turns[0]);
        assert_eq!(served(&queue).0, [2, 0]);
        assert_eq!(queue.lock().turns, [2, 1, 2, 1]);
        assert_eq!(queue.lock().tokens.each_ref().map(VecDeque::len), [0, 0, 0, 1]);
    }

    #[test]
    fn endpoints_that_are_served_leave_workers_for_the_first_turns_of_others() {
        let queue = ReadyQueue::new(8);
        for number in 0..20 {
            let _ = queue.push(numbered(number), Class::Served);
        }
        let (numbers, _turns) = served(&queue);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        for number in 20..22 {
            let _ = queue.push(numbered(number), Class::Proven);
        }
        assert_eq!(served(&queue).0, [20, 21]);
    }
}
