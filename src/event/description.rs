//! What is known of a table, in the form in which a payload takes it.

use std::sync::Arc;

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

    /// Whether the table is known.
    #[must_use]
    pub fn is_described(&self) -> bool {
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

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
