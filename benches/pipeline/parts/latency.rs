//! From commit to receipt, while nothing else happens.

use std::thread;
use std::time::{Duration, Instant};

use super::{DEADLINE, Scale};
use crate::receiver::{Answering, Receiver};
use crate::report::{Figure, Target};
use crate::stage::World;

/// 200 a second.
const INTERVAL: Duration = Duration::from_millis(5);
/// The first ones open connections and fill caches.
const WARM_UP: usize = 100;

/// When the client sent COMMIT, and when it had returned.
struct Commit {
    sent: Instant,
    returned: Instant,
}

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    let mut stage = world.stage("latency");
    let receiver = Receiver::start(Answering::AtOnce, true);
    stage.subscribe(&receiver.url(), "orders");
    let program = stage.program();
    let count = WARM_UP.min(scale.timed) + scale.timed;
    let mut runs: Vec<[Vec<f64>; 2]> = Vec::new();
    for run in 0..scale.pairs {
        let first = 1 + run * count;
        receiver.expect(count);
        let mut commits = Vec::with_capacity(count);
        let start = Instant::now();
        for nth in 0..count {
            let due = start + INTERVAL * u32::try_from(nth).expect("a few thousand");
            thread::sleep(due.saturating_duration_since(Instant::now()));
            stage.sql.run("BEGIN");
            stage
                .sql
                .run(&crate::stage::insert_rows(&(first + nth).to_string(), 1));
            let sent = Instant::now();
            stage.sql.run("COMMIT");
            commits.push(Commit {
                sent,
                returned: Instant::now(),
            });
        }
        receiver.wait(DEADLINE);
        runs.push(latencies(&commits, &receiver, first, count - scale.timed));
    }
    program.terminate();
    let percentile = |from: usize, percent: usize| {
        let of_run = |run: &[Vec<f64>; 2]| run[from][(run[from].len() - 1) * percent / 100];
        runs.iter().map(of_run).collect::<Vec<f64>>()
    };
    let timed = scale.timed;
    vec![
        Figure::new(
            format!("p50 from COMMIT sent, {timed} samples"),
            "ms",
            percentile(0, 50),
        )
        .with(Target::AtMost(0.7)),
        Figure::new(
            format!("p99 from COMMIT sent, {timed} samples"),
            "ms",
            percentile(0, 99),
        )
        .with(Target::AtMost(1.5)),
        Figure::new("p50 from COMMIT returned", "ms", percentile(1, 50)).with(Target::AtMost(0.7)),
        Figure::new("p99 from COMMIT returned", "ms", percentile(1, 99)).with(Target::AtMost(1.5)),
    ]
}

/// Milliseconds from each moment of a commit to the receipt, sorted.
fn latencies(commits: &[Commit], receiver: &Receiver, first: usize, warm_up: usize) -> [Vec<f64>; 2] {
    let mut latencies = [Vec::new(), Vec::new()];
    for arrival in receiver.arrivals() {
        let nth = usize::try_from(arrival.key).expect("keys are small") - first;
        if nth < warm_up {
            continue;
        }
        // A receipt may come before the client has woken up from its COMMIT.
        let since = |moment: Instant| arrival.at.saturating_duration_since(moment).as_secs_f64() * 1e3;
        latencies[0].push(since(commits[nth].sent));
        latencies[1].push(since(commits[nth].returned));
    }
    for sorted in &mut latencies {
        assert_eq!(sorted.len(), commits.len() - warm_up, "each change arrives once");
        sorted.sort_by(f64::total_cmp);
    }
    latencies
}
