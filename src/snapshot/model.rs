//! What is read: tables, their columns, and how far the reading has come. A leaf.

use std::fmt;

/// A relation of the source, as far as the choice of what is read is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Schema and name of the topmost partitioned table that it is a partition of, if it is one.
    pub root: Option<(String, String)>,
    /// What it is.
    pub kind: RelationKind,
    /// Whether the role may read it.
    pub is_readable: bool,
    /// Whether policies hide rows of it from the role.
    pub hides_rows: bool,
    /// The pages of its heap.
    pub pages: u64,
    /// What it takes on disk, with what is stored out of line.
    pub bytes: u64,
    /// How many rows it is thought to have.
    pub rows: u64,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table with rows of its own.
    Table,
    /// A partitioned table, whose rows are in its partitions.
    Partitioned,
    /// A view.
    View,
    /// A materialised view.
    MaterialisedView,
    /// A foreign table.
    Foreign,
}

impl RelationKind {
    /// What `pg_class.relkind` says.
    #[must_use]
    pub fn from_letter(letter: &str) -> Option<Self> {
        Some(match letter {
            "r" => Self::Table,
            "p" => Self::Partitioned,
            "v" => Self::View,
            "m" => Self::MaterialisedView,
            "f" => Self::Foreign,
            _ => return None,
        })
    }
}

impl fmt::Display for RelationKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Table => "a table",
            Self::Partitioned => "a partitioned table",
            Self::View => "a view",
            Self::MaterialisedView => "a materialised view",
            Self::Foreign => "a foreign table",
        })
    }
}

#[cfg(test)]
impl Relation {
    /// A table without anything, for tests.
    pub(crate) fn sample(schema: &str, name: &str) -> Self {
        Self {
            oid: 1,
            schema: schema.to_owned(),
            name: name.to_owned(),
            root: None,
            kind: RelationKind::Table,
            is_readable: true,
            hides_rows: false,
            pages: 0,
            bytes: 0,
            rows: 0,
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.name)
    }
}

/// The columns of a table, as a snapshot shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// In the table's order.
    pub columns: Vec<Column>,
    /// The number of the file that its rows lie in. Another one, once they have been written anew: then each may lie where
    /// another one lay.
    pub filenode: u64,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type` writes it.
    pub type_name: String,
    /// How its values are written into JSON.
    pub kind: ValueKind,
    /// Where it stands in the primary key, if it does.
    pub key_position: Option<usize>,
}

/// How a value is written into JSON: as wal2json does, which goes by the type itself and not by what a domain is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// As a number, or `null` where there is none in JSON.
    Number,
    /// As `true` or `false`.
    Bool,
    /// As a string of hexadecimal digits.
    Bytea,
    /// As a string.
    Text,
}

impl ValueKind {
    /// That of the type with this OID.
    #[must_use]
    pub const fn of_type(oid: u32) -> Self {
        match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            // int8, int2, int4, oid, float4, float8, numeric
            20 | 21 | 23 | 26 | 700 | 701 | 1700 => Self::Number,
            _ => Self::Text,
        }
    }
}

/// A snapshot that others can read under as well, as long as the transaction is open that has exported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its name, for `SET TRANSACTION SNAPSHOT`.
    pub name: String,
    /// Which transactions it sees, as `pg_current_snapshot()` prints it.
    pub sees: String,
    /// Everything that it sees was written before this position.
    pub lsn: String,
    /// When it was taken, as wal2json prints times.
    pub taken_at: String,
}

/// Pages of a table, from the first to before the last; to the end where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRange {
    /// The first page.
    pub first: u64,
    /// The page behind the last one.
    pub end: Option<u64>,
}
