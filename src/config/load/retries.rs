//! When something is tried again, and how often.

use super::Reader;
use crate::backoff::Backoff;
use crate::config::error::Origin;
use crate::config::keys::{Key, RetryKeys};
use crate::config::value;

impl Reader {
    /// How long the waits are and how many there may be, if that is said: exponential, or evenly spaced where that is asked
    /// for.
    pub(super) fn retries(&mut self, keys: &RetryKeys) -> Option<(Backoff, Option<u32>)> {
        let count = |text: &str| value::retries(text, &keys.disable);
        let exponential = self.exponential_backoff(keys);
        let exponential_retries = self.value(&keys.exponential_retries, count);
        let constant = self.optional(&keys.interval, value::duration);
        let constant_retries = self.value(&keys.constant_retries, count);
        self.refuse_unclear_backoff(keys);
        match constant {
            Some(interval) => Some((Backoff::Constant { interval }, constant_retries)),
            None => Some((exponential?, exponential_retries)),
        }
    }

    fn exponential_backoff(&mut self, keys: &RetryKeys) -> Option<Backoff> {
        let key = &keys.initial_interval;
        let initial = self.value(key, value::duration);
        let maximum = self.value(&keys.max_interval, value::duration);
        let (initial, maximum) = initial.zip(maximum)?;
        if initial > maximum {
            let origin = self
                .layers
                .get(key)
                .map_or(Origin::Unset(key.name), |found| found.origin.clone());
            let other = keys.max_interval.name;
            self.problem(origin, format!("is longer than {other}: make one fit the other"));
        }
        Some(Backoff::Exponential { initial, maximum })
    }

    /// Waits are either exponential or of one length: which of the two is meant cannot be guessed.
    fn refuse_unclear_backoff(&mut self, keys: &RetryKeys) {
        let first_set = |keys: &[&Key]| {
            let mut set = keys
                .iter()
                .filter_map(|key| Some((key.name, self.layers.get(key)?)));
            set.next().map(|(name, found)| (name, found.origin.clone()))
        };
        let interval = keys.interval.name;
        let constant = first_set(&[&keys.interval, &keys.constant_retries]);
        let exponential = first_set(&[
            &keys.initial_interval,
            &keys.max_interval,
            &keys.exponential_retries,
        ]);
        match (constant, exponential) {
            (Some((_, origin)), Some((other, _))) => self.problem(
                origin,
                format!("cannot be set together with {other}: waits are either of one length or exponential"),
            ),
            (Some((name, origin)), None) if name != interval => self.problem(
                origin,
                format!(
                    "has no meaning without {interval}: set that too, or {} instead",
                    keys.exponential_retries.name
                ),
            ),
            _ => {}
        }
    }
}
