//! How far the reading is, and telling of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use slog::{info, warn};
use tokio::time::{MissedTickBehavior, interval};

use super::model::Relation;
use super::table::Source;
use crate::store::snapshot::{self as state, Progress};

/// How often it is told.
const INTERVAL: Duration = Duration::from_secs(10);

/// Tells now and then how far the reading is, in the log and in the store, for as long as it is polled.
pub(super) async fn tell(source: Arc<Source>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let tables = source.watch.readings();
        if tables.is_empty() {
            continue;
        }
        let read: Vec<_> = tables.iter().map(|reading| reading.read()).collect();
        for (reading, read) in tables.iter().zip(&read) {
            info!(source.log, "reading"; "table" => %reading.table, "rows" => read.rows, "bytes" => read.bytes,
                "ranges" => format!("{} of {}", reading.ranges.load(Ordering::Relaxed), reading.all_ranges));
        }
        if let Err(error) = state::progress(&source.store, &source.slot, &read).await {
            warn!(source.log, "cannot write down how far the reading is"; "error" => #&error);
        }
    }
}

/// Sees which tables are being read, and how far that is.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Those that somebody still holds.
    tables: Arc<Mutex<Vec<Weak<Reading>>>>,
}

/// How far the reading of a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableProgress {
    /// Its OID, and the backfill that it is read for.
    pub key: (u32, i64),
    /// Its name.
    pub name: String,
    /// Rows read so far.
    pub rows: u64,
    /// The bytes of these as text.
    pub bytes: u64,
    /// Ranges of pages that are read.
    pub ranges: u64,
    /// How many there are.
    pub all_ranges: u64,
    /// What it takes on disk.
    pub total_bytes: u64,
}

impl TableProgress {
    /// The part of what it takes on disk that is read.
    #[must_use]
    pub fn done_bytes(&self) -> u64 {
        self.total_bytes / self.all_ranges.max(1) * self.ranges
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    table: Relation,
    backfill: i64,
    rows: AtomicU64,
    bytes: AtomicU64,
    ranges: AtomicU64,
    all_ranges: usize,
}

impl Watch {
    /// The tables that are being read.
    #[must_use]
    pub fn tables(&self) -> Vec<TableProgress> {
        let told = |reading: &Arc<Reading>| {
            let Progress {
                oid,
                backfill,
                rows,
                bytes,
            } = reading.read();
            TableProgress {
                key: (oid, backfill),
                name: reading.table.to_string(),
                rows,
                bytes,
                ranges: reading.ranges.load(Ordering::Relaxed),
                all_ranges: reading.all_ranges as u64,
                total_bytes: reading.table.bytes,
            }
        };
        self.readings().iter().map(told).collect()
    }

    fn readings(&self) -> Vec<Arc<Reading>> {
        let mut tables = self.lock();
        tables.retain(|reading| reading.strong_count() > 0);
        tables.iter().filter_map(Weak::upgrade).collect()
    }

    /// A table is read from its start.
    pub(super) fn begin(&self, table: &Relation, backfill: i64, ranges: usize) -> Arc<Reading> {
        let reading = Arc::new(Reading {
            table: table.clone(),
            backfill,
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            ranges: AtomicU64::new(0),
            all_ranges: ranges,
        });
        self.lock().push(Arc::downgrade(&reading));
        reading
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Reading>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// Rows and bytes read so far.
    pub(super) fn read(&self) -> Progress {
        Progress {
            oid: self.table.oid,
            backfill: self.backfill,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    pub(super) fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn end_of_range(&self) {
        self.ranges.fetch_add(1, Ordering::Relaxed);
    }
}
