//! Counting what becomes of deliveries.

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
