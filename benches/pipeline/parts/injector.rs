//! The same posts with metadata filled in, and without.

use std::cell::RefCell;

use super::{DEADLINE, Scale, pairs};
use crate::program::Program;
use crate::receiver::{Answering, Receiver};
use crate::report::{Figure, Target};
use crate::stage::{Stage, World};

const ROWS_A_TRANSACTION: usize = 100;

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    let mut stage = world.stage("injector");
    let receiver = Receiver::start(Answering::AtOnce, false);
    stage.subscribe(&receiver.url(), "orders");
    stage.insert(1, scale.posted / ROWS_A_TRANSACTION, ROWS_A_TRANSACTION);
    // Also warms up both sides, and leaves a request to be looked at.
    rate(&mut stage, &receiver, scale.posted, |stage, slot| {
        stage.injecting_program_on(slot)
    });
    let sample = String::from_utf8_lossy(&receiver.sample()).into_owned();
    assert!(!sample.contains(r#""id":"""#), "it has ids: {sample}");
    let stage = RefCell::new(stage);
    let runs = pairs(
        scale.pairs,
        |_| {
            rate(&mut stage.borrow_mut(), &receiver, scale.posted, |stage, slot| {
                stage.injecting_program_on(slot)
            })
        },
        |_| {
            rate(&mut stage.borrow_mut(), &receiver, scale.posted, |stage, slot| {
                stage.program_on(slot)
            })
        },
    );
    let each = |figure: &dyn Fn(&(f64, f64)) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    vec![
        Figure::new("with the injector", "/s", each(&|(on, _)| *on)),
        Figure::new("without", "/s", each(&|(_, off)| *off)),
        Figure::new("with / without", "", each(&|(on, off)| on / off)).with(Target::AtLeast(0.9)),
    ]
}

/// Requests a second.
fn rate(
    stage: &mut Stage<'_>,
    receiver: &Receiver,
    posted: usize,
    start: impl Fn(&Stage<'_>, &str) -> Program,
) -> f64 {
    const COPY: &str = "injector_ours";
    stage.copy_slot(COPY);
    receiver.expect(posted);
    let program = start(stage, COPY);
    let span = receiver.wait(DEADLINE);
    program.terminate();
    assert_eq!(receiver.count(), posted, "something was sent twice");
    stage.drop_slot(COPY);
    stage.forget_deliveries();
    (posted - 1) as f64 / (span.last - span.first).as_secs_f64()
}
