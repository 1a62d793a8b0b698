//! Whether the slot is in danger of losing the WAL that it needs. Pure.

use super::findings::Finding;
use crate::store::slot_status::SlotStatus;

/// A slot is at risk while less than this part of what it may keep is left, as a divisor.
const SMALL_PART: u64 = 10;

/// How far a slot is from losing WAL that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotRisk {
    /// Far.
    None,
    /// Little more may be written.
    Small,
    /// The next checkpoint removes WAL that it needs.
    Unreserved,
    /// It has lost WAL that it needs.
    Lost,
}

/// How far this slot is from that.
#[must_use]
pub fn risk(status: &SlotStatus) -> SlotRisk {
    match status.slot.wal_status.as_deref() {
        Some("lost") => SlotRisk::Lost,
        Some("unreserved") => SlotRisk::Unreserved,
        _ if is_small(status) => SlotRisk::Small,
        _ => SlotRisk::None,
    }
}

fn is_small(status: &SlotStatus) -> bool {
    let (Some(safe), Some(kept)) = (status.safe_wal_size, status.max_slot_wal_keep_size) else {
        return false;
    };
    u64::try_from(safe).unwrap_or_default() < kept / SMALL_PART
}

/// What there is to say of a slot that is at risk, but for one that is lost already.
#[must_use]
pub fn finding(name: &str, status: &SlotStatus) -> Option<Finding> {
    let left = status.safe_wal_size.unwrap_or_default().max(0);
    let (code, how) = match risk(status) {
        SlotRisk::Unreserved => (
            "slot_unreserved",
            "needs WAL that the next checkpoint may remove (wal_status is unreserved)".to_owned(),
        ),
        SlotRisk::Small => (
            "slot_at_risk",
            format!("loses WAL that it needs once {left} more bytes are written (safe_wal_size)"),
        ),
        SlotRisk::None | SlotRisk::Lost => return None,
    };
    Some(Finding::new(
        code,
        format!("replication slot {name} {how}"),
        "have pgstream run and catch up (see endpoints in trouble), or run ALTER SYSTEM SET max_slot_wal_keep_size to more \
         and then SELECT pg_reload_conf()",
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::slots::Slot;

    /// A slot that is well, changed as told.
    pub(crate) fn sample(change: impl FnOnce(&mut SlotStatus)) -> SlotStatus {
        let mut status = SlotStatus {
            slot: Slot {
                plugin: Some("wal2json".to_owned()),
                database: Some("app".to_owned()),
                active_pid: Some(7),
                wal_status: Some("reserved".to_owned()),
                confirmed: None,
                invalidation_reason: None,
                failover: false,
                synced: false,
            },
            active: true,
            confirmed_flush_lsn: Some("0/1".to_owned()),
            restart_lsn: Some("0/1".to_owned()),
            lag_bytes: Some(0),
            retained_bytes: Some(0),
            lag_seconds: None,
            safe_wal_size: None,
            max_slot_wal_keep_size: None,
            sync_state: None,
            synchronous_standby_names: String::new(),
        };
        change(&mut status);
        status
    }

    #[test]
    fn the_nearer_the_loss_the_higher_the_risk() {
        let with = |wal_status: &str, safe: Option<i64>| {
            risk(&sample(|it| {
                it.slot.wal_status = Some(wal_status.to_owned());
                it.safe_wal_size = safe;
                it.max_slot_wal_keep_size = Some(1_000);
            }))
        };
        assert_eq!(with("reserved", None), SlotRisk::None);
        assert_eq!(with("extended", Some(100)), SlotRisk::None);
        assert_eq!(with("extended", Some(99)), SlotRisk::Small);
        assert_eq!(with("extended", Some(-5)), SlotRisk::Small);
        assert_eq!(with("unreserved", Some(-5)), SlotRisk::Unreserved);
        assert_eq!(with("lost", None), SlotRisk::Lost);
        assert!(SlotRisk::Small < SlotRisk::Unreserved && SlotRisk::Unreserved < SlotRisk::Lost);
        assert_eq!(finding("s", &sample(|_| ())), None);
        let unreserved = sample(|it| it.slot.wal_status = Some("unreserved".to_owned()));
        assert_eq!(finding("s", &unreserved).unwrap().code, "slot_unreserved");
    }
}
