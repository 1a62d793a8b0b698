//! Counting what is taken in.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was taken in since the start of the program.
#[derive(Debug, Default)]
pub struct IntakeCounts {
    records: Counter,
    record_bytes: Counter,
    parsed: Counter,
    unparsable: Counter,
    transactions: Counter,
    matched: Counter,
    rows: Counter,
}

/// What they have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// Records that came from the stream.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Those of them that were read and dealt with.
    pub parsed: u64,
    /// Those that could not be read.
    pub unparsable: u64,
    /// Transactions that were read to their commit, and messages outside of any.
    pub transactions: u64,
    /// Changes and messages that at least one endpoint receives.
    pub matched: u64,
    /// Rows of tables that were taken in beside the stream.
    pub rows: u64,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl IntakeCounts {
    /// What was taken in so far.
    #[must_use]
    pub fn taken(&self) -> TakenIn {
        TakenIn {
            records: self.records.get(),
            record_bytes: self.record_bytes.get(),
            parsed: self.parsed.get(),
            unparsable: self.unparsable.get(),
            transactions: self.transactions.get(),
            matched: self.matched.get(),
            rows: self.rows.get(),
        }
    }

    pub(super) fn record(&self, bytes: usize) {
        self.records.add_alone(1);
        self.record_bytes.add_alone(bytes as u64);
    }

    pub(super) fn parsed(&self) {
        self.parsed.add_alone(1);
    }

    pub(super) fn unparsable(&self) {
        self.unparsable.add_alone(1);
    }

    pub(super) fn transaction(&self) {
        self.transactions.add_alone(1);
    }

    pub(super) fn matched(&self) {
        self.matched.add_alone(1);
    }

    pub(super) fn rows(&self, rows: u64) {
        // Several readers may be at work at once.
        self.rows.0.fetch_add(rows, Ordering::Relaxed);
    }
}

impl Counter {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds where one task alone does: the stream's. So it takes no more than an ordinary addition.
    fn add_alone(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_by_itself() {
        let counts = IntakeCounts::default();
        counts.record(10);
        counts.record(5);
        counts.parsed();
        counts.unparsable();
        counts.transaction();
        counts.matched();
        counts.rows(64);
        let expected = TakenIn {
            records: 2,
            record_bytes: 15,
            parsed: 1,
            unparsable: 1,
            transactions: 1,
            matched: 1,
            rows: 64,
        };
        assert_eq!(counts.taken(), expected);
    }
}
