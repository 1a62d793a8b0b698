//! Making room: when much of the byte budget is in use, the endpoints that hold most of it are moved to their backlogs.
//!
//! Exempt is an endpoint whose last outcome was a success while no faster one waits for it; if only such are left, reading
//! pauses, and they get what they can take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dispatch::Shared;
use super::outbox::{CHUNK_BYTES, Load};

/// How often is looked again while there is pressure.
const INTERVAL: Duration = Duration::from_millis(20);

/// Makes room whenever there is pressure, until the dispatcher is gone.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.budget.pressed().await;
        while shared.budget.is_pressed() || !shared.budget.is_relieved() {
            if !shared.budget.is_pressed() && !relieving(&shared) {
                break;
            }
            relieve(&shared);
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Whether anything is on its way to a backlog.
fn relieving(shared: &Shared) -> bool {
    let now = Instant::now();
    shared
        .outboxes
        .all()
        .iter()
        .any(|outbox| outbox.load(now).leaving > 0)
}

/// Spills until what is leaving makes half of the budget free, or nobody is left who may be spilled.
fn relieve(shared: &Arc<Shared>) {
    let now = Instant::now();
    let outboxes = shared.outboxes.all();
    let loads: Vec<Load> = outboxes.iter().map(|outbox| outbox.load(now)).collect();
    let mut leaving: u64 = loads.iter().map(|load| load.leaving).sum();
    let mut order = victims(&loads, shared.budget.slice(CHUNK_BYTES) / 4);
    while leaving < shared.budget.excess()
        && let Some(victim) = order.next()
    {
        leaving += loads[victim].charge;
        let outbox = &outboxes[victim];
        shared.follow_up(
            outbox,
            outbox.spill("memory is short, and it holds most of it", now),
        );
    }
}

/// Whom to spill, in order: positions in `loads`. Whoever is behind its backlog and holds no more than `little` is not worth
/// it: it would only load again what it is tried with.
fn victims(loads: &[Load], little: u64) -> impl Iterator<Item = usize> + use<> {
    let starving = loads.iter().any(|load| load.starving);
    let mut order: Vec<(u64, usize)> = loads
        .iter()
        .enumerate()
        .filter(|(_, load)| load.charge > if load.behind { little } else { 0 })
        .filter(|(_, load)| load.failing || starving)
        .map(|(position, load)| (load.charge, position))
        .collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    order.into_iter().map(|(_, position)| position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(charge: u64, failing: bool, starving: bool) -> Load {
        Load {
            charge,
            behind: false,
            leaving: 0,
            failing,
            starving,
        }
    }

    #[test]
    fn those_that_hold_most_go_first_and_the_healthy_only_if_a_faster_one_waits() {
        let slow = load(50, false, false);
        let failing = load(20, true, false);
        let fast = load(0, false, true);
        let order = |loads: &[Load]| victims(loads, 0).collect::<Vec<_>>();
        assert_eq!(order(&[failing, slow]), [0]);
        assert_eq!(order(&[failing, slow, fast]), [1, 0]);
        assert_eq!(order(&[slow, slow]), [0_usize; 0]);
        assert_eq!(order(&[fast, load(0, true, false)]), [0_usize; 0]);
        let behind = Load {
            behind: true,
            ..failing
        };
        assert_eq!(victims(&[behind, slow, fast], 20).collect::<Vec<_>>(), [1]);
        assert_eq!(victims(&[failing, slow, fast], 20).collect::<Vec<_>>(), [1, 0]);
    }
}
