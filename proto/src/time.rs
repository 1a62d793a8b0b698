//! Points in time as the replication protocol writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds between the Unix epoch and midnight of 2000-01-01 UTC.
const POSTGRES_EPOCH: i64 = 946_684_800 * 1_000_000;

/// A point in time: microseconds since midnight of 2000-01-01 UTC, negative before it.
///
/// Source: <https://www.postgresql.org/docs/current/protocol-replication.html>.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgTimestamp(i64);

impl PgTimestamp {
    /// The time this many microseconds after 2000-01-01 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        PgTimestamp(micros)
    }

    /// Microseconds since 2000-01-01 UTC.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

/// Rounds towards the past to a whole microsecond; a time out of range becomes the nearest one in range.
impl From<SystemTime> for PgTimestamp {
    fn from(time: SystemTime) -> Self {
        let unix_micros = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                let nanos = before.duration().as_nanos();
                i64::try_from(nanos.div_ceil(1000)).map_or(i64::MIN, |micros| -micros)
            }
        };
        PgTimestamp(unix_micros.saturating_sub(POSTGRES_EPOCH))
    }
}

/// A time that the platform's clock cannot hold becomes the Unix epoch; on Unix systems there is none.
impl From<PgTimestamp> for SystemTime {
    fn from(time: PgTimestamp) -> Self {
        let since_postgres_epoch = Duration::from_micros(time.0.unsigned_abs());
        let postgres_epoch = UNIX_EPOCH + Duration::from_micros(POSTGRES_EPOCH.unsigned_abs());
        let moved = if time.0 < 0 {
            postgres_epoch.checked_sub(since_postgres_epoch)
        } else {
            postgres_epoch.checked_add(since_postgres_epoch)
        };
        moved.unwrap_or(UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_from_the_year_2000() {
        for (unix_micros, pg_micros) in [
            (POSTGRES_EPOCH, 0),
            (POSTGRES_EPOCH + 1, 1),
            (POSTGRES_EPOCH - 1, -1),
            (0, -POSTGRES_EPOCH),
            (1_741_859_491_197_150, 795_174_691_197_150),
        ] {
            let system = UNIX_EPOCH + Duration::from_micros(unix_micros.unsigned_abs());
            assert_eq!(PgTimestamp::from(system), PgTimestamp::from_micros(pg_micros));
            assert_eq!(SystemTime::from(PgTimestamp::from_micros(pg_micros)), system);
        }
    }

    #[test]
    fn rounds_towards_the_past() {
        let before = UNIX_EPOCH - Duration::from_nanos(1);
        assert_eq!(PgTimestamp::from(before).as_micros(), -POSTGRES_EPOCH - 1);
        let after = UNIX_EPOCH + Duration::from_nanos(1999);
        assert_eq!(PgTimestamp::from(after).as_micros(), -POSTGRES_EPOCH + 1);
    }

    proptest! {
        #[test]
        fn any_time_within_range_survives(micros in i64::MIN / 2..i64::MAX / 2) {
            let time = PgTimestamp::from_micros(micros);
            prop_assert_eq!(PgTimestamp::from(SystemTime::from(time)), time);
        }

        #[test]
        fn conversions_never_panic(micros: i64) {
            let _ = PgTimestamp::from(SystemTime::from(PgTimestamp::from_micros(micros)));
        }
    }
}
