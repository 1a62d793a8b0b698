//! What is worth a line of the log, of what is seen of the slot again and again. Pure.
//!
//! - Lag: when it has passed [`FIRST_LAG`], and again each time it has doubled; and when it is below half of that again.
//! - Risk: when it is higher than what was told; and once it has been none for [`CALM`] looks, so that a slot that goes to
//!   and fro is told of once.
//! - Counted as a synchronous standby: once, and when that is over. Where the role may not see that of its walsender, the
//!   server's setting tells.

use crate::setup::slot_risk::{SlotRisk, risk};
use crate::setup::synchronous::{is_counted, is_meant};
use crate::store::slot_status::SlotStatus;

/// The lag that is told first, in bytes.
const FIRST_LAG: u64 = 256 << 20;
/// So many looks without a risk end it.
const CALM: u32 = 12;

/// Something to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// The lag is large, and larger than it was.
    LagGrowing,
    /// The lag is small again.
    CaughtUp,
    /// The slot is in danger, or lost.
    Risk(SlotRisk),
    /// The slot is in no danger any more.
    OutOfRisk,
    /// Commits wait for our walsender.
    Synchronous,
    /// They do not any more.
    NotSynchronous,
}

/// What was told.
#[derive(Debug)]
pub(super) struct Alarms {
    /// What our walsender is called.
    application_name: String,
    /// The lag from which on it is told, or told again.
    next_lag: u64,
    risk: SlotRisk,
    calm: u32,
    is_synchronous: bool,
}

impl Alarms {
    /// Nothing was told yet of a slot whose walsender is called so.
    pub(super) fn new(application_name: &str) -> Self {
        Self {
            application_name: application_name.to_owned(),
            next_lag: FIRST_LAG,
            risk: SlotRisk::None,
            calm: 0,
            is_synchronous: false,
        }
    }

    /// What is to be told of what was seen now.
    pub(super) fn look(&mut self, status: &SlotStatus) -> Vec<Alarm> {
        [self.lag(status), self.risk(status), self.synchronous(status)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn lag(&mut self, status: &SlotStatus) -> Option<Alarm> {
        let lag = status.lag_bytes?;
        if lag >= self.next_lag {
            self.next_lag = lag.saturating_mul(2);
            return Some(Alarm::LagGrowing);
        }
        if self.next_lag > FIRST_LAG && lag < FIRST_LAG / 2 {
            self.next_lag = FIRST_LAG;
            return Some(Alarm::CaughtUp);
        }
        None
    }

    fn risk(&mut self, status: &SlotStatus) -> Option<Alarm> {
        let seen = risk(status);
        if seen > SlotRisk::None {
            self.calm = 0;
        }
        if seen > self.risk {
            self.risk = seen;
            return Some(Alarm::Risk(seen));
        }
        if self.risk > SlotRisk::None && seen == SlotRisk::None {
            self.calm += 1;
            if self.calm >= CALM {
                (self.risk, self.calm) = (SlotRisk::None, 0);
                return Some(Alarm::OutOfRisk);
            }
        }
        None
    }

    fn synchronous(&mut self, status: &SlotStatus) -> Option<Alarm> {
        let is_synchronous = match status.sync_state.as_deref() {
            Some(state) => is_counted(state),
            None if status.active => is_meant(&status.synchronous_standby_names, &self.application_name),
            // Nothing is known while no walsender is there.
            None => return None,
        };
        if is_synchronous == self.is_synchronous {
            return None;
        }
        self.is_synchronous = is_synchronous;
        Some(if is_synchronous {
            Alarm::Synchronous
        } else {
            Alarm::NotSynchronous
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::slot_risk::tests::sample;

    #[test]
    fn lag_is_told_when_it_has_doubled_and_when_it_is_gone() {
        let mut alarms = Alarms::new("pgstream");
        let mebibytes = [
            (1, None),
            (255, None),
            (256, Some(Alarm::LagGrowing)),
            (300, None),
            (200, None),
            (511, None),
            (600, Some(Alarm::LagGrowing)),
            (1_199, None),
            (1_200, Some(Alarm::LagGrowing)),
            (128, None),
            (127, Some(Alarm::CaughtUp)),
            (5, None),
            (256, Some(Alarm::LagGrowing)),
        ];
        for (lag, told) in mebibytes {
            let status = sample(|it| it.lag_bytes = Some(lag << 20));
            assert_eq!(alarms.look(&status), Vec::from_iter(told), "{lag}");
        }
        assert_eq!(alarms.look(&sample(|it| it.lag_bytes = None)), []);
    }

    #[test]
    fn a_risk_is_told_when_it_rises_and_when_it_has_long_been_over() {
        let mut alarms = Alarms::new("pgstream");
        let seen = |wal_status: &str, safe: i64| {
            sample(|it| {
                it.slot.wal_status = Some(wal_status.to_owned());
                it.safe_wal_size = Some(safe);
                it.max_slot_wal_keep_size = Some(1_000);
            })
        };
        let (well, small) = (seen("reserved", 900), seen("extended", 50));
        let unreserved = seen("unreserved", -1);
        assert_eq!(alarms.look(&well), []);
        assert_eq!(alarms.look(&small), [Alarm::Risk(SlotRisk::Small)]);
        for _ in 0..100 {
            assert_eq!(alarms.look(&well), []);
            assert_eq!(alarms.look(&small), []);
        }
        assert_eq!(alarms.look(&unreserved), [Alarm::Risk(SlotRisk::Unreserved)]);
        assert_eq!(alarms.look(&small), []);
        for _ in 1..CALM {
            assert_eq!(alarms.look(&well), []);
        }
        assert_eq!(alarms.look(&well), [Alarm::OutOfRisk]);
        assert_eq!(alarms.look(&seen("lost", 0)), [Alarm::Risk(SlotRisk::Lost)]);
    }

    #[test]
    fn commits_that_wait_for_us_are_told_once() {
        let mut alarms = Alarms::new("pgstream");
        let seen = |state: Option<&str>| {
            sample(|it| {
                it.sync_state = state.map(str::to_owned);
                it.active = state.is_some();
            })
        };
        for (state, told) in [
            (Some("async"), None),
            (Some("potential"), Some(Alarm::Synchronous)),
            (Some("sync"), None),
            (None, None),
            (Some("quorum"), None),
            (Some("async"), Some(Alarm::NotSynchronous)),
        ] {
            assert_eq!(alarms.look(&seen(state)), Vec::from_iter(told), "{state:?}");
        }
    }

    #[test]
    fn a_role_that_may_not_see_its_walsender_is_told_by_the_setting() {
        let mut alarms = Alarms::new("hooks");
        let seen = |names: &str| sample(|it| names.clone_into(&mut it.synchronous_standby_names));
        for (names, told) in [
            ("replica, pgstream", None),
            ("ANY 1 (replica, Hooks)", Some(Alarm::Synchronous)),
            ("*", None),
            ("", Some(Alarm::NotSynchronous)),
        ] {
            assert_eq!(alarms.look(&seen(names)), Vec::from_iter(told), "{names:?}");
        }
    }
}
