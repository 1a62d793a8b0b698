//! Which of the applied entries are needed to know again what is known.
//!
//! # The rule
//!
//! An entry is needed
//!
//! - while it is the newest of its schema;
//! - while it is the last one to describe one of the tables that it described, as touched or as unknown before;
//! - while it is the last one to say that a table is gone, and an earlier one is needed that came when that table was
//!   known, and so may have it.
//!
//! Applying in their order only those that are needed leaves the same tables known.

use std::collections::{BTreeMap, HashMap};

/// The entries that are needed, in the order in which they were applied.
#[derive(Debug, Default)]
pub(super) struct Needed {
    entries: BTreeMap<u64, Reasons>,
    /// The number of the entry that is being applied.
    current: u64,
    newest: HashMap<String, u64>,
    tables: HashMap<String, Known>,
    /// How many of the tables are gone.
    pub(super) gone: usize,
    /// Entries without a reason left.
    free: Vec<u64>,
}

/// Why an entry is needed.
#[derive(Debug)]
struct Reasons {
    id: String,
    /// How many there are.
    count: usize,
}

/// Which entries speak of a table.
#[derive(Debug)]
struct Known {
    /// The first since which it has been known.
    since: u64,
    /// The one that decides what is known now.
    decided_by: u64,
    gone: bool,
}

impl Needed {
    /// The next entry is applied, the newest of this schema.
    pub(super) fn begin(&mut self, id: &str, schema: Option<&String>) {
        self.current += 1;
        let reasons = Reasons {
            id: id.to_owned(),
            // Until it ends.
            count: 1,
        };
        self.entries.insert(self.current, reasons);
        if let Some(schema) = schema {
            self.add(self.current);
            if let Some(before) = self.newest.insert(schema.clone(), self.current) {
                self.take(before);
            }
        }
    }

    /// It describes a table.
    pub(super) fn described(&mut self, table: &str) {
        self.decide(table, false);
    }

    /// It says that a table that was known is gone.
    pub(super) fn gone(&mut self, table: &str) {
        self.decide(table, true);
    }

    fn decide(&mut self, table: &str, gone: bool) {
        let current = self.current;
        self.add(current);
        let Some(known) = self.tables.get_mut(table) else {
            let known = Known {
                since: current,
                decided_by: current,
                gone,
            };
            self.tables.insert(table.to_owned(), known);
            self.gone += usize::from(gone);
            return;
        };
        let before = std::mem::replace(&mut known.decided_by, current);
        self.gone += usize::from(gone);
        self.gone -= usize::from(std::mem::replace(&mut known.gone, gone));
        self.take(before);
    }

    /// It has been applied. Returns the ids of those that are not needed any more, itself perhaps included.
    pub(super) fn end(&mut self) -> Vec<String> {
        self.take(self.current);
        let mut superseded = Vec::new();
        while let Some(number) = self.free.pop() {
            // It may have got another reason since.
            let is_free = self
                .entries
                .get(&number)
                .is_some_and(|reasons| reasons.count == 0);
            if is_free && let Some(reasons) = self.entries.remove(&number) {
                superseded.push(reasons.id);
            }
            if self.free.is_empty() && !superseded.is_empty() && self.gone > 0 {
                self.bury();
            }
        }
        superseded
    }

    /// Nobody needs to be told that a table is gone that no needed entry can have.
    fn bury(&mut self) {
        let entries = &self.entries;
        let mut told = Vec::new();
        self.tables.retain(|_, known| {
            let is_needed = !known.gone || entries.range(known.since..known.decided_by).next().is_some();
            if !is_needed {
                told.push(known.decided_by);
            }
            is_needed
        });
        self.gone -= told.len();
        told.into_iter().for_each(|number| self.take(number));
    }

    fn add(&mut self, number: u64) {
        if let Some(reasons) = self.entries.get_mut(&number) {
            reasons.count += 1;
        }
    }

    fn take(&mut self, number: u64) {
        if let Some(reasons) = self.entries.get_mut(&number) {
            reasons.count -= 1;
            if reasons.count == 0 {
                self.free.push(number);
            }
        }
    }
}
