//! Which endpoints have series of their own. Pure.
//!
//! There may be thousands of endpoints, and each series costs whoever collects it. So a bounded number is shown, those in
//! trouble first, and the others as one. These are gauges all: a sum that endpoints enter and leave must not be a counter,
//! which would seem to start again whenever one leaves.

use std::collections::HashSet;
use std::time::Duration;

/// How many endpoints have series of their own.
pub const MAX_ENDPOINTS: usize = 100;
/// Stands for all that have none.
pub const OTHERS: &str = "other";
/// The longest label, in characters.
const MAX_LABEL: usize = 100;
/// How much of its end is kept of a longer one: the hash that tells it from others.
const KEPT_END: usize = 11;

/// How one endpoint stands, or several together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its name in metrics.
    pub(super) label: String,
    /// Whether it takes what it gets.
    pub(super) up: bool,
    /// Exchanges under way.
    pub(super) in_flight: usize,
    /// Deliveries in memory that are not settled.
    pub(super) in_memory: usize,
    /// Rows of its backlog.
    pub(super) backlog_rows: u64,
    /// Bytes of payload in it.
    pub(super) backlog_bytes: u64,
    /// How long the first of them has waited, as far as it is known.
    pub(super) backlog_age: Duration,
}

/// At most `limit` of them, those in trouble first, and the others as one, if there are any.
pub(super) fn bounded(mut all: Vec<Standing>, limit: usize) -> Vec<Standing> {
    let trouble = |one: &Standing| (one.backlog_rows, !one.up, one.in_memory);
    all.sort_by(|one, other| {
        trouble(other)
            .cmp(&trouble(one))
            .then_with(|| one.label.cmp(&other.label))
    });
    let mut shown: Vec<Standing> = Vec::with_capacity(all.len().min(limit + 1));
    let mut labels = HashSet::new();
    let mut others: Option<Standing> = None;
    for mut one in all {
        one.label = shortened(&one.label);
        // Of two with one name, which hashes make all but impossible, neither collector nor reader could tell which is which.
        if shown.len() < limit && labels.insert(one.label.clone()) {
            shown.push(one);
        } else {
            others = Some(match others {
                None => Standing {
                    label: OTHERS.to_owned(),
                    ..one
                },
                Some(sum) => sum.and(&one),
            });
        }
    }
    shown.extend(others);
    shown
}

impl Standing {
    fn and(self, other: &Self) -> Self {
        Self {
            label: self.label,
            up: self.up && other.up,
            in_flight: self.in_flight + other.in_flight,
            in_memory: self.in_memory + other.in_memory,
            backlog_rows: self.backlog_rows + other.backlog_rows,
            backlog_bytes: self.backlog_bytes + other.backlog_bytes,
            backlog_age: self.backlog_age.max(other.backlog_age),
        }
    }
}

/// A label that is not too long, its end kept.
fn shortened(label: &str) -> String {
    let characters: Vec<char> = label.chars().collect();
    if characters.len() <= MAX_LABEL {
        return label.to_owned();
    }
    let (begin, end) = (MAX_LABEL - KEPT_END - 1, characters.len() - KEPT_END);
    let kept = characters[..begin].iter().chain(&['…']).chain(&characters[end..]);
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(label: &str, up: bool, backlog_rows: u64) -> Standing {
        Standing {
            label: label.to_owned(),
            up,
            in_flight: 1,
            in_memory: 2,
            backlog_rows,
            backlog_bytes: 10 * backlog_rows,
            backlog_age: Duration::from_secs(backlog_rows),
        }
    }

    #[test]
    fn those_in_trouble_come_first_and_the_others_are_one() {
        let all = vec![
            standing("c", true, 0),
            standing("b", true, 0),
            standing("down", false, 0),
            standing("small", true, 1),
            standing("large", false, 7),
        ];
        let shown = bounded(all.clone(), 3);
        let labels: Vec<&str> = shown.iter().map(|one| one.label.as_str()).collect();
        assert_eq!(labels, ["large", "small", "down", OTHERS]);
        let others = Standing {
            in_flight: 2,
            in_memory: 4,
            ..standing(OTHERS, true, 0)
        };
        assert_eq!(shown[3], others);
        assert_eq!(bounded(all, 5).len(), 5, "nobody is left");
    }

    #[test]
    fn the_others_have_the_sum_of_their_rows_and_the_greatest_age() {
        let shown = bounded(vec![standing("a", false, 3), standing("b", true, 2)], 0);
        let expected = Standing {
            up: false,
            in_flight: 2,
            in_memory: 4,
            backlog_age: Duration::from_secs(3),
            ..standing(OTHERS, true, 5)
        };
        assert_eq!(shown, [expected]);
    }

    #[test]
    fn no_name_is_shown_twice() {
        let shown = bounded(vec![standing("a", true, 2), standing("a", true, 1)], 9);
        let labels: Vec<&str> = shown.iter().map(|one| one.label.as_str()).collect();
        assert_eq!(labels, ["a", OTHERS]);
    }

    #[test]
    fn a_long_name_keeps_its_hash() {
        let long = format!("https://{}.example.com (0123abcd)", "x".repeat(200));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), MAX_LABEL);
        assert!(
            short.starts_with("https://xxx") && short.ends_with("… (0123abcd)"),
            "{short}"
        );
        assert_eq!(shortened("https://h (0123abcd)"), "https://h (0123abcd)");
    }
}
