//! What is known of a table, in the form in which a payload takes it.

use std::sync::Arc;

use pgstream_proto::wal2json::{Action, Column, Columns, JsonStr, Record};

/// A column and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownColumn {
    /// Its name.
    pub name: String,
    /// Its id as a JSON string, quotes included.
    id: String,
}

/// What a payload says of a table beyond the change itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The metadata as JSON, without its closing brace.
    metadata: String,
    /// In the table's order. Empty if the table is unknown.
    columns: Arc<[KnownColumn]>,
    /// The length of the longest id among them.
    longest_id: usize,
    described: bool,
}

/// What is known of a table itself, apart from its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTable {
    /// Its id.
    pub id: String,
    /// The ids of the columns that identify a row, if there are any.
    pub id_columns: Option<Vec<String>>,
    /// In the table's order.
    pub columns: Arc<[KnownColumn]>,
}

impl KnownColumn {
    /// A column with this id.
    #[must_use]
    pub fn new(name: String, id: &str) -> Self {
        Self { name, id: json(id) }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Description {
    /// What is known: the newest entry of the table's schema, and the table, as far as there are any.
    #[must_use]
    pub fn new(schema_id: Option<&str>, table: Option<&KnownTable>) -> Self {
        let ids = table.and_then(|table| table.id_columns.as_ref());
        let id_columns = ids.map_or_else(
            || "null".to_owned(),
            |ids| {
                let ids: Vec<String> = ids.iter().map(|id| json(id)).collect();
                format!("[{}]", ids.join(","))
            },
        );
        let metadata = format!(
            r#"{{"schema_id":{},"table_pgstream_id":{},"id_col_pgstream_id":{id_columns},"version_col_pgstream_id":"""#,
            schema_id.map_or_else(|| "null".to_owned(), json),
            json(table.map_or("", |table| &table.id)),
        );
        let columns = table.map_or_else(|| Arc::from([]), |table| Arc::clone(&table.columns));
        Self {
            metadata,
            longest_id: columns.iter().map(|column| column.id.len()).max().unwrap_or(0),
            columns,
            described: table.is_some(),
        }
    }

    pub(super) fn is_described(&self) -> bool {
        self.described
    }

    pub(super) fn metadata(&self) -> &str {
        &self.metadata
    }

    pub(super) fn columns(&self) -> &[KnownColumn] {
        &self.columns
    }

    pub(super) fn longest_id(&self) -> usize {
        self.longest_id
    }
}

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

    /// Where the column of this name stands.
    pub(super) fn find(&mut self, name: JsonStr<'_>) -> Option<usize> {
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
                if record.header.action == Action::Update && columns.len() < description.columns.len() =>
            {
                omitted(&description.columns, columns, record.identity)
            }
            _ => Vec::new(),
        };
        Self { description, omitted }
    }

    /// Whether the table itself is known.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.description.described
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
    for at in columns.iter().filter_map(|column| walk.find(column.name)) {
        skipped.extend(expected..at);
        expected = expected.max(at + 1);
    }
    skipped.extend(expected..known.len());
    // Where the orders differ, what was skipped may still have come.
    skipped.retain(|at| columns.get(&known[*at].name).is_none());
    let mut identity_walk = Walk::new(known);
    let mut old: Vec<Option<Column<'a>>> = vec![None; if skipped.is_empty() { 0 } else { known.len() }];
    if !skipped.is_empty() {
        for column in identity.iter().flat_map(Columns::iter) {
            if let Some(at) = identity_walk.find(column.name) {
                old[at] = Some(column);
            }
        }
    }
    skipped
        .into_iter()
        .map(|at| Omitted { at, old: old[at] })
        .collect()
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
