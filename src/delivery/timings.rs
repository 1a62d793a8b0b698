//! How long exchanges take, and how long a change takes from its commit to its delivery.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::event::{Event, Origin, commit_time};
use crate::telemetry::Durations;

/// The bounds for an exchange, in seconds: from a receiver beside us to the longest time-out that is usual.
const EXCHANGE: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// The bounds from commit to delivery: from what a quiet system takes to what an endpoint that was down for a day does.
const COMMIT_TO_DELIVERY: &[f64] = &[
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
    86400.0,
];

/// What was timed since the start.
#[derive(Debug)]
pub struct Timings {
    /// Exchanges, whatever came of them.
    pub exchanges: Durations,
    /// Changes of the stream, from their commit by the source's clock to their delivery by ours.
    pub commit_to_delivery: Durations,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            exchanges: Durations::new(EXCHANGE),
            commit_to_delivery: Durations::new(COMMIT_TO_DELIVERY),
        }
    }
}

impl Timings {
    /// An exchange has taken so long.
    pub(super) fn exchanged(&self, took: Duration) {
        self.exchanges.observe(took);
    }

    /// These were delivered just now. What an operator asked for again, and rows, have no commit that it would be fair to
    /// measure from.
    pub(super) fn delivered(&self, events: &[Arc<Event>], now: SystemTime) {
        let streamed = events.iter().filter(|event| event.origin == Origin::Stream);
        for commit in streamed.filter_map(|event| commit_time(&event.payload)) {
            // Clocks that differ may show an effect before its cause.
            let took = now.duration_since(commit).unwrap_or_default();
            self.commit_to_delivery.observe(took);
        }
    }
}
