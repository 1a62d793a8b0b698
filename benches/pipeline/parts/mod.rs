//! The parts, and how much each does.

mod ddl;
mod drain;
mod injector;
mod isolation;
mod latency;
mod memory;
mod posts;
mod slow;
mod snapshot;

use std::time::Duration;

use crate::report::Figure;
use crate::stage::World;

/// How long deliveries that are waited for may take.
const DEADLINE: Duration = Duration::from_secs(180);

/// What an endpoint of the program has in flight at most, by default.
const IN_FLIGHT: usize = 64;

/// A part: measures, and fails loudly when what it measures does not work.
type Part = fn(&World, &Scale) -> Vec<Figure>;

/// All parts, in the order in which they run.
pub(crate) const PARTS: [(&str, Part); 9] = [
    ("drain", drain::measure),
    ("posts", posts::measure),
    ("injector", injector::measure),
    ("slow", slow::measure),
    ("latency", latency::measure),
    ("memory", memory::measure),
    ("isolation", isolation::measure),
    ("ddl", ddl::measure),
    ("snapshot", snapshot::measure),
];

/// How much is done.
pub(crate) struct Scale {
    pairs: usize,
    /// Changes that nobody is subscribed to.
    drained: usize,
    /// Changes that are posted.
    posted: usize,
    /// How long the load client is measured.
    load: Duration,
    /// Rows, each changed several times, for the slow endpoint.
    slow_rows: usize,
    /// Changes whose latency is taken.
    timed: usize,
    /// Rows of the transaction for the receiver that hangs.
    hanging: usize,
    /// How long it hangs.
    hang: Duration,
    /// How often each row changes for the endpoints that are beside bad ones.
    isolated: usize,
    /// How many tables a small schema has, and a large one.
    tables: [usize; 2],
    /// Rows that are read and encoded.
    read_rows: usize,
    /// Rows that are read and delivered.
    delivered_rows: usize,
    /// How long the program rests before its memory is looked at.
    rest: Duration,
}

impl Scale {
    pub(crate) fn full(pairs: usize) -> Self {
        Self {
            pairs,
            drained: 300_000,
            posted: 100_000,
            load: Duration::from_secs(3),
            slow_rows: 4_000,
            timed: 5_000,
            hanging: 300_000,
            hang: Duration::from_secs(20),
            isolated: 400,
            tables: [100, 1_000],
            read_rows: 3_000_000,
            delivered_rows: 5_000_000,
            rest: Duration::from_secs(3),
        }
    }

    pub(crate) fn smoke() -> Self {
        Self {
            pairs: 1,
            drained: 2_000,
            posted: 500,
            load: Duration::from_millis(100),
            slow_rows: 40,
            timed: 50,
            hanging: 2_000,
            hang: Duration::from_millis(200),
            isolated: 3,
            tables: [2, 4],
            read_rows: 2_000,
            delivered_rows: 500,
            rest: Duration::from_millis(100),
        }
    }
}

/// Runs `a` and `b` in turns, each first in every second pair.
fn pairs<A, B>(pairs: usize, mut a: impl FnMut(usize) -> A, mut b: impl FnMut(usize) -> B) -> Vec<(A, B)> {
    (0..pairs)
        .map(|pair| {
            if pair % 2 == 0 {
                let first = a(pair);
                (first, b(pair))
            } else {
                let first = b(pair);
                (a(pair), first)
            }
        })
        .collect()
}
