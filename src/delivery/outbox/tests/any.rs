//! Whatever happens, in any order.

use proptest::prelude::*;

use super::*;

fn lanes() -> impl Strategy<Value = LaneKeys> {
    let lane = || (0..4_u64).prop_map(LaneKey);
    prop_oneof![
        8 => lane().prop_map(LaneKeys::Row),
        1 => (lane(), lane()).prop_map(|(from, to)| LaneKeys::Moved(from, to)),
        1 => Just(LaneKeys::Table),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let ending = prop_oneof![
        6 => Just(Ending::Delivered),
        6 => Just(Ending::Failed),
        1 => Just(Ending::Refused),
    ];
    let store = prop_oneof![
        8 => Just(StoreEnding::Done),
        1 => Just(StoreEnding::Failed),
        1 => Just(StoreEnding::Unheard),
    ];
    prop_oneof![
        4 => proptest::collection::vec(lanes(), 1..5).prop_map(Step::Push),
        6 => Just(Step::Begin),
        6 => (any::<usize>(), ending).prop_map(|(which, ending)| Step::Finish(which, ending)),
        1 => Just(Step::Spill),
        1 => Just(Step::Sweep),
        6 => Just(Step::Take),
        6 => store.prop_map(Step::Done),
        2 => Just(Step::Ring),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_and_the_order_holds_whatever_happens(
        batch in prop_oneof![Just(1_usize), Just(3)],
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let mut world = World::new(batch);
        for step in steps {
            world.step(step);
        }
        world.calm_down();
        world.check_order();
        for number in 0..world.read.len() as u64 {
            let kept = world.delivered.contains(&number) || world.dead.contains(&number);
            prop_assert!(kept || world.is_unwanted(number), "{} is lost", number);
        }
    }
}
