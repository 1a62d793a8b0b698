//! How long to wait after failures, before what failed is tried again. Pure: randomness is an argument.

use std::time::Duration;

/// How the wait depends on the number of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Exponential backoff with full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog): the wait
    /// is uniform between nothing and a bound that doubles with each failure.
    Exponential {
        /// The bound after the first failure.
        initial: Duration,
        /// The bound that is never exceeded.
        maximum: Duration,
    },
    /// Always as long.
    Constant {
        /// The wait after each failure.
        interval: Duration,
    },
}

impl Backoff {
    /// How long to wait after the `failures`-th failure in a row (the first is 1). `random` is in `[0, 1)`.
    #[must_use]
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        match *self {
            Self::Exponential { initial, maximum } => {
                let doublings = failures.saturating_sub(1).min(31);
                let bound = initial.saturating_mul(1 << doublings).min(maximum);
                bound.mul_f64(random.clamp(0.0, 1.0))
            }
            Self::Constant { interval } => interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_wait_is_within_the_bounds(
            failures in 0u32..,
            initial in 0u64..100_000,
            more in 0u64..100_000,
            random in 0.0f64..1.0,
        ) {
            let (initial, maximum) = (Duration::from_millis(initial), Duration::from_millis(initial + more));
            let wait = Backoff::Exponential { initial, maximum }.wait(failures, random);
            prop_assert!(wait <= maximum);
            let bound = (0..failures.saturating_sub(1).min(40)).fold(initial, |bound, _| (bound * 2).min(maximum));
            prop_assert!(wait <= bound);
            prop_assert_eq!(Backoff::Constant { interval: initial }.wait(failures, random), initial);
        }
    }
}
