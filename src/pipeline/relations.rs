//! What is known of the tables seen in the stream.

use std::collections::HashMap;
use std::sync::Arc;

use pgstream_proto::wal2json::JsonStr;

use super::{OWN_SCHEMA, SCHEMA_LOG};
use crate::event::{TableKey, table_hash};

/// How many tables are remembered. Beyond that all are forgotten and looked up anew at their next sight.
const MAX_RELATIONS: usize = 20_000;

/// A table, as far as the pipeline is concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relation {
    /// Its own number, never given to another one.
    pub(super) number: u64,
    pub(super) schema: String,
    pub(super) table: String,
    /// The topmost partitioned table it belongs to, if any.
    pub(super) root: Option<(String, String)>,
    /// Stands for it in ids.
    pub(super) hash: u64,
    /// Whose rows its rows are ordered among.
    pub(super) key: TableKey,
    pub(super) kind: Kind,
}

/// Whose table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A user's.
    User,
    /// The schema log: its INSERTs are delivered.
    SchemaLog,
    /// Another one of ours: never delivered.
    Own,
}

/// The tables seen so far, by their names as wal2json prints them.
#[derive(Debug, Default)]
pub(super) struct Relations {
    by_name: HashMap<String, Arc<Relation>>,
    /// The name being looked up, so that a look-up costs no allocation.
    name: String,
    made: u64,
}

impl Relations {
    /// The table of these names, if it was seen before.
    pub(super) fn get(&mut self, schema: JsonStr<'_>, table: JsonStr<'_>) -> Option<&Arc<Relation>> {
        self.name.clear();
        self.name.push_str(schema.raw());
        // Both are quoted, so where one ends and the other begins is clear.
        self.name.push_str(table.raw());
        self.by_name.get(&self.name)
    }

    /// Remembers a table, which belongs to `root`.
    pub(super) fn insert(
        &mut self,
        schema: JsonStr<'_>,
        table: JsonStr<'_>,
        root: Option<(String, String)>,
    ) -> Arc<Relation> {
        if self.by_name.len() >= MAX_RELATIONS {
            self.by_name.clear();
        }
        let name = format!("{}{}", schema.raw(), table.raw());
        let (schema, table) = (schema.unescape().into_owned(), table.unescape().into_owned());
        let hash = table_hash(&schema, &table);
        let root = root.filter(|root| *root != (schema.clone(), table.clone()));
        let root_hash = root
            .as_ref()
            .map_or(hash, |(schema, table)| table_hash(schema, table));
        let kind = match (schema.as_str(), table.as_str()) {
            (OWN_SCHEMA, SCHEMA_LOG) => Kind::SchemaLog,
            (OWN_SCHEMA, _) => Kind::Own,
            _ => Kind::User,
        };
        self.made += 1;
        let number = self.made;
        let relation = Relation {
            number,
            schema,
            table,
            root,
            hash,
            key: TableKey(root_hash),
            kind,
        };
        let relation = Arc::new(relation);
        self.by_name.insert(name, Arc::clone(&relation));
        relation
    }

    /// Forgets the tables of a schema: its shape has changed.
    pub(super) fn forget_schema(&mut self, schema: &str) {
        self.by_name.retain(|_, relation| relation.schema != schema);
    }
}

#[cfg(test)]
mod tests {
    use pgstream_proto::wal2json::header;

    use super::*;

    /// Calls `then` with the names as a record prints them.
    fn with_names<T>(schema: &str, table: &str, then: impl FnOnce(JsonStr<'_>, JsonStr<'_>) -> T) -> T {
        let json = format!(r#"{{"action":"T","lsn":"0/1","schema":"{schema}","table":"{table}"}}"#);
        let header = header(json.as_bytes()).unwrap();
        then(header.schema.unwrap(), header.table.unwrap())
    }

    fn insert(
        relations: &mut Relations,
        schema: &str,
        table: &str,
        root: Option<(&str, &str)>,
    ) -> Arc<Relation> {
        let root = root.map(|(schema, table)| (schema.to_owned(), table.to_owned()));
        with_names(schema, table, |schema, table| {
            relations.insert(schema, table, root);
            Arc::clone(relations.get(schema, table).unwrap())
        })
    }

    #[test]
    fn a_table_is_found_by_its_printed_name_and_known_by_its_real_one() {
        let mut relations = Relations::default();
        let relation = insert(&mut relations, "public", r#"a \"b\""#, None);
        assert_eq!(relation.table, r#"a "b""#);
        assert_eq!(relation.hash, table_hash("public", r#"a "b""#));
        assert!(with_names("publica", r#" \"b\""#, |schema, table| relations
            .get(schema, table)
            .is_none()));
    }

    #[test]
    fn partitions_are_ordered_with_their_root() {
        let mut relations = Relations::default();
        let root = insert(&mut relations, "s", "root", Some(("s", "root")));
        let leaf = insert(&mut relations, "s", "leaf", Some(("s", "root")));
        assert_eq!(leaf.key, root.key);
        assert_ne!(leaf.hash, root.hash);
        assert_eq!(root.root, None);
    }

    #[test]
    fn a_schema_is_forgotten_as_a_whole_and_numbers_are_never_reused() {
        let mut relations = Relations::default();
        let before = insert(&mut relations, "s", "t", None);
        let kept = insert(&mut relations, "other", "t", None);
        relations.forget_schema("s");
        assert!(with_names("s", "t", |schema, table| relations
            .get(schema, table)
            .is_none()));
        assert!(with_names("other", "t", |schema, table| relations
            .get(schema, table)
            .is_some()));
        let after = insert(&mut relations, "s", "t", None);
        assert!(before.number != after.number && kept.number != after.number);
    }

    #[test]
    fn our_own_tables_are_told_apart() {
        let mut relations = Relations::default();
        let mut kind = |schema, table| insert(&mut relations, schema, table, None).kind;
        assert_eq!(kind("pgstream", "schema_log"), Kind::SchemaLog);
        assert_eq!(kind("pgstream", "webhook_subscriptions"), Kind::Own);
        assert_eq!(kind("public", "schema_log"), Kind::User);
    }
}
