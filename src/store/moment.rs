//! Times as the store keeps them: microseconds since the epoch.

use std::time::{Duration, SystemTime};

/// The microseconds from the epoch to `time`, negative before it; what does not fit becomes the nearest that does.
pub(super) fn to_micros(time: SystemTime) -> i64 {
    let count = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => count(since),
        Err(before) => -count(before.duration()),
    }
}

/// The time that lies so many microseconds after the epoch, or before it.
pub(super) fn from_micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let moved = if micros < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for micros in [0, 1, -1, 1_764_000_000_123_456, -62_000_000_000_000_000] {
            assert_eq!(to_micros(from_micros(micros)), micros);
        }
    }
}
