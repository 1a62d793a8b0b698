//! How far the reading is, for whoever watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::model::Relation;
use crate::store::snapshot::Progress;

/// The tables that are being read. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    tables: Arc<Mutex<Vec<Arc<Reading>>>>,
}

/// A table that is being read.
#[derive(Debug)]
pub struct Reading {
    /// The table.
    pub table: Relation,
    rows: AtomicU64,
    bytes: AtomicU64,
    ranges: AtomicU64,
    /// How many ranges there are.
    pub all_ranges: u64,
}

impl Watch {
    /// The tables that are being read now.
    #[must_use]
    pub fn tables(&self) -> Vec<Arc<Reading>> {
        self.lock().clone()
    }

    /// A table is read from its start.
    pub(super) fn begin(&self, table: &Relation, ranges: usize) -> Arc<Reading> {
        let reading = Arc::new(Reading {
            table: table.clone(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            ranges: AtomicU64::new(0),
            all_ranges: ranges as u64,
        });
        self.lock().push(Arc::clone(&reading));
        reading
    }

    /// It is not read any more.
    pub(super) fn end(&self, reading: &Arc<Reading>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, reading));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Reading>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// Rows and bytes read so far.
    #[must_use]
    pub fn read(&self) -> Progress {
        Progress {
            oid: self.table.oid,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Ranges read to their ends.
    #[must_use]
    pub fn ranges(&self) -> u64 {
        self.ranges.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn end_of_range(&self) {
        self.ranges.fetch_add(1, Ordering::Relaxed);
    }
}
