//! When to try again, and when to give up. Pure: randomness is an argument.

use std::time::Duration;

use crate::backoff::Backoff;

/// What a receiver's `Retry-After` is honoured up to where the waits are of one length, which may be short.
const CONSTANT_MAXIMUM: Duration = Duration::from_secs(30);

/// How often a delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// Never: a failure is final.
    Disabled,
    /// So often after the first try, as long as the endpoint takes other deliveries meanwhile.
    AtMost(u32),
}

/// When a delivery that failed is tried again, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long to wait between two tries.
    pub backoff: Backoff,
    /// How often it is tried again.
    pub retries: Retries,
}

/// What becomes of a delivery that failed in a way that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is tried again after so long.
    Again(Duration),
    /// It is given up, and becomes a dead letter.
    Dead,
}

impl RetryPolicy {
    /// What becomes of a delivery after `attempts` tries, the one that failed just now included.
    ///
    /// Its retries count only while the endpoint takes other deliveries (`others_delivered_since_first_try`): where it
    /// takes none, it is the endpoint that fails, and how long that is waited for is not this policy's to say. Where
    /// retries are disabled, each failure is final.
    ///
    /// `retry_after` is what the receiver asked for, `random` is in `[0, 1)`.
    #[must_use]
    pub fn decide(
        &self,
        attempts: u32,
        retry_after: Option<Duration>,
        others_delivered_since_first_try: bool,
        random: f64,
    ) -> Decision {
        match self.retries {
            Retries::Disabled => Decision::Dead,
            Retries::AtMost(retries) if attempts > retries && others_delivered_since_first_try => {
                Decision::Dead
            }
            Retries::AtMost(_) => Decision::Again(self.wait(attempts, retry_after, random)),
        }
    }

    /// How long to wait after the `failures`-th failure in a row (the first is 1). `random` is in `[0, 1)`.
    ///
    /// `retry_after`, what the receiver asked for, is a lower bound: it is honoured up to the maximum.
    #[must_use]
    pub fn wait(&self, failures: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let own = self.backoff.wait(failures, random);
        own.max(retry_after.unwrap_or(Duration::ZERO)).min(self.maximum())
    }

    /// The longest wait, which is what a receiver's `Retry-After` is honoured up to.
    #[must_use]
    pub fn maximum(&self) -> Duration {
        match self.backoff {
            Backoff::Exponential { maximum, .. } => maximum,
            Backoff::Constant { interval } => interval.max(CONSTANT_MAXIMUM),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: RetryPolicy = exponential(Retries::AtMost(20));

    const fn exponential(retries: Retries) -> RetryPolicy {
        RetryPolicy {
            backoff: Backoff::Exponential {
                initial: SECOND,
                maximum: Duration::from_secs(30),
            },
            retries,
        }
    }

    const fn constant(interval: Duration) -> RetryPolicy {
        RetryPolicy {
            backoff: Backoff::Constant { interval },
            retries: Retries::AtMost(20),
        }
    }

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let bounds: Vec<u64> = (1..=7)
            .map(|failures| POLICY.wait(failures, None, 1.0).as_secs())
            .collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_constant_wait_is_the_same_after_each_failure() {
        for failures in [1, 2, 20, u32::MAX] {
            assert_eq!(constant(7 * SECOND).wait(failures, None, 0.1), 7 * SECOND);
        }
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_maximum() {
        let asked = |policy: RetryPolicy, seconds| policy.wait(1, Some(seconds * SECOND), 0.5);
        assert_eq!(asked(POLICY, 0), Duration::from_millis(500));
        assert_eq!(asked(POLICY, 7), 7 * SECOND);
        assert_eq!(asked(POLICY, 3600), 30 * SECOND);
        // Short waits do not make a receiver's wish void, and long ones are not cut.
        assert_eq!(asked(constant(SECOND), 7), 7 * SECOND);
        assert_eq!(asked(constant(SECOND), 3600), 30 * SECOND);
        assert_eq!(asked(constant(90 * SECOND), 7), 90 * SECOND);
    }

    #[test]
    fn is_dead_after_its_retries_only_where_others_are_delivered() {
        for (retries, attempts, others, dead) in [
            (Retries::AtMost(20), 1, true, false),
            (Retries::AtMost(20), 20, true, false),
            (Retries::AtMost(20), 21, true, true),
            (Retries::AtMost(20), 21, false, false),
            (Retries::AtMost(20), u32::MAX, false, false),
            (Retries::AtMost(0), 1, true, true),
            (Retries::AtMost(0), 1, false, false),
            (Retries::Disabled, 1, true, true),
            (Retries::Disabled, 1, false, true),
        ] {
            let decision = exponential(retries).decide(attempts, None, others, 0.5);
            assert_eq!(
                decision == Decision::Dead,
                dead,
                "{retries:?}, {attempts} attempts, others delivered: {others}"
            );
        }
        let again = POLICY.decide(2, Some(3 * SECOND), true, 0.5);
        assert_eq!(again, Decision::Again(3 * SECOND));
    }

    fn any_policy() -> impl Strategy<Value = RetryPolicy> {
        let duration = || (1..100_000_u64).prop_map(Duration::from_millis);
        let backoff = prop_oneof![
            (duration(), duration()).prop_map(|(one, other)| Backoff::Exponential {
                initial: one.min(other),
                maximum: one.max(other)
            }),
            duration().prop_map(|interval| Backoff::Constant { interval }),
        ];
        let retries = prop_oneof![Just(Retries::Disabled), (0..40_u32).prop_map(Retries::AtMost)];
        (backoff, retries).prop_map(|(backoff, retries)| RetryPolicy { backoff, retries })
    }

    proptest! {
        /// A delivery's life against the plain counting of its tries.
        #[test]
        fn lives_as_long_as_its_retries_and_never_waits_above_the_maximum(
            policy in any_policy(),
            tries in prop::collection::vec((any::<bool>(), 0.0..1.0_f64, any::<Option<u32>>()), 1..80),
        ) {
            let mut retried = 0;
            for (number, (others, random, asked)) in (1..).zip(tries) {
                let asked = asked.map(|seconds| Duration::from_secs(seconds.into()));
                let decision = policy.decide(number, asked, others, random);
                let may_go_on = match policy.retries {
                    Retries::Disabled => false,
                    Retries::AtMost(limit) => retried < limit || !others,
                };
                match decision {
                    Decision::Again(wait) => {
                        prop_assert!(may_go_on);
                        prop_assert!(wait <= policy.maximum());
                        prop_assert!(wait >= asked.unwrap_or_default().min(policy.maximum()));
                        retried += 1;
                    }
                    Decision::Dead => {
                        prop_assert!(!may_go_on);
                        break;
                    }
                }
            }
        }

        #[test]
        fn any_number_of_failures_has_a_wait(failures in any::<u32>(), random in 0.0..1.0_f64) {
            prop_assert!(POLICY.wait(failures, None, random) <= POLICY.maximum());
        }
    }
}
