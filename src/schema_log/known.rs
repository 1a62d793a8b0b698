//! The tables that are known, as of the last entry applied.
//!
//! # The rule
//!
//! Entries are applied in stream order. An entry changes what is known of the tables that its command touched, and of
//! no other: it shows the schema as one session saw it, without what others had not committed by then, so that neither
//! what it says of another table nor that it does not have one means anything.
//!
//! 1. A table that was dropped is forgotten.
//! 2. A table that was touched is what the entry says, under the entry's schema and its name there, wherever and whatever
//!    it was before. Whoever else is known by that name is forgotten: it cannot have it any more.
//! 3. Any other table is only added, and only if neither its id nor its name is known, and it was not dropped: a session
//!    that does not see yet that another has dropped a table still shows it.
//!
//! An entry that does not say what it touched was written by an earlier release: all its tables count as touched. Of an
//! entry that cannot be read, what it touched is forgotten: an empty id is honest, a stale one is not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::model::{Entry, Table, read_tables};
use super::needed::Needed;
use crate::event::{Description, KnownTable};

/// How many tables are remembered as dropped. An entry that still shows one is of a transaction that was open meanwhile.
pub(super) const MAX_GONE: usize = 100_000;

/// What the entries applied so far say.
#[derive(Debug, Default)]
pub struct KnownTables {
    schemas: HashMap<String, Schema>,
    tables: HashMap<String, Placed>,
    needed: Needed,
    generation: u64,
    gone: Gone,
}

/// Ids of tables that were dropped, the newest of them.
#[derive(Debug, Default)]
struct Gone {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Gone {
    fn insert(&mut self, id: &str) {
        if self.ids.insert(id.to_owned()) {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > MAX_GONE
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// A schema.
#[derive(Debug, Default)]
struct Schema {
    /// The id of the newest entry applied to it.
    newest: Option<String>,
    /// The ids of its tables.
    by_name: HashMap<String, String>,
}

/// A table and where it is.
#[derive(Debug)]
struct Placed {
    schema: String,
    name: String,
    table: Arc<KnownTable>,
}

impl KnownTables {
    /// Changes with everything that is applied.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many tables are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// What is known of the table that now has this name.
    #[must_use]
    pub fn describe(&self, schema: &str, table: &str) -> Description {
        let schema = self.schemas.get(schema);
        let table = schema
            .and_then(|schema| schema.by_name.get(table))
            .and_then(|id| self.tables.get(id));
        Description::new(
            schema.and_then(|schema| schema.newest.as_deref()),
            table.map(|placed| &*placed.table),
        )
    }

    /// This table was dropped before the next entry that is applied.
    pub fn dropped(&mut self, id: &str) {
        self.gone.insert(id);
    }

    /// Applies the next entry of the stream, and returns the ids of those before it that it has made superfluous: without
    /// them, what is known would be the same.
    pub fn apply(&mut self, entry: &Entry) -> Vec<String> {
        self.generation += 1;
        let is_readable = entry.tables.is_some();
        self.needed.begin(&entry.id, is_readable.then_some(&entry.schema));
        if is_readable {
            self.schema(&entry.schema).newest = Some(entry.id.clone());
        }
        let tables = entry.tables.as_deref().unwrap_or_default();
        let touched: HashSet<&str> = if entry.touched.is_empty() {
            tables.iter().map(|table| table.id.as_str()).collect()
        } else {
            entry
                .touched
                .iter()
                .map(|touched| touched.table_id.as_str())
                .collect()
        };
        // All of them first: two of them may have exchanged their names.
        touched.iter().for_each(|id| self.forget(id));
        let dropped: HashSet<&str> = entry
            .touched
            .iter()
            .filter(|touched| touched.dropped)
            .map(|touched| touched.table_id.as_str())
            .collect();
        dropped.iter().for_each(|id| self.gone.insert(id));
        let (replaced, others): (Vec<&Table>, Vec<&Table>) = tables
            .iter()
            .filter(|table| !dropped.contains(table.id.as_str()))
            .partition(|table| touched.contains(table.id.as_str()));
        for table in replaced {
            if let Some(holder) = self.schema(&entry.schema).by_name.get(&table.name).cloned() {
                self.forget(&holder);
            }
            self.forget(&table.id);
            self.place(&entry.schema, table);
        }
        for table in others {
            let is_taken = self.schema(&entry.schema).by_name.contains_key(&table.name);
            if !is_taken && !self.tables.contains_key(&table.id) && !self.gone.ids.contains(&table.id) {
                self.place(&entry.schema, table);
            }
        }
        self.needed.end()
    }

    fn schema(&mut self, name: &str) -> &mut Schema {
        if !self.schemas.contains_key(name) {
            self.schemas.insert(name.to_owned(), Schema::default());
        }
        self.schemas.get_mut(name).expect("it was put there")
    }

    fn forget(&mut self, id: &str) {
        let Some(placed) = self.tables.remove(id) else {
            return;
        };
        if let Some(schema) = self.schemas.get_mut(&placed.schema) {
            schema.by_name.remove(&placed.name);
        }
        self.needed.gone(id);
    }

    fn place(&mut self, schema: &str, table: &Table) {
        let placed = Placed {
            schema: schema.to_owned(),
            name: table.name.clone(),
            table: Arc::new(table.known()),
        };
        self.schema(schema)
            .by_name
            .insert(table.name.clone(), table.id.clone());
        self.tables.insert(table.id.clone(), placed);
        self.needed.described(&table.id);
    }
}

/// The table of this name as one entry describes it, if that can be read and has it.
pub(super) fn describe_from(entry: &str, json: &str, table: &str) -> Option<Description> {
    let tables = read_tables(json).ok()?;
    let table = tables.iter().find(|candidate| candidate.name == table)?;
    Some(Description::new(Some(entry), Some(&table.known())))
}

/// The same of a table as the newest entry that touched it describes it, in a schema whose newest entry is this one.
pub(super) fn describe_newest(schema_id: Option<&str>, json: Option<&str>, table: &str) -> Description {
    let tables = json.and_then(|json| read_tables(json).ok()).unwrap_or_default();
    let table = tables.iter().find(|candidate| candidate.name == table);
    Description::new(schema_id, table.map(super::model::Table::known).as_ref())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
