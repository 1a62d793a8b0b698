//! Whether the source still is what it was. Pure: what is remembered and what is found are arguments.
//!
//! # The invariant
//!
//! A stream goes on only where everything up to the position that is settled or received belongs to the history of the
//! server it goes on with, and where nobody but this program has moved the slot. Otherwise commits would be missing without
//! anyone noticing: PostgreSQL takes any start position and begins there, or where the slot is, whichever is later.
//!
//! | found | what it means |
//! |---|---|
//! | another system identifier | another cluster: nothing of what is remembered says anything about it |
//! | a timeline that does not come from ours | a server that went its own way before ours began |
//! | a timeline that branched off before our position | a stand-by was promoted that lacked commits which were sent |
//! | a WAL that ends before our position | a server that was set back, as by restoring a backup |
//! | a slot ahead of all that we may have confirmed | dropped and made again, or advanced by hand |
//!
//! See [timelines](https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES).

use std::fmt;

use pgstream_proto::Lsn;

/// Who the source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The identifier of the database cluster.
    pub system_identifier: u64,
    /// Its timeline.
    pub timeline: u32,
}

/// What is remembered of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Who it was.
    pub identity: Identity,
    /// Everything up to here was settled or received.
    pub position: Lsn,
    /// Nothing beyond this has been confirmed.
    pub bound: Lsn,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Who it is.
    pub identity: Identity,
    /// Where its timelines end, for each that it went through. Empty where that was not asked for.
    pub switches: Vec<Switch>,
    /// The end of its WAL.
    pub wal_end: Lsn,
    /// What the slot has confirmed.
    pub slot: Lsn,
}

/// The end of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The timeline that ended.
    pub timeline: u32,
    /// Where the next one branched off.
    pub at: Lsn,
}

/// Commits may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// It is another cluster.
    OtherCluster {
        /// What it was.
        remembered: u64,
        /// What it is.
        found: u64,
    },
    /// It is a server that ours does not come from.
    OtherHistory {
        /// Our timeline.
        remembered: u32,
        /// Its timeline.
        found: u32,
    },
    /// It branched off before our position.
    BranchedOff {
        /// Its timeline.
        timeline: u32,
        /// Where it branched off.
        at: Lsn,
        /// Our position.
        position: Lsn,
    },
    /// Its WAL ends before our position.
    SetBack {
        /// Its end.
        wal_end: Lsn,
        /// Our position.
        position: Lsn,
    },
    /// The slot is ahead of what was confirmed.
    SlotMoved {
        /// What it has confirmed.
        slot: Lsn,
        /// What this program may have confirmed.
        bound: Lsn,
    },
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCluster { remembered, found } => write!(
                f,
                "it is another database cluster (system identifier {found}) than the one that was streamed before \
                 ({remembered}): whatever that one did after the last confirmed position is not there"
            ),
            Self::OtherHistory { remembered, found } => write!(
                f,
                "it is on timeline {found}, which does not come from timeline {remembered} that was streamed before: \
                 what was streamed of that may not be there, and what is there may never have been streamed"
            ),
            Self::BranchedOff {
                timeline,
                at,
                position,
            } => write!(
                f,
                "its timeline {timeline} branched off at {at}, before the position {position} that was streamed: the \
                 commits between the two were sent or confirmed and are not there, and what it has committed instead would \
                 be skipped"
            ),
            Self::SetBack { wal_end, position } => write!(
                f,
                "its WAL ends at {wal_end}, before the position {position} that was streamed: it was set back, and what it \
                 commits up to that position would be skipped"
            ),
            Self::SlotMoved { slot, bound } => write!(
                f,
                "its replication slot is at {slot}, and this program has confirmed nothing beyond {bound}: the slot was \
                 dropped and made again, or advanced by hand, and the commits between the two were not streamed"
            ),
        }
    }
}

/// Compares the two. The end of our timeline, where the server is on a later one.
///
/// # Errors
/// [`Gap`]
pub fn compare(remembered: &Remembered, found: &Found) -> Result<Option<Lsn>, Gap> {
    let Remembered {
        identity: ours,
        position,
        bound,
    } = *remembered;
    let theirs = found.identity;
    if ours.system_identifier != theirs.system_identifier {
        return Err(Gap::OtherCluster {
            remembered: ours.system_identifier,
            found: theirs.system_identifier,
        });
    }
    let mut branched_off = None;
    if ours.timeline != theirs.timeline {
        let ended = found
            .switches
            .iter()
            .find(|switch| switch.timeline == ours.timeline);
        let at = ended
            .ok_or(Gap::OtherHistory {
                remembered: ours.timeline,
                found: theirs.timeline,
            })?
            .at;
        if position > at {
            return Err(Gap::BranchedOff {
                timeline: theirs.timeline,
                at,
                position,
            });
        }
        branched_off = Some(at);
    }
    if position > found.wal_end {
        return Err(Gap::SetBack {
            wal_end: found.wal_end,
            position,
        });
    }
    // On another timeline nothing was confirmed beyond the end of ours before that was remembered.
    let bound = branched_off.map_or(bound, |at| bound.min(at));
    if found.slot > bound {
        return Err(Gap::SlotMoved {
            slot: found.slot,
            bound,
        });
    }
    Ok(branched_off)
}

/// Reads a [timeline history file](https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-TIMELINE-HISTORY):
/// lines of a timeline, the LSN where it ended, and why. `None` if it is anything else.
pub(super) fn read_history(text: &str) -> Option<Vec<Switch>> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            Some(Switch {
                timeline: words.next()?.parse().ok()?,
                at: words.next()?.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: Identity = Identity {
        system_identifier: 7,
        timeline: 2,
    };

    fn remembered(position: u64, bound: u64) -> Remembered {
        Remembered {
            identity: OURS,
            position: Lsn::new(position),
            bound: Lsn::new(bound),
        }
    }

    fn found(timeline: u32, switches: &[(u32, u64)], wal_end: u64, slot: u64) -> Found {
        Found {
            identity: Identity { timeline, ..OURS },
            switches: switches
                .iter()
                .map(|&(timeline, at)| Switch {
                    timeline,
                    at: Lsn::new(at),
                })
                .collect(),
            wal_end: Lsn::new(wal_end),
            slot: Lsn::new(slot),
        }
    }

    #[test]
    fn the_same_server_goes_on() {
        assert_eq!(compare(&remembered(100, 120), &found(2, &[], 100, 120)), Ok(None));
        assert_eq!(compare(&remembered(100, 120), &found(2, &[], 900, 80)), Ok(None));
    }

    #[test]
    fn a_promoted_stand_by_goes_on_where_it_lacks_nothing() {
        let history = [(1, 50), (2, 100)];
        assert_eq!(
            compare(&remembered(100, 120), &found(3, &history, 500, 100)),
            Ok(Some(Lsn::new(100)))
        );
        let gap = compare(&remembered(100, 120), &found(3, &history, 500, 101)).unwrap_err();
        assert!(
            matches!(gap, Gap::SlotMoved { .. }),
            "made anew after the promotion: {gap}"
        );
        let gap = compare(&remembered(101, 120), &found(3, &history, 500, 100)).unwrap_err();
        assert!(matches!(gap, Gap::BranchedOff { timeline: 3, .. }), "{gap}");
    }

    #[test]
    fn what_cannot_be_the_same_is_a_gap() {
        let stranger = Found {
            identity: Identity {
                system_identifier: 8,
                timeline: 2,
            },
            ..found(2, &[], 500, 100)
        };
        for (found, expected) in [
            (stranger, "another database cluster"),
            (found(3, &[(1, 50)], 500, 100), "does not come from timeline 2"),
            (found(1, &[], 500, 100), "does not come from timeline 2"),
            (found(2, &[], 99, 80), "was set back"),
            (found(2, &[], 500, 121), "made again, or advanced by hand"),
        ] {
            let gap = compare(&remembered(100, 120), &found).unwrap_err().to_string();
            assert!(gap.contains(expected), "{gap}");
        }
    }

    #[test]
    fn a_history_file_is_read() {
        let file = "1\t0/3000158\tno recovery target specified\n\n# a comment\n2\tA/B0\tbefore 2026-01-01\n";
        assert_eq!(
            read_history(file),
            Some(vec![
                Switch {
                    timeline: 1,
                    at: Lsn::new(0x300_0158)
                },
                Switch {
                    timeline: 2,
                    at: Lsn::new(0xA_0000_00B0)
                },
            ])
        );
        assert_eq!(read_history("1\tnowhere\tno"), None);
        assert_eq!(read_history("<html>"), None);
    }

    proptest! {
        /// Against the naive model: a history is the set of positions that have been on it.
        #[test]
        fn goes_on_only_where_all_that_was_streamed_is_part_of_its_history(
            position in 0u64..100, ended in 0u64..100, wal_end in 0u64..200, slot in 0u64..200, bound in 0u64..200,
            promoted in any::<bool>(),
        ) {
            let bound = bound.max(position);
            let server = if promoted {
                found(3, &[(1, 0), (2, ended)], wal_end.max(ended), slot)
            } else {
                found(2, &[(1, 0)], wal_end, slot)
            };
            // Which positions of ours the server has written too.
            let is_there = |at: u64| at < if promoted { ended } else { wal_end };
            let has_all = (0..position).all(is_there);
            // A slot is where we confirmed, on the history that we know.
            let is_ours = slot <= if promoted { bound.min(ended) } else { bound };
            prop_assert_eq!(compare(&remembered(position, bound), &server).is_ok(), has_all && is_ours);
        }
    }
}
