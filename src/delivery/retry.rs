//! When to try again. Pure: randomness is an argument.

use std::time::Duration;

/// Exponential backoff with full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog): the wait is
/// uniform between nothing and a bound that doubles with each failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound after the first failure.
    pub initial: Duration,
    /// The bound that is never exceeded, not even where a receiver asks for more.
    pub maximum: Duration,
}

impl Backoff {
    /// How long to wait after the `failures`-th failure in a row (the first is 1). `random` is in `[0, 1)`.
    ///
    /// `retry_after`, what the receiver asked for, is a lower bound: it is honoured up to the maximum.
    #[must_use]
    pub fn wait(&self, failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let bound = self.initial.saturating_mul(1 << doublings).min(self.maximum);
        let jittered = bound.mul_f64(random.clamp(0.0, 1.0));
        jittered
            .max(retry_after.unwrap_or(Duration::ZERO))
            .min(self.maximum)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_secs(1),
        maximum: Duration::from_secs(30),
    };

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let bounds: Vec<u64> = (1..=7)
            .map(|failures| BACKOFF.wait(failures, None, 1.0).as_secs())
            .collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_maximum() {
        let wait = |seconds| BACKOFF.wait(1, Some(Duration::from_secs(seconds)), 0.5);
        assert_eq!(wait(0), Duration::from_millis(500));
        assert_eq!(wait(7), Duration::from_secs(7));
        assert_eq!(wait(3600), Duration::from_secs(30));
    }

    proptest! {
        #[test]
        fn never_above_the_maximum(failures in any::<u32>(), random in 0.0..1.0_f64, asked in any::<Option<u32>>()) {
            let asked = asked.map(|seconds| Duration::from_secs(seconds.into()));
            prop_assert!(BACKOFF.wait(failures, asked, random) <= BACKOFF.maximum);
        }
    }
}
