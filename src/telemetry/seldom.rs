//! What could be logged again and again is logged now and then. Pure: time is an argument.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Admits a few of what repeats in each interval, and says how many it has kept back.
///
/// Whoever logs what is admitted adds that number as `suppressed`, so that nothing is hidden.
#[derive(Debug)]
pub struct Seldom {
    few: u32,
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the interval began that is counted in, if one has.
    begun: Option<Instant>,
    /// How many were admitted in it.
    admitted: u32,
    /// How many were kept back since the last that was admitted.
    suppressed: u64,
}

impl Seldom {
    /// Admits one a minute: for what is tried again until it works.
    #[must_use]
    pub const fn once_a_minute() -> Self {
        Self::new(Duration::from_secs(60))
    }

    /// Admits one in so much time.
    #[must_use]
    pub const fn new(every: Duration) -> Self {
        Self::few(1, every)
    }

    /// Admits a few in so much time.
    #[must_use]
    pub const fn few(few: u32, every: Duration) -> Self {
        Self {
            few,
            every,
            state: Mutex::new(State {
                begun: None,
                admitted: 0,
                suppressed: 0,
            }),
        }
    }

    /// Whether this one is admitted: then, how many were kept back since the last that was.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |begun: Instant| now.saturating_duration_since(begun) >= self.every;
        if state.begun.is_none_or(is_over) {
            state.begun = Some(now);
            state.admitted = 0;
        }
        if state.admitted == self.few {
            state.suppressed += 1;
            return None;
        }
        state.admitted += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of asking at these seconds.
    fn admitted<const N: usize>(seldom: &Seldom, seconds: [u64; N]) -> [Option<u64>; N] {
        let start = Instant::now();
        seconds.map(|second| seldom.admit(start + Duration::from_secs(second)))
    }

    #[test]
    fn one_in_an_interval_with_the_number_of_those_between() {
        let seldom = Seldom::new(Duration::from_secs(10));
        let expected = [Some(0), None, None, Some(2), None, Some(1), Some(0)];
        assert_eq!(admitted(&seldom, [0, 1, 9, 10, 11, 35, 45]), expected);
    }

    #[test]
    fn a_few_may_come_at_once() {
        let seldom = Seldom::few(3, Duration::from_secs(10));
        let expected = [Some(0), Some(0), Some(0), None, None, Some(2), Some(0)];
        assert_eq!(admitted(&seldom, [0, 0, 9, 9, 9, 10, 10]), expected);
    }
}
