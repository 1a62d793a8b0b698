//! A description, laid beside a record.

use pgstream_proto::wal2json::{Action, Column, Columns, Record};

use super::description::{Description, KnownColumn};

/// Finds the columns of a record among those of a description.
///
/// Both stand in the table's order, so the next one is where the last one ended, or not far behind. Where that is not
/// so, all are looked through.
pub(super) struct Walk<'d> {
    columns: &'d [KnownColumn],
    next: usize,
}

impl<'d> Walk<'d> {
    pub(super) fn new(columns: &'d [KnownColumn]) -> Self {
        Self { columns, next: 0 }
    }

    /// Where this column stands.
    pub(super) fn find(&mut self, column: &Column<'_>) -> Option<usize> {
        if self.columns.is_empty() {
            return None;
        }
        let name = column.name();
        let (passed, ahead) = self.columns.split_at(self.next);
        let here = |column: &KnownColumn| name.is(&column.name);
        if let Some(offset) = ahead.iter().position(here) {
            let at = self.next + offset;
            self.next = at + 1;
            return Some(at);
        }
        passed.iter().position(here)
    }
}

/// A column that the new row of an update lacks, because its value lies out of line and was not touched.
#[derive(Debug)]
pub(super) struct Omitted<'a> {
    /// Where it stands in the description.
    pub(super) at: usize,
    /// Its old value, which is its new one as well, where the identity has it.
    pub(super) old: Option<Column<'a>>,
}

/// A description, laid beside the record that is to be encoded with it.
#[derive(Debug)]
pub struct Injection<'a> {
    pub(super) description: &'a Description,
    /// In the table's order.
    pub(super) omitted: Vec<Omitted<'a>>,
}

impl<'a> Injection<'a> {
    /// Finds what `record` lacks of the table that `description` is of.
    ///
    /// wal2json prints generated columns like all others. What it leaves out of an update's new row are the values that
    /// are stored out of line (TOAST) and were not touched, and these only.
    #[must_use]
    pub fn new(description: &'a Description, record: &Record<'a>) -> Self {
        let omitted = match record.columns {
            Some(columns)
                if record.header.action == Action::Update && columns.len() < description.columns().len() =>
            {
                omitted(description.columns(), columns, record.identity)
            }
            _ => Vec::new(),
        };
        Self { description, omitted }
    }

    /// Whether the table itself is known.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.description.is_described()
    }
}

fn omitted<'a>(
    known: &[KnownColumn],
    columns: Columns<'a>,
    identity: Option<Columns<'a>>,
) -> Vec<Omitted<'a>> {
    let mut walk = Walk::new(known);
    let mut skipped = Vec::new();
    let mut expected = 0;
    for at in columns.iter().filter_map(|column| walk.find(&column)) {
        skipped.extend(expected..at);
        expected = expected.max(at + 1);
    }
    skipped.extend(expected..known.len());
    // Where the orders differ, what was skipped may have come all the same.
    skipped.retain(|at| columns.get(&known[*at].name).is_none());
    let old = |at: usize| identity?.get(&known[at].name);
    skipped
        .into_iter()
        .map(|at| Omitted { at, old: old(at) })
        .collect()
}
