//! Where an event stands in the order: the lanes it touches.
//!
//! # The rule
//!
//! Changes of one row are delivered in commit order; a lane is a row, by its primary key. Lanes are named by a hash:
//! two rows whose hashes collide are merely delivered one after the other, never out of order. What has no exact key
//! is ordered more strictly, never less:
//!
//! | change | touches |
//! |---|---|
//! | I, D, and U with an unchanged key | the lane of its row |
//! | U that changes the key | the lanes of both rows |
//! | any, of a table without a primary key | the one lane of the table |
//! | any, of a table with a key type whose equal values print differently | the one lane of the table |
//! | U, D whose identity lacks a key column (REPLICA IDENTITY USING INDEX) | every lane of the table |
//! | T | every lane of the table |
//! | a row that was read from a table without an exact key | a lane of its own, of other *key columns* than any change has |

use pgstream_proto::wal2json::{Action, Columns, KeyColumns, Record};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::delivery_id::RowVersion;

/// A lane: one row, or one table without row keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey(pub u64);

/// The root table that lanes belong to. Partitions of one root share it, since a row may move between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableKey(pub u64);

/// Which columns make up the key of a table, as a hash over their names and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySet(pub u64);

/// Where an event stands: its table, its lanes, and the key columns these lanes were made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The root table.
    pub table: TableKey,
    /// The lanes it touches.
    pub keys: LaneKeys,
    /// What the lanes were made of. Lanes of different key columns cannot be compared: the first change after
    /// `ALTER TABLE` has changed the key is ordered against every row. Absent where the record does not say (T).
    pub key_set: Option<KeySet>,
}

/// The lanes that one event touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneKeys {
    /// One row.
    Row(LaneKey),
    /// The row under its old and its new key.
    Moved(LaneKey, LaneKey),
    /// Every row of the table.
    Table,
}

/// What lanes are made of that are those of versions of rows.
const BY_VERSION: KeySet = KeySet(0x6374_6964);

/// The place of `record`, a change of `table` or of one of its partitions.
#[must_use]
pub fn place(record: &Record<'_>, table: TableKey) -> Place {
    let key_set = (record.header.action != Action::Truncate).then(|| key_set(record.pk));
    Place {
        table,
        keys: lane_keys(record, table),
        key_set,
    }
}

/// The place of a row that was read from `table` or one of its partitions, of this version.
///
/// No row of a snapshot stands before another one. So where no exact key says which changes are of the same row, it has a lane by
/// where it lies; and as the lanes of other key columns, that comes behind everything before and before everything later.
#[must_use]
pub fn row_place(record: &Record<'_>, table: TableKey, version: RowVersion<'_>) -> Place {
    let place = place(record, table);
    if place.keys != LaneKeys::Row(LaneKey(table.0)) {
        return place;
    }
    let page = xxh3_64_with_seed(version.page.as_bytes(), table.0);
    let lane = xxh3_64_with_seed(version.line.as_bytes(), page);
    Place {
        table,
        keys: LaneKeys::Row(LaneKey(lane)),
        key_set: Some(BY_VERSION),
    }
}

fn lane_keys(record: &Record<'_>, table: TableKey) -> LaneKeys {
    if record.header.action == Action::Truncate {
        return LaneKeys::Table;
    }
    let Some(pk) = record
        .pk
        .filter(|pk| !pk.is_empty() && prints_equal_values_alike(pk))
    else {
        return LaneKeys::Row(LaneKey(table.0));
    };
    let (columns, identity) = (record.columns, record.identity);
    let keys = match record.header.action {
        Action::Insert => row_key(table, pk, columns, None).map(LaneKeys::Row),
        Action::Delete => row_key(table, pk, identity, None).map(LaneKeys::Row),
        // A key column that is absent from the new row is an unchanged TOAST value: the identity has it.
        _ => row_key(table, pk, identity, None)
            .zip(row_key(table, pk, columns, identity))
            .map(|(old, new)| {
                if old == new {
                    LaneKeys::Row(new)
                } else {
                    LaneKeys::Moved(old, new)
                }
            }),
    };
    keys.unwrap_or(LaneKeys::Table)
}

/// Tells sets of key columns apart, in whatever order they stand.
fn key_set(pk: Option<KeyColumns<'_>>) -> KeySet {
    let sum = pk.iter().flat_map(KeyColumns::iter).fold(0, |sum: u64, column| {
        let name = xxh3_64(column.name.raw().as_bytes());
        sum.wrapping_add(xxh3_64_with_seed(column.type_name.raw().as_bytes(), name))
    });
    KeySet(sum)
}

/// The key of the row in `columns`, with `fallback` for columns that are absent there.
///
/// The sum makes it independent of the order of the columns, which may differ between partitions.
fn row_key(
    table: TableKey,
    pk: KeyColumns<'_>,
    columns: Option<Columns<'_>>,
    fallback: Option<Columns<'_>>,
) -> Option<LaneKey> {
    let mut sum = table.0;
    for key in pk.iter() {
        let find = |columns: Option<Columns<'_>>| {
            columns?
                .iter()
                .find(|column| column.name() == key.name)
                .map(|column| hash_value(&column))
        };
        sum = sum.wrapping_add(find(columns).or_else(|| find(fallback))?);
    }
    Some(LaneKey(sum))
}

fn hash_value(column: &pgstream_proto::wal2json::Column<'_>) -> u64 {
    xxh3_64_with_seed(column.value().as_bytes(), xxh3_64(column.name().raw().as_bytes()))
}

/// Whether equal values of all key types have one printed form each.
///
/// Not so for numeric (1.0 and 1.00), citext, floats (0 and -0), intervals and whatever contains them; of an unknown
/// type, an enum or a domain say, it is not known. Those tables get one lane.
fn prints_equal_values_alike(pk: &KeyColumns<'_>) -> bool {
    pk.iter().all(|column| {
        let raw = column.type_name.raw();
        let name = raw.trim_matches('"');
        let base = name.split_once('(').map_or(name, |(base, _)| base);
        match base {
            "smallint"
            | "integer"
            | "bigint"
            | "oid"
            | "boolean"
            | "text"
            | "character varying"
            | "name"
            | "uuid"
            | "date"
            | "timestamp"
            | "timestamp without time zone"
            | "timestamp with time zone"
            | "bytea" => !name.ends_with(']'),
            // char(n) pads every value to n; without n, trailing blanks are kept though they do not count.
            "character" => name != base,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use pgstream_proto::wal2json::Parser;

    use super::*;

    const TABLE: TableKey = TableKey(7);

    fn keys(json: &str) -> LaneKeys {
        place(&Parser::new().parse(json.as_bytes()).unwrap(), TABLE).keys
    }

    /// A record of a table with the key (a integer, b text) unless `pk` says otherwise.
    fn change(action: &str, columns: &str, identity: &str, pk: &str) -> LaneKeys {
        let object = |text: &str| {
            let columns: Vec<String> = text
                .split_terminator(' ')
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(name, value)| format!(r#"{{"name":"{name}","type":"t","value":{value}}}"#))
                .collect();
            columns.join(",")
        };
        let mut json = format!(r#"{{"action":"{action}","lsn":"0/1","schema":"s","table":"t""#);
        if !columns.is_empty() {
            json += &format!(r#","columns":[{}]"#, object(columns));
        }
        if !identity.is_empty() {
            json += &format!(r#","identity":[{}]"#, object(identity));
        }
        keys(&format!(r#"{json},"pk":[{pk}]}}"#))
    }

    const AB: &str = r#"{"name":"a","type":"integer"},{"name":"b","type":"text"}"#;
    const BA: &str = r#"{"name":"b","type":"text"},{"name":"a","type":"integer"}"#;

    #[test]
    fn changes_of_one_row_share_its_lane() {
        let row = change("I", r#"a=1 b="x" c=5"#, "", AB);
        assert!(matches!(row, LaneKeys::Row(key) if key.0 != TABLE.0));
        assert_eq!(change("D", "", r#"a=1 b="x""#, AB), row);
        assert_eq!(change("U", r#"a=1 b="x" c=6"#, r#"a=1 b="x""#, AB), row);
        assert_eq!(
            change("I", r#"b="x" a=1"#, "", BA),
            row,
            "a partition may have another order of columns"
        );
    }

    #[test]
    fn different_rows_have_different_lanes() {
        let row = change("I", r#"a=1 b="x""#, "", AB);
        assert_ne!(change("I", r#"a=2 b="x""#, "", AB), row);
        assert_ne!(change("I", r#"a="x" b=1"#, "", AB), row);
    }

    #[test]
    fn a_changed_key_touches_both_lanes() {
        let LaneKeys::Row(old) = change("I", r#"a=1 b="x""#, "", AB) else {
            panic!()
        };
        let LaneKeys::Row(new) = change("I", r#"a=2 b="x""#, "", AB) else {
            panic!()
        };
        assert_eq!(
            change("U", r#"a=2 b="x""#, r#"a=1 b="x""#, AB),
            LaneKeys::Moved(old, new)
        );
    }

    #[test]
    fn an_unchanged_toast_key_column_is_taken_from_the_identity() {
        let row = change("I", r#"a=1 b="x""#, "", AB);
        assert_eq!(change("U", "a=1", r#"a=1 b="x""#, AB), row);
    }

    #[test]
    fn an_identity_without_the_key_touches_the_whole_table() {
        assert_eq!(change("D", "", r#"c=1"#, AB), LaneKeys::Table);
        assert_eq!(change("U", r#"a=1 b="x""#, r#"c=1"#, AB), LaneKeys::Table);
        assert_eq!(
            keys(r#"{"action":"T","lsn":"0/1","schema":"s","table":"t"}"#),
            LaneKeys::Table
        );
    }

    #[test]
    fn tables_without_an_exact_key_have_one_lane() {
        let one = LaneKeys::Row(LaneKey(TABLE.0));
        assert_eq!(change("I", "a=1", "", ""), one);
        for (key_type, exact) in [
            ("integer", true),
            ("character varying(20)", true),
            ("timestamp(3) without time zone", true),
            ("timestamp with time zone", true),
            ("character(3)", true),
            ("character", false),
            ("integer[]", false),
            ("character varying(20)[]", false),
            ("numeric(10,2)", false),
            ("citext", false),
            ("double precision", false),
            ("interval", false),
            ("mood", false),
        ] {
            let keys = change("I", "a=1", "", &format!(r#"{{"name":"a","type":"{key_type}"}}"#));
            assert_eq!(keys != one, exact, "{key_type}");
        }
    }

    #[test]
    fn key_sets_tell_sets_of_key_columns_apart_but_not_their_order() {
        let set_of = |pk: &str| {
            let json =
                format!(r#"{{"action":"I","lsn":"0/1","schema":"s","table":"t","columns":[],"pk":[{pk}]}}"#);
            let mut parser = Parser::new();
            let record = parser.parse(json.as_bytes()).unwrap();
            key_set(record.pk)
        };
        assert_eq!(set_of(AB), set_of(BA));
        assert_ne!(set_of(AB), set_of(r#"{"name":"a","type":"integer"}"#));
        assert_ne!(
            set_of(r#"{"name":"a","type":"integer"}"#),
            set_of(r#"{"name":"a","type":"bigint"}"#)
        );
        assert_ne!(set_of(""), set_of(AB));
    }

    #[test]
    fn rows_without_a_key_have_lanes_of_their_own_that_no_change_has() {
        let mut parser = Parser::new();
        let row = br#"{"action":"I","schema":"s","table":"t","columns":[{"name":"a","type":"integer","value":1}],"pk":[]}"#;
        let record = parser.parse(row).unwrap();
        let version = |line| RowVersion {
            xmin: "7",
            page: "0",
            line,
        };
        let (first, second) = (
            row_place(&record, TABLE, version("1")),
            row_place(&record, TABLE, version("2")),
        );
        assert_ne!(first.keys, second.keys);
        assert_eq!(first.key_set, second.key_set);
        let change = place(&record, TABLE);
        assert_ne!(change.key_set, first.key_set, "it is ordered against all of them");
        let keyed =
            br#"{"action":"I","schema":"s","table":"t","columns":[{"name":"a","type":"integer","value":1}],
            "pk":[{"name":"a","type":"integer"}]}"#;
        let mut parser = Parser::new();
        let record = parser.parse(keyed).unwrap();
        assert_eq!(row_place(&record, TABLE, version("1")), place(&record, TABLE));
    }
}
