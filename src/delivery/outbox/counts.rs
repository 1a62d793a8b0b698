//! Counting what becomes of deliveries.

use super::Outbox;
use crate::endpoint::HealthState;

/// What has become of an endpoint's deliveries since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Delivered.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Moved to the dead letters.
    pub dead: u64,
    /// Discarded, since nobody is subscribed to them any more.
    pub discarded: u64,
    /// Written to the backlog.
    pub appended: u64,
    /// How often its health changed.
    pub health_changes: u64,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            failed: self.failed + other.failed,
            dead: self.dead + other.dead,
            discarded: self.discarded + other.discarded,
            appended: self.appended + other.appended,
            health_changes: self.health_changes + other.health_changes,
        }
    }
}

/// How an endpoint stands at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// How it does.
    pub health: HealthState,
    /// Exchanges under way.
    pub in_flight: usize,
    /// Deliveries in memory that are not settled.
    pub in_memory: usize,
    /// Rows of its backlog, as far as they are counted yet.
    pub backlog_rows: u64,
    /// Bytes of payload in it.
    pub backlog_bytes: u64,
    /// What has become of its deliveries.
    pub counts: Counts,
}

impl Outbox {
    /// How it stands now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let state = self.lock();
        Figures {
            health: state.health.state(),
            in_flight: state.in_flight,
            in_memory: state.lanes.len() + state.backlog.waiting(),
            backlog_rows: state.backlog.total_rows,
            backlog_bytes: state.backlog.total_bytes,
            counts: state.counts,
        }
    }
}
