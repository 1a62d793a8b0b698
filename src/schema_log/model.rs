//! An entry of the schema log, and the JSON in it.

use pgstream_proto::Lsn;
use serde::Deserialize;

use crate::event::{KnownColumn, KnownTable};

/// One entry: what a command did to the tables of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id, a `pgstream.xid`.
    pub id: String,
    /// The schema that it is about.
    pub schema: String,
    /// The commit LSN of its transaction.
    pub commit_lsn: Lsn,
    /// The tables of the schema as the command's own session saw them, all or those that it touched. None if they cannot
    /// be read.
    pub tables: Option<Vec<Table>>,
    /// What became of which table.
    pub touched: Vec<Touched>,
}

/// A table that a command touched: a row of `pgstream.schema_log_tables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// The id of the table.
    pub table_id: String,
    /// Whether the command dropped it.
    pub dropped: bool,
}

/// A table, as the log's JSON describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Table {
    /// Its id, which it keeps over renames and moves.
    #[serde(rename = "pgstream_id")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// In the table's order.
    #[serde(default, deserialize_with = "or_empty")]
    pub columns: Vec<Column>,
    /// The names of the columns of its primary key, in whatever order.
    #[serde(default, deserialize_with = "or_empty")]
    pub primary_key_columns: Vec<String>,
}

/// A column, as the log's JSON describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Column {
    /// Its id, which it keeps over renames.
    #[serde(rename = "pgstream_id")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether its values alone tell rows apart.
    #[serde(default)]
    pub unique: bool,
    /// Whether it may be NULL.
    #[serde(default)]
    pub nullable: bool,
}

#[derive(Deserialize)]
struct Log {
    #[serde(default, deserialize_with = "or_empty")]
    tables: Vec<Table>,
}

/// Reads the JSON of an entry: `{"tables": [{"name", "pgstream_id", "columns": […], "primary_key_columns": […]}]}`.
/// What else it holds is not looked at.
///
/// # Errors
/// When it is anything else.
pub fn read_tables(json: &str) -> Result<Vec<Table>, serde_json::Error> {
    Ok(serde_json::from_str::<Log>(json)?.tables)
}

/// Reads `null` as an empty list.
fn or_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Table {
    /// What an event needs of it.
    #[must_use]
    pub fn known(&self) -> KnownTable {
        let columns = self
            .columns
            .iter()
            .map(|column| KnownColumn::new(column.name.clone(), &column.id));
        KnownTable {
            id: self.id.clone(),
            id_columns: self.id_columns(),
            columns: columns.collect(),
        }
    }

    /// The ids of the columns that identify a row: those of the primary key in the table's order; else the one that
    /// comes first by name of those that are unique and never NULL.
    #[must_use]
    pub fn id_columns(&self) -> Option<Vec<String>> {
        let key: Vec<String> = self
            .columns
            .iter()
            .filter(|column| self.primary_key_columns.contains(&column.name))
            .map(|column| column.id.clone())
            .collect();
        if !key.is_empty() {
            return Some(key);
        }
        let unique = self
            .columns
            .iter()
            .filter(|column| column.unique && !column.nullable);
        unique
            .min_by(|a, b| a.name.cmp(&b.name))
            .map(|column| vec![column.id.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUTORIAL: &str = r#"{"tables": [{"oid": "16471", "name": "test", "columns": [{"name": "id", "type": "integer", "unique": true, "default": "nextval('public.test_id_seq'::regclass)", "metadata": null, "nullable": false, "pgstream_id": "cv9al8qhi0j00i9chq8g-1"}, {"name": "name", "type": "text", "unique": false, "default": null, "metadata": null, "nullable": true, "pgstream_id": "cv9al8qhi0j00i9chq8g-2"}], "pgstream_id": "cv9al8qhi0j00i9chq8g", "primary_key_columns": ["id"]}]}"#;

    #[test]
    fn the_tutorials_entry_is_read() {
        let tables = read_tables(TUTORIAL).unwrap();
        let [table] = &tables[..] else {
            panic!("{tables:?}")
        };
        assert_eq!(
            (table.name.as_str(), table.id.as_str()),
            ("test", "cv9al8qhi0j00i9chq8g")
        );
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(columns, ["id", "name"]);
        assert_eq!(
            table.id_columns(),
            Some(vec!["cv9al8qhi0j00i9chq8g-1".to_owned()])
        );
    }

    #[test]
    fn what_is_empty_may_be_null_or_absent_and_nothing_else_is_accepted() {
        for json in [r#"{"tables":[]}"#, r#"{"tables":null}"#, "{}"] {
            assert_eq!(read_tables(json).unwrap(), []);
        }
        let bare = r#"{"tables":[{"name":"t","pgstream_id":"1","columns":null}]}"#;
        assert_eq!(read_tables(bare).unwrap()[0].columns, []);
        for json in [
            "",
            "7",
            "null",
            r#"{"tables":[{}]}"#,
            r#"{"tables":[{"name":"t"}]}"#,
        ] {
            assert!(read_tables(json).is_err(), "{json}");
        }
    }

    fn column(number: u8, name: &str, unique: bool, nullable: bool) -> Column {
        Column {
            id: number.to_string(),
            name: name.to_owned(),
            unique,
            nullable,
        }
    }

    #[test]
    fn rows_are_identified_by_the_key_else_by_the_first_unique_column_that_is_never_null() {
        let mut table = Table {
            id: "t".to_owned(),
            name: "t".to_owned(),
            columns: vec![
                column(1, "z", true, false),
                column(2, "b", true, false),
                column(3, "a", true, true),
                column(4, "c", false, false),
            ],
            primary_key_columns: vec!["c".to_owned(), "z".to_owned()],
        };
        assert_eq!(table.id_columns(), Some(vec!["1".to_owned(), "4".to_owned()]));
        table.primary_key_columns.clear();
        assert_eq!(table.id_columns(), Some(vec!["2".to_owned()]));
        table.columns.retain(|column| !column.unique || column.nullable);
        assert_eq!(table.id_columns(), None);
    }
}
