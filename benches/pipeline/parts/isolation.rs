//! Healthy endpoints beside others that hang or fail.

use std::cell::RefCell;
use std::time::Duration;

use super::{DEADLINE, Scale, pairs};
use crate::receiver::{Answering, Receiver};
use crate::report::{Figure, Target};
use crate::stage::{Stage, World};

/// All endpoints.
const ENDPOINTS: usize = 100;
/// Rows, each a lane of its own.
const ROWS: usize = 4;
/// How long an answer takes: what is measured is how many requests are under way at one time, and not this machine.
const ANSWER_TIME: Duration = Duration::from_millis(30);
/// The payloads in memory take next to nothing of this.
const OVERHEAD: f64 = 48.0;
const MIB: f64 = 1024.0 * 1024.0;

/// What a run with some endpoints has shown.
struct Run {
    /// Deliveries a second that the healthy ones got.
    rate: f64,
    /// Seconds from the last of them until the slot had confirmed the end.
    lag: f64,
    /// The most memory that the program took, in bytes.
    peak: u64,
}

/// The healthy endpoints and the bad ones of one comparison.
struct Endpoints {
    healthy: (Receiver, usize),
    bad: Vec<(Receiver, usize)>,
}

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    let few = vec![(Answering::Never, 1), (Answering::Failure, 1)];
    let mut figures = compare(
        world,
        scale,
        "isolation_few",
        "1 that hangs and 1 that fails",
        few,
    );
    let many = vec![(Answering::Never, ENDPOINTS / 2)];
    figures.extend(compare(world, scale, "isolation_many", "50 that hang", many));
    figures
}

fn compare(
    world: &World,
    scale: &Scale,
    database: &'static str,
    beside: &str,
    bad: Vec<(Answering, usize)>,
) -> Vec<Figure> {
    let mut stage = world.stage(database);
    let healthy = ENDPOINTS - bad.iter().map(|(_, count)| count).sum::<usize>();
    let endpoints = Endpoints {
        healthy: (Receiver::start(Answering::After(ANSWER_TIME), false), healthy),
        bad: bad
            .into_iter()
            .map(|(answering, count)| (Receiver::start(answering, false), count))
            .collect(),
    };
    stage.insert(1, 1, ROWS);
    stage.sql.run(&format!(
        "DO $$ BEGIN FOR v IN 2..{} LOOP UPDATE orders SET version = v; COMMIT; END LOOP; END $$",
        scale.isolated
    ));
    let end = stage.end_of_wal();
    let stage = RefCell::new(stage);
    let run = |with_bad| endpoints.run(&mut stage.borrow_mut(), scale, with_bad, &end);
    let runs = pairs(scale.pairs, |_| run(false), |_| run(true));
    let each = |figure: &dyn Fn(&(Run, Run)) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    vec![
        Figure::new(
            format!("{healthy} endpoints alone"),
            "/s",
            each(&|(alone, _)| alone.rate),
        ),
        Figure::new(
            format!("the same beside {beside} / alone"),
            "",
            each(&|(alone, with_bad)| with_bad.rate / alone.rate),
        )
        .with(Target::AtLeast(0.9)),
        Figure::new(
            "from the last delivery to its confirmation",
            "s",
            each(&|(_, with_bad)| with_bad.lag),
        ),
        Figure::new(
            "peak memory",
            "MiB",
            each(&|(_, with_bad)| with_bad.peak as f64 / MIB),
        )
        .with(Target::AtMost(100.0 + OVERHEAD)),
    ]
}

impl Endpoints {
    fn run(&self, stage: &mut Stage<'_>, scale: &Scale, with_bad: bool, end: &str) -> Run {
        let bad = if with_bad { &self.bad[..] } else { &[] };
        let (healthy, count) = &self.healthy;
        for (receiver, count) in bad.iter().chain([&self.healthy]) {
            for number in 0..*count {
                stage.subscribe(&format!("{}/{number}", receiver.url()), "orders");
            }
        }
        let copy = format!("{}_copy", stage.name());
        stage.copy_slot(&copy);
        let expected = count * ROWS * scale.isolated;
        healthy.expect(expected);
        let program = stage.program_on(&copy);
        let span = healthy.wait(DEADLINE);
        let confirmed = stage.sql.wait_for(&format!(
            "SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = '{copy}'"
        ));
        let (_, peak) = program.resident();
        drop(program);
        stage.drop_slot(&copy);
        stage.forget_deliveries();
        stage.sql.run("TRUNCATE pgstream.webhook_subscriptions");
        Run {
            rate: (expected - 1) as f64 / (span.last - span.first).as_secs_f64(),
            lag: (confirmed - span.last).as_secs_f64(),
            peak,
        }
    }
}
