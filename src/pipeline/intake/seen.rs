//! What was received of the transaction that is being read. Pure.
//!
//! # The invariant
//!
//! A transaction that is read again, from its beginning, is printed as the same records: they depend on its WAL, and on options
//! that stay the same for as long as the program runs. So as many of them are passed over as were taken in before. That they
//! are the same is checked by a sum over their positions and lengths; if they are not, everything that is not settled is
//! read anew, by a program that knows nothing of them.

use pgstream_proto::Lsn;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many records, and a sum over them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    records: u64,
    sum: u64,
}

/// A transaction that comes again.
#[derive(Debug)]
pub(super) struct Replay {
    expected: Seen,
    passed: Seen,
}

/// What becomes of a record that comes again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// More of them come.
    More,
    /// It was the last one; the next one is new.
    All,
    /// They are not the ones that were received before.
    Another,
}

impl Seen {
    /// A record was received.
    pub(super) fn add(&mut self, wal_start: Lsn, length: usize) {
        self.records += 1;
        self.sum = xxh3_64_with_seed(&wal_start.as_u64().to_le_bytes(), self.sum ^ length as u64);
    }

    /// All of it comes again, if there is any.
    pub(super) fn replay(self) -> Option<Replay> {
        (self.records > 0).then(|| Replay {
            expected: self,
            passed: Self::default(),
        })
    }
}

impl Replay {
    /// A record that came again is passed over.
    pub(super) fn pass(&mut self, wal_start: Lsn, length: usize) -> Passed {
        self.passed.add(wal_start, length);
        if self.passed.records < self.expected.records {
            Passed::More
        } else if self.passed == self.expected {
            Passed::All
        } else {
            Passed::Another
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A stream that breaks anywhere, any number of times, against one that does not.
        #[test]
        fn each_record_is_taken_once(
            lengths in prop::collection::vec(1usize..9, 1..30),
            breaks in prop::collection::vec(0usize..30, 0..5),
        ) {
            let mut seen = Seen::default();
            let mut taken = Vec::new();
            let mut replay = None;
            for until in breaks.into_iter().chain([usize::MAX]) {
                // Each connection brings the records from the first one on, up to where it breaks.
                for (at, length) in lengths.iter().enumerate().take(until) {
                    let wal_start = Lsn::new(at as u64);
                    match replay.as_mut().map(|replay: &mut Replay| replay.pass(wal_start, *length)) {
                        None => {
                            seen.add(wal_start, *length);
                            taken.push(at);
                        }
                        Some(Passed::More) => {}
                        Some(Passed::All) => replay = None,
                        Some(Passed::Another) => prop_assert!(false, "they are the same"),
                    }
                }
                replay = seen.replay();
            }
            prop_assert_eq!(taken, (0..lengths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn others_are_noticed(lengths in prop::collection::vec(1usize..9, 1..9), at in 0usize..9, other in 1usize..9) {
            let at = at % lengths.len();
            prop_assume!(lengths[at] != other);
            let mut seen = Seen::default();
            for (position, length) in lengths.iter().enumerate() {
                seen.add(Lsn::new(position as u64), *length);
            }
            let mut replay = seen.replay().unwrap();
            let mut last = Passed::More;
            for (position, length) in lengths.iter().enumerate() {
                let length = if position == at { other } else { *length };
                last = replay.pass(Lsn::new(position as u64), length);
            }
            prop_assert_eq!(last, Passed::Another);
        }
    }
}
