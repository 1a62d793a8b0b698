//! How long something takes, as a histogram.

use std::time::Duration;

use prometheus::core::Metric as _;
use prometheus::proto::Metric;
use prometheus::{Histogram, HistogramOpts};

/// Counts durations in buckets. Counting is a few atomic additions: no lock, no allocation.
#[derive(Debug, Clone)]
pub struct Durations(Histogram);

impl Durations {
    /// Buckets up to these bounds, in seconds and in ascending order, and one for what is longer.
    ///
    /// # Panics
    /// If they are not in that order: they are constants.
    #[must_use]
    pub fn new(bounds: &[f64]) -> Self {
        // Its name is given to it where it is shown.
        let options = HistogramOpts::new("durations", "durations").buckets(bounds.to_vec());
        Self(Histogram::with_opts(options).expect("the bounds are finite and ascend"))
    }

    /// Counts one.
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    /// What was counted so far.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.0.metric()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::proto::Bucket;

    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let durations = Durations::new(&[0.1, 1.0]);
        for millis in [50, 100, 101, 5_000] {
            durations.observe(Duration::from_millis(millis));
        }
        let metric = durations.metric();
        let histogram = metric.get_histogram();
        assert_eq!(histogram.get_sample_count(), 4);
        let buckets = histogram.get_bucket().iter();
        let counts: Vec<u64> = buckets.map(Bucket::cumulative_count).collect();
        assert_eq!(counts, [2, 3]);
    }
}
