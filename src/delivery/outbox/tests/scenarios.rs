//! Particular courses of events, step by step.

use super::*;

/// The names of the pieces of work that an outbox whose worker does not come has done, while `feed` goes on.
fn pieces(world: &mut World, count: usize, mut feed: impl FnMut(&mut World)) -> Vec<&'static str> {
    let mut pieces = Vec::new();
    for _ in 0..count {
        feed(world);
        world.take();
        let Some(work) = &world.work else { break };
        pieces.push(match work {
            StoreWork::Append(_) => "append",
            StoreWork::Load { .. } => "load",
            StoreWork::Sweep { after: 0, .. } => "sweep from the start",
            StoreWork::Sweep { .. } => "sweep on",
            _ => "other",
        });
        world.done(StoreEnding::Done);
    }
    pieces
}

/// One change of a row is read.
fn push(world: &mut World) {
    world.step(Step::Push(vec![LaneKeys::Row(LaneKey(1))]));
}

/// An outbox whose one delivery has just been written to the backlog.
fn behind_a_backlog() -> World {
    let mut world = World::new(1);
    push(&mut world);
    world.step(Step::Spill);
    assert_eq!(pieces(&mut world, 1, |_| {}), ["append"]);
    world
}

#[test]
fn a_long_sweep_takes_turns_with_appends_and_begins_anew_for_the_next_one() {
    let mut world = World::new(1);
    for _ in 0..20 {
        push(&mut world);
    }
    world.step(Step::Spill);
    assert_eq!(pieces(&mut world, 1, |_| {}), ["append"]);
    world.step(Step::Sweep);
    let first = pieces(&mut world, 4, push);
    let sweeps = first.iter().filter(|piece| piece.starts_with("sweep")).count();
    assert!(
        first.contains(&"sweep from the start") && first.contains(&"sweep on"),
        "{first:?}"
    );
    assert!(sweeps < first.len(), "{first:?}");
    world.step(Step::Sweep);
    let second = pieces(&mut world, 3, push);
    assert!(second.contains(&"sweep from the start"), "{second:?}");
    world.calm_down();
    assert!(world.outbox.lock().backlog.sweep_after.is_none());
}

#[test]
fn what_waits_in_memory_makes_room_for_the_rows_it_waits_for() {
    let mut world = behind_a_backlog();
    push(&mut world);
    assert!(world.outbox.is_idle() && world.outbox.load(world.now).charge > 0);
    world.step(Step::Take);
    assert!(matches!(world.work.take(), Some(StoreWork::Load { .. })));
    let next = world.outbox.stored(super::super::Stored::NoRoom, world.now);
    world.follow(next);
    assert_eq!(pieces(&mut world, 1, |_| {}), ["append"]);
    world.calm_down();
}

#[test]
fn an_append_that_was_given_up_is_done_again_before_anything_goes_past_the_backlog() {
    let mut world = World::new(1);
    push(&mut world);
    world.step(Step::Spill);
    world.step(Step::Take);
    world.step(Step::Done(StoreEnding::Failed));
    world.now += Duration::from_secs(10);
    world.step(Step::Ring);
    // A load that finds nothing is not the end of the backlog.
    assert_eq!(pieces(&mut world, 2, |_| {}), ["load", "append"]);
    world.calm_down();
}

#[test]
fn what_waits_in_memory_at_the_end_goes_to_the_backlog() {
    let mut world = behind_a_backlog();
    push(&mut world);
    assert!(world.outbox.lock().holds_queue());
    let next = world.outbox.stop(world.now);
    world.follow(next);
    assert_eq!(pieces(&mut world, 1, |_| {}), ["append"]);
    world.step(Step::Take);
    assert!(!world.outbox.wants_store());
}
