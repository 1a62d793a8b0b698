//! The timer: one thread that looks at an outbox when something of it is due.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::outbox::Outbox;

/// The alarms that are set, soonest first.
#[derive(Default)]
pub(super) struct Timer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    alarms: BinaryHeap<Alarm>,
    closed: bool,
}

struct Alarm {
    at: Instant,
    outbox: Weak<Outbox>,
}

impl Timer {
    /// Has the timer look at `outbox` at `at`.
    pub(super) fn set(&self, outbox: &Arc<Outbox>, at: Instant) {
        let mut state = self.lock();
        let sooner = state.alarms.peek().is_none_or(|first| at < first.at);
        state.alarms.push(Alarm {
            at,
            outbox: Arc::downgrade(outbox),
        });
        if sooner {
            self.changed.notify_one();
        }
    }

    /// Waits for the next alarm: its outbox, and the time it was set for. `None` when the timer is closed.
    pub(super) fn next(&self) -> Option<(Arc<Outbox>, Instant)> {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            state = match state.alarms.peek().map(|first| first.at) {
                Some(at) if at <= now => {
                    let alarm = state.alarms.pop().expect("it was just looked at");
                    if let Some(outbox) = alarm.outbox.upgrade() {
                        return Some((outbox, at));
                    }
                    state
                }
                Some(at) => {
                    self.changed
                        .wait_timeout(state, at - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        None
    }

    /// Ends the timer.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    /// The soonest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}
