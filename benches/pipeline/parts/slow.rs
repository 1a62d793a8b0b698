//! An endpoint that takes its time, against one request after another.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use super::{DEADLINE, Scale, pairs};
use crate::load;
use crate::receiver::{Answering, Arrival, Receiver};
use crate::report::{Figure, Target};
use crate::stage::{Stage, World};

const ANSWER_TIME: Duration = Duration::from_millis(20);
const CHANGES_A_ROW: usize = 5;
const ROWS_A_TRANSACTION: usize = 20;

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    let mut stage = world.stage("slow");
    let receiver = Receiver::start(Answering::After(ANSWER_TIME), true);
    stage.subscribe(&receiver.url(), "orders");
    // The versions of a row follow one another closely: a lane has more than one of them at a time.
    let block = scale.slow_rows / ROWS_A_TRANSACTION;
    stage.sql.run(&format!(
        "DO $$ BEGIN FOR t IN 0..{block} - 1 LOOP {}; COMMIT; \
           FOR v IN 2..{CHANGES_A_ROW} LOOP \
             UPDATE orders SET version = v WHERE id > t * {ROWS_A_TRANSACTION} AND id <= (t + 1) * {ROWS_A_TRANSACTION}; \
             COMMIT; \
           END LOOP; \
         END LOOP; END $$",
        crate::stage::insert_rows(&format!("t * {ROWS_A_TRANSACTION} + 1"), ROWS_A_TRANSACTION)
    ));
    let stage = RefCell::new(stage);
    // Leaves a request to be sent one after another.
    by_program(&mut stage.borrow_mut(), &receiver, scale.slow_rows);
    let request = receiver.sample();
    let runs = pairs(
        scale.pairs,
        |_| by_program(&mut stage.borrow_mut(), &receiver, scale.slow_rows),
        |_| load::rate(receiver.address(), &request, 1, scale.load.max(ANSWER_TIME * 10)),
    );
    let each = |figure: &dyn Fn(&(f64, f64)) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    vec![
        Figure::new("pgstream, each row in order", "/s", each(&|(ours, _)| *ours)),
        Figure::new("one request after another", "/s", each(&|(_, single)| *single)),
        Figure::new("speed-up", "x", each(&|(ours, single)| ours / single)).with(Target::AtLeast(50.0)),
    ]
}

/// Requests a second.
fn by_program(stage: &mut Stage<'_>, receiver: &Receiver, rows: usize) -> f64 {
    const COPY: &str = "slow_ours";
    let expected = rows * CHANGES_A_ROW;
    stage.copy_slot(COPY);
    receiver.expect(expected);
    let program = stage.program_on(COPY);
    let span = receiver.wait(DEADLINE);
    program.terminate();
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len(), expected, "something was sent twice");
    assert_in_order(&arrivals, rows);
    stage.drop_slot(COPY);
    stage.forget_deliveries();
    (expected - 1) as f64 / (span.last - span.first).as_secs_f64()
}

fn assert_in_order(arrivals: &[Arrival], rows: usize) {
    let mut versions: HashMap<u64, u64> = HashMap::new();
    for arrival in arrivals {
        let last = versions.entry(arrival.key).or_default();
        assert_eq!(arrival.version, *last + 1, "row {}", arrival.key);
        *last = arrival.version;
    }
    assert_eq!(versions.len(), rows);
    assert!(versions.values().all(|last| *last == CHANGES_A_ROW as u64));
}
