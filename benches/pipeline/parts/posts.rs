//! One POST an event, against the load client.

use std::cell::RefCell;

use super::{DEADLINE, IN_FLIGHT, Scale, pairs};
use crate::load;
use crate::receiver::{Answering, Receiver};
use crate::report::{Figure, Target};
use crate::stage::{Stage, World};

const ROWS_A_TRANSACTION: usize = 100;

/// Requests a second of the load client.
struct Load {
    same: f64,
    best: f64,
}

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    let mut stage = world.stage("posts");
    let receiver = Receiver::start(Answering::AtOnce, false);
    stage.subscribe(&receiver.url(), "orders");
    stage.insert(1, scale.posted / ROWS_A_TRANSACTION, ROWS_A_TRANSACTION);
    // Also warms up both sides, and leaves a request to be sent by the load client.
    by_program(&mut stage, &receiver, scale.posted);
    let request = receiver.sample();
    let best = load::best_connections(receiver.address(), &request, scale.load / 6);
    let stage = RefCell::new(stage);
    let runs = pairs(
        scale.pairs,
        |_| by_program(&mut stage.borrow_mut(), &receiver, scale.posted),
        |_| Load {
            same: load::rate(receiver.address(), &request, IN_FLIGHT, scale.load),
            best: load::rate(receiver.address(), &request, best, scale.load),
        },
    );
    let each = |figure: &dyn Fn(&(f64, Load)) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    vec![
        Figure::new(
            format!("pgstream, requests of {} bytes", request.len()),
            "/s",
            each(&|(ours, _)| *ours),
        ),
        Figure::new(
            format!("load client, {IN_FLIGHT} connections"),
            "/s",
            each(&|(_, load)| load.same),
        ),
        Figure::new(
            format!("load client, {best} connections (its best)"),
            "/s",
            each(&|(_, load)| load.best),
        ),
        Figure::new(
            format!("pgstream / load client, {IN_FLIGHT} connections"),
            "",
            each(&|(ours, load)| ours / load.same),
        )
        .with(Target::AtLeast(0.3)),
        Figure::new(
            format!("pgstream / load client, {best} connections"),
            "",
            each(&|(ours, load)| ours / load.best),
        )
        .with(Target::AtLeast(0.3)),
    ]
}

/// Requests a second.
fn by_program(stage: &mut Stage<'_>, receiver: &Receiver, posted: usize) -> f64 {
    const COPY: &str = "posts_ours";
    stage.copy_slot(COPY);
    receiver.expect(posted);
    let program = stage.program_on(COPY);
    let span = receiver.wait(DEADLINE);
    program.terminate();
    assert_eq!(receiver.count(), posted, "something was sent twice");
    stage.drop_slot(COPY);
    stage.forget_deliveries();
    (posted - 1) as f64 / (span.last - span.first).as_secs_f64()
}
