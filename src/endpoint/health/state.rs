//! The names of how an endpoint does, and the changes between them.

use std::fmt;

/// How an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HealthState {
    /// It takes what it gets, apart from a failure now and then.
    Healthy,
    /// Its last attempts failed, each delivery waits for its next try.
    Failing,
    /// It has failed for so long that it is left alone until the next probe.
    Outage,
    /// It is tried with one request.
    Probing,
    /// It takes what it gets, and has a backlog.
    Draining,
    /// An operator paused it.
    Paused,
    /// An operator disabled it, or its receiver is gone (410).
    Disabled,
}

impl HealthState {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::Healthy,
        Self::Failing,
        Self::Outage,
        Self::Probing,
        Self::Draining,
        Self::Paused,
        Self::Disabled,
    ];

    /// Its name in logs, tables and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Failing => "failing",
            Self::Outage => "outage",
            Self::Probing => "probing",
            Self::Draining => "draining",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// Whether `to` may follow it.
    ///
    /// An outage may follow without failing being said before where the failures are few and far apart, as those of an
    /// endpoint that hangs. What was in flight when an outage began may end it.
    #[must_use]
    pub fn leads_to(self, to: Self) -> bool {
        use HealthState::{Disabled, Draining, Failing, Healthy, Outage, Paused, Probing};
        match (self, to) {
            (from, to) if from == to => false,
            (_, Paused | Disabled) => true,
            (Healthy, Failing | Outage | Draining)
            | (Draining, Failing | Outage | Healthy)
            | (Failing, Outage | Healthy | Draining)
            | (Outage, Probing | Healthy | Draining)
            | (Probing, Outage | Healthy | Draining)
            | (Paused, Healthy | Probing)
            | (Disabled, Probing) => true,
            _ => false,
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change of an endpoint's health, to be logged, counted and shown once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// How it did before.
    pub from: HealthState,
    /// How it does now.
    pub to: HealthState,
    /// Failures in a row up to here: those that led to it, or those that a success has ended.
    pub failures: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_reached_and_left() {
        for state in HealthState::ALL {
            assert!(!state.leads_to(state), "{state}");
            assert!(
                HealthState::ALL.iter().any(|to| state.leads_to(*to)),
                "{state} is never left"
            );
            assert!(
                HealthState::ALL.iter().any(|from| from.leads_to(state)),
                "{state} is never reached"
            );
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names = HealthState::ALL.map(HealthState::as_str);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
