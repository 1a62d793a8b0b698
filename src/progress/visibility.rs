//! Which transactions a snapshot sees.

use std::str::FromStr;

/// What `pg_current_snapshot()` says, for transactions that are known to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visibility {
    /// The first transaction that had not begun.
    xmax: u64,
    /// Those before it that were still open, in their order.
    open: Vec<u64>,
}

/// It is not what a server prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a snapshot (xmin:xmax:xip,…)")]
pub struct ParseVisibilityError(String);

impl Visibility {
    /// Whether a transaction that is committed is seen. Its number is given by its lower 32 bits, as WAL has it: of all that
    /// end so, the one nearest to the snapshot is meant.
    #[must_use]
    pub fn sees(&self, xid: u32) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lower half is what is compared"
        )]
        let distance = xid.wrapping_sub(self.xmax as u32).cast_signed();
        let full = self.xmax.saturating_add_signed(i64::from(distance));
        full < self.xmax && self.open.binary_search(&full).is_err()
    }
}

impl FromStr for Visibility {
    type Err = ParseVisibilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let odd = || ParseVisibilityError(text.to_owned());
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or_else(odd);
        let (xmin, xmax, open) = (part()?, part()?, part()?);
        let number = |text: &str| text.parse::<u64>().map_err(|_| odd());
        number(xmin)?;
        let open = open.split_terminator(',').map(number);
        let mut open = open.collect::<Result<Vec<u64>, _>>()?;
        open.sort_unstable();
        Ok(Self {
            xmax: number(xmax)?,
            open,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_had_not_ended_is_not_seen() {
        let snapshot: Visibility = "10:20:10,14,15".parse().unwrap();
        let seen: Vec<u32> = (8..23).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 16, 17, 18, 19]);
        let quiet: Visibility = "20:20:".parse().unwrap();
        assert!(quiet.sees(19) && !quiet.sees(20));
        for text in ["", "1:2", "a:2:", "1:2:3,x", "1::"] {
            assert!(text.parse::<Visibility>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn short_numbers_mean_the_nearest(xmax in 1_u64 << 31..u64::MAX >> 1, before in 1_u64..1 << 31, beyond in 0_u64..(1 << 31) - 1) {
            let snapshot: Visibility = format!("3:{xmax}:").parse().unwrap();
            prop_assert!(snapshot.sees((xmax - before) as u32));
            prop_assert!(!snapshot.sees((xmax + beyond) as u32));
            let open: Visibility = format!("3:{xmax}:{}", xmax - before).parse().unwrap();
            prop_assert!(!open.sees((xmax - before) as u32));
        }
    }
}
