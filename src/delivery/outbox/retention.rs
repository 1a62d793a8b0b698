//! How much of one endpoint's backlog is kept, and how long.

use std::time::{Duration, Instant, SystemTime};

use super::backlog::Route;
use super::outcome::reason;
use super::{Change, Next, Policy, State, StoreWork};
use crate::delivery::lanes::Member;

/// How often the bounds of a backlog are looked at.
const INTERVAL: Duration = Duration::from_secs(30);
/// The least time between two looks, however short events are kept.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// How much of one endpoint's backlog is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Since the first attempt of an event or its writing to the backlog.
    pub age: Duration,
    /// Payload bytes.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
}

impl Retention {
    /// How often is looked: so that nothing grows much older than it may.
    pub(super) fn interval(&self) -> Duration {
        self.age.clamp(LEAST_INTERVAL, INTERVAL)
    }
}

impl State {
    /// The look at the bounds that is due, if there is anything to look at.
    pub(super) fn retain(&mut self, now: Instant, policy: &Policy, next: &mut Next) -> Option<StoreWork> {
        let retention = policy.retention;
        self.backlog.retain_at = self.backlog.has_rows().then(|| now + retention.interval());
        self.backlog.retain_at?;
        let before = self.too_old_before(retention);
        // What is in memory is the oldest. It is left alone only while it is about to be delivered.
        if !self.health.is_well() && self.backlog.route == Route::Behind {
            if let Some(before) = before
                && !policy.strict
            {
                self.expire_in_memory(before, next);
            }
            if self.backlog.exceeds(retention) {
                next.changes
                    .extend(self.spill("its backlog is beyond its bounds"));
            }
        }
        Some(StoreWork::Retain {
            before,
            excess_rows: self.backlog.total_rows.saturating_sub(retention.rows),
            excess_bytes: self.backlog.total_bytes.saturating_sub(retention.bytes),
            except: self.backlog.rows.keys().copied().collect(),
        })
    }

    /// What waits since a time before this is too old. Nothing is while an operator keeps the endpoint paused or disabled,
    /// nor in the time after that in which it has not been active for as long as events are kept.
    fn too_old_before(&self, retention: Retention) -> Option<SystemTime> {
        let before = SystemTime::now().checked_sub(retention.age)?;
        (self.health.is_permitted() && self.active_since <= before).then_some(before)
    }

    pub(super) fn is_too_old(&self, member: Option<Member>, retention: Retention) -> bool {
        let since = member.and_then(|member| self.lanes.get(member).waits_since());
        let before = self.too_old_before(retention);
        since.zip(before).is_some_and(|(since, before)| since < before)
    }

    fn expire_in_memory(&mut self, before: SystemTime, next: &mut Next) {
        let old = self
            .lanes
            .retain(|delivery| delivery.waits_since().is_none_or(|since| since >= before));
        for delivery in old {
            let last_error = delivery
                .attempts
                .as_ref()
                .and_then(|tried| tried.last_error.clone());
            next.changes.push(Change::Died {
                id: delivery.event.id.clone(),
                reason: reason::RETENTION,
                error: last_error.unwrap_or_default(),
            });
            self.die(delivery, reason::RETENTION);
        }
    }
}
