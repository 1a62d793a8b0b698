//! Resident memory, at rest and before a receiver that hangs.

use std::thread;

use super::{DEADLINE, Scale};
use crate::receiver::{Answering, Receiver};
use crate::report::{Figure, Target};
use crate::stage::World;

const MIB: f64 = 1024.0 * 1024.0;
/// The default of `PGSTREAM_WEBHOOK_NOTIFIER_MAX_QUEUE_BYTES`, in MiB.
const BOUND: f64 = 100.0;
/// What may be above the bound, in MiB.
const OVERHEAD: f64 = 48.0;

/// The walsender of this database, which there has to be one of.
const WALSENDER: &str = "SELECT active_pid FROM pg_replication_slots WHERE database = current_database()";

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    vec![
        Figure::new("at rest", "MiB", vec![at_rest(world, scale)]).with(Target::AtMost(25.0)),
        Figure::new(
            format!("peak, {} rows for a receiver that hangs", scale.hanging),
            "MiB",
            vec![hanging(world, scale)],
        )
        .with(Target::AtMost(BOUND + OVERHEAD)),
    ]
}

fn at_rest(world: &World, scale: &Scale) -> f64 {
    let mut stage = world.stage("rest");
    let receiver = Receiver::start(Answering::AtOnce, false);
    stage.subscribe(&receiver.url(), "orders");
    receiver.expect(10);
    let program = stage.program();
    stage.insert(1, 10, 1);
    receiver.wait(DEADLINE);
    thread::sleep(scale.rest);
    let (resident, _) = program.resident();
    program.terminate();
    resident as f64 / MIB
}

/// The peak while it hangs.
fn hanging(world: &World, scale: &Scale) -> f64 {
    let mut stage = world.stage("hanging");
    stage
        .sql
        .run("ALTER DATABASE hanging SET wal_sender_timeout = '5s'");
    let receiver = Receiver::start(Answering::Never, false);
    stage.subscribe(&receiver.url(), "orders");
    let mut program = stage.program();
    let walsender: i32 = stage.sql.value(WALSENDER);
    stage.insert(1, 1, scale.hanging);
    thread::sleep(scale.hang);
    assert!(receiver.count() > 0, "something was sent");
    assert!(program.is_running(), "the program has ended");
    assert_eq!(
        stage.sql.value::<i32>(WALSENDER),
        walsender,
        "the replication connection is another one"
    );
    let (_, peak) = program.resident();
    drop(program);
    peak as f64 / MIB
}
