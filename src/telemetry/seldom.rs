//! What could be logged again and again is logged now and then. Pure: time is an argument.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Admits one of what repeats in each interval, and says how many it has kept back.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    admitted: Option<Instant>,
    suppressed: u64,
}

impl Seldom {
    /// Admits one in so much time.
    #[must_use]
    pub const fn new(every: Duration) -> Self {
        Self {
            every,
            state: Mutex::new(State {
                admitted: None,
                suppressed: 0,
            }),
        }
    }

    /// Whether this one is admitted: then, how many were kept back since the last that was.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let too_soon = |last: Instant| now.saturating_duration_since(last) < self.every;
        if state.admitted.is_some_and(too_soon) {
            state.suppressed += 1;
            return None;
        }
        state.admitted = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_an_interval_with_the_number_of_those_between() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let seldom = Seldom::new(10 * second);
        let admitted: Vec<Option<u64>> = [0, 1, 9, 10, 11, 35, 45]
            .map(|at| seldom.admit(start + at * second))
            .into();
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }
}
