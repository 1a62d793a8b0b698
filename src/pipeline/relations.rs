//! What is known of the tables seen in the stream.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pgstream_proto::wal2json::JsonStr;

use super::catalog::Answer;
use super::{OWN_SCHEMA, SCHEMA_LOG, SCHEMA_LOG_TABLES};
use crate::event::{Description, TableKey, TableName, table_hash};
use crate::filter::TableFilter;
use crate::schema_log::Injector;
use crate::store::catalog::PartitionRoot;

/// How many tables are remembered. Beyond that all are forgotten and looked up anew at their next sight.
const MAX_RELATIONS: usize = 20_000;

/// How many prefixes of messages are remembered, and how long they may be: anyone may make them up.
const MAX_PREFIXES: usize = 1_000;
/// See [`MAX_PREFIXES`].
const MAX_PREFIX_LEN: usize = 512;

/// A table, as far as the pipeline is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    /// Its own number, never given to another one.
    pub(super) number: u64,
    pub(super) name: Arc<TableName>,
    /// Stands for it in ids.
    pub(super) hash: u64,
    /// Whose rows its rows are ordered among.
    pub(super) key: TableKey,
    pub(super) kind: Kind,
    /// What its metadata is filled in from. None without the injector, and for our own tables.
    pub(super) description: Option<Arc<Description>>,
    /// The injector's generation that this description is of.
    described_at: u64,
}

/// Whose table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A user's.
    User,
    /// The schema log: its INSERTs are delivered.
    SchemaLog,
    /// What the entries of the schema log touch: read, never delivered.
    SchemaLogTables,
    /// Another one of ours: never delivered.
    Own,
    /// A user's that the filter leaves out.
    LeftOut,
    /// None, but the prefix of logical messages.
    Prefix,
}

/// A table, and whether what is known of it has to be looked up again.
#[derive(Debug)]
struct Known {
    relation: Arc<Relation>,
    stale: bool,
}

impl Relation {
    fn is_described(&self) -> bool {
        self.description
            .as_ref()
            .is_some_and(|description| description.is_described())
    }

    /// The same table, as the injector describes it.
    fn described_by(mut self, injector: Option<&Injector>) -> Self {
        if let Some(injector) = injector {
            self.described_at = injector.generation();
            let TableName { schema, table, .. } = &*self.name;
            self.description = (self.kind == Kind::User).then(|| injector.describe(schema, table));
        }
        self
    }
}

/// The tables seen so far, by their names as wal2json prints them.
#[derive(Debug, Default)]
pub(super) struct Relations {
    by_name: HashMap<String, Known>,
    /// The name being looked up, so that a look-up costs no allocation.
    name: String,
    made: u64,
    filter: TableFilter,
    /// Those of messages, by their prefixes.
    prefixes: HashMap<String, Arc<Relation>>,
}

impl Relations {
    /// None yet; of those that come, `filter` leaves some out.
    pub(super) fn new(filter: TableFilter) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// Whether changes of this table are left out whatever its root is, so that no look-up is needed.
    pub(super) fn excludes(&self, schema: JsonStr<'_>, table: JsonStr<'_>) -> bool {
        !self.filter.takes_all() && self.filter.excludes(&schema.unescape(), &table.unescape())
    }

    /// The table of these names, if it was seen before, as the injector describes it now. One that was described and is
    /// not any more has to be looked up again.
    pub(super) fn get(
        &mut self,
        schema: JsonStr<'_>,
        table: JsonStr<'_>,
        injector: Option<&Injector>,
    ) -> Option<&Arc<Relation>> {
        self.name.clear();
        self.name.push_str(schema.raw());
        // Both are quoted, so where one ends and the other begins is clear.
        self.name.push_str(table.raw());
        let known = self.by_name.get_mut(&self.name).filter(|known| !known.stale)?;
        if let Some(injector) = injector
            && known.relation.described_at != injector.generation()
        {
            let relation = Relation::clone(&known.relation).described_by(Some(injector));
            known.stale = known.relation.is_described() && !relation.is_described();
            known.relation = Arc::new(relation);
            if known.stale {
                return None;
            }
        }
        Some(&known.relation)
    }

    /// What stands for the messages of a prefix where a change has its table. Nothing has to be looked up for it, so that
    /// forgetting it costs little.
    pub(super) fn of_prefix(&mut self, prefix: JsonStr<'_>) -> Arc<Relation> {
        if let Some(known) = self.prefixes.get(prefix.raw()) {
            return Arc::clone(known);
        }
        self.made += 1;
        let text = prefix.unescape().into_owned();
        let hash = table_hash("", &text);
        let relation = Arc::new(Relation {
            number: self.made,
            name: Arc::new(TableName {
                schema: String::new(),
                table: text,
                root: None,
            }),
            hash,
            key: TableKey(hash),
            kind: Kind::Prefix,
            description: None,
            described_at: 0,
        });
        if prefix.raw().len() <= MAX_PREFIX_LEN {
            if self.prefixes.len() >= MAX_PREFIXES {
                self.prefixes.clear();
            }
            self.prefixes
                .insert(prefix.raw().to_owned(), Arc::clone(&relation));
        }
        relation
    }

    /// Remembers a table, as the source and the injector describe it.
    ///
    /// One that the catalogs do not know any more keeps the root it had when it was last seen: its last changes may be
    /// read after it was dropped, and belong to the subscribers of the root all the same. One that was never seen before
    /// is its own root.
    pub(super) fn insert(
        &mut self,
        schema: JsonStr<'_>,
        table: JsonStr<'_>,
        answer: Answer,
        injector: Option<&Injector>,
    ) -> Arc<Relation> {
        let Answer { root, ahead, .. } = answer;
        if self.by_name.len() >= MAX_RELATIONS {
            self.by_name.clear();
        }
        let name = format!("{}{}", schema.raw(), table.raw());
        let (schema, table) = (schema.unescape().into_owned(), table.unescape().into_owned());
        let hash = table_hash(&schema, &table);
        let root = match root {
            PartitionRoot::Of { schema, table } => Some((schema, table)),
            PartitionRoot::Itself => None,
            PartitionRoot::Missing => self
                .by_name
                .get(&name)
                .and_then(|known| known.relation.name.root.clone()),
        };
        let root = root.filter(|root| *root != (schema.clone(), table.clone()));
        let root_hash = root
            .as_ref()
            .map_or(hash, |(schema, table)| table_hash(schema, table));
        let kind = match (schema.as_str(), table.as_str()) {
            (OWN_SCHEMA, SCHEMA_LOG) => Kind::SchemaLog,
            (OWN_SCHEMA, SCHEMA_LOG_TABLES) => Kind::SchemaLogTables,
            (OWN_SCHEMA, _) => Kind::Own,
            table if !self.filter.takes(table, named(root.as_ref())) => Kind::LeftOut,
            _ => Kind::User,
        };
        self.made += 1;
        let number = self.made;
        let relation = Relation {
            number,
            name: Arc::new(TableName { schema, table, root }),
            hash,
            key: TableKey(root_hash),
            kind,
            description: None,
            described_at: 0,
        };
        let mut relation = relation.described_by(injector);
        if ahead.is_some() && relation.kind == Kind::User && !relation.is_described() {
            relation.description = ahead;
        }
        let relation = Arc::new(relation);
        let known = Known {
            relation: Arc::clone(&relation),
            stale: false,
        };
        self.by_name.insert(name, known);
        relation
    }

    /// Has tables looked up again that another root may have now, because an entry of a schema touches those of these
    /// names: these; all partitions of roots in that schema, whose names may be new; and those of roots with such a name
    /// wherever they are, since a root that moves is touched in the schema that it moves to. An entry that does not say
    /// what it touches is about all tables of its schema.
    pub(super) fn doubt(&mut self, schema: &str, touched: &HashSet<String>) {
        let is_doubtful = |name: &TableName| {
            let of_root = name
                .root
                .as_ref()
                .is_some_and(|(root_schema, root)| root_schema == schema || touched.contains(root));
            of_root || name.schema == schema && (touched.is_empty() || touched.contains(&name.table))
        };
        let doubtful = self
            .by_name
            .values_mut()
            .filter(|known| is_doubtful(&known.relation.name));
        doubtful.for_each(|known| known.stale = true);
    }
}

fn named(root: Option<&(String, String)>) -> Option<(&str, &str)> {
    root.map(|(schema, table)| (schema.as_str(), table.as_str()))
}

#[cfg(test)]
mod tests {
    use pgstream_proto::wal2json::{self, header};

    use super::*;

    /// Calls `then` with the names as a record prints them.
    fn with_names<T>(schema: &str, table: &str, then: impl FnOnce(JsonStr<'_>, JsonStr<'_>) -> T) -> T {
        let json = format!(r#"{{"action":"T","lsn":"0/1","schema":"{schema}","table":"{table}"}}"#);
        let header = header(json.as_bytes()).unwrap();
        then(header.schema.unwrap(), header.table.unwrap())
    }

    fn answer(root: PartitionRoot) -> Answer {
        Answer {
            root,
            ..Answer::NOTHING
        }
    }

    fn insert(
        relations: &mut Relations,
        schema: &str,
        table: &str,
        root: Option<(&str, &str)>,
    ) -> Arc<Relation> {
        let root = root.map_or(PartitionRoot::Itself, |(schema, table)| PartitionRoot::Of {
            schema: schema.to_owned(),
            table: table.to_owned(),
        });
        with_names(schema, table, |schema, table| {
            relations.insert(schema, table, answer(root), None);
            Arc::clone(relations.get(schema, table, None).unwrap())
        })
    }

    #[test]
    fn a_table_is_found_by_its_printed_name_and_known_by_its_real_one() {
        let mut relations = Relations::default();
        let relation = insert(&mut relations, "public", r#"a \"b\""#, None);
        assert_eq!(relation.name.table, r#"a "b""#);
        assert_eq!(relation.hash, table_hash("public", r#"a "b""#));
        assert!(with_names("publica", r#" \"b\""#, |schema, table| relations
            .get(schema, table, None)
            .is_none()));
    }

    #[test]
    fn partitions_are_ordered_with_their_root() {
        let mut relations = Relations::default();
        let root = insert(&mut relations, "s", "root", Some(("s", "root")));
        let leaf = insert(&mut relations, "s", "leaf", Some(("s", "root")));
        assert_eq!(leaf.key, root.key);
        assert_ne!(leaf.hash, root.hash);
        assert_eq!(root.name.root, None);
    }

    #[test]
    fn numbers_are_never_reused() {
        let mut relations = Relations::default();
        let before = insert(&mut relations, "s", "t", None);
        let kept = insert(&mut relations, "other", "t", None);
        relations.doubt("s", &HashSet::new());
        let after = insert(&mut relations, "s", "t", None);
        assert!(before.number != after.number && kept.number != after.number);
    }

    #[test]
    fn tables_are_doubted_that_may_have_another_root_now() {
        let tables = [
            ("s", "t", None),
            ("s", "u", None),
            ("s", "leaf", Some(("s", "root"))),
            ("other", "t", None),
            ("other", "leaf_of_s", Some(("s", "root"))),
            ("other", "leaf_of_moved", Some(("old", "moved"))),
        ];
        for (touched, expected) in [
            // An entry of an earlier release.
            (&[][..], &["s.t", "s.u", "s.leaf", "other.leaf_of_s"][..]),
            (&["t"], &["s.t", "s.leaf", "other.leaf_of_s"]),
            // A root that has come from another schema, or a renamed one.
            (&["moved"], &["s.leaf", "other.leaf_of_s", "other.leaf_of_moved"]),
        ] {
            let mut relations = Relations::default();
            for (schema, table, root) in tables {
                insert(&mut relations, schema, table, root);
            }
            relations.doubt("s", &touched.iter().map(|&name| name.to_owned()).collect());
            let doubted = tables.iter().filter(|(schema, table, _)| {
                with_names(schema, table, |schema, table| {
                    relations.get(schema, table, None).is_none()
                })
            });
            let doubted: Vec<String> = doubted
                .map(|(schema, table, _)| format!("{schema}.{table}"))
                .collect();
            assert_eq!(doubted, expected, "{touched:?}");
        }
    }

    #[test]
    fn a_partition_that_was_dropped_keeps_the_root_it_had() {
        let mut relations = Relations::default();
        let before = insert(&mut relations, "s", "leaf", Some(("s", "root")));
        relations.doubt("s", &HashSet::new());
        with_names("s", "leaf", |schema, table| {
            let after = relations.insert(schema, table, answer(PartitionRoot::Missing), None);
            assert_eq!((&after.name.root, after.key), (&before.name.root, before.key));
        });
        with_names("s", "never_seen", |schema, table| {
            assert_eq!(
                relations
                    .insert(schema, table, answer(PartitionRoot::Missing), None)
                    .name
                    .root,
                None
            );
        });
    }

    #[test]
    fn our_own_tables_are_told_apart() {
        let mut relations = Relations::default();
        let mut kind = |schema, table| insert(&mut relations, schema, table, None).kind;
        assert_eq!(kind("pgstream", "schema_log"), Kind::SchemaLog);
        assert_eq!(kind("pgstream", "schema_log_tables"), Kind::SchemaLogTables);
        assert_eq!(kind("pgstream", "webhook_subscriptions"), Kind::Own);
        assert_eq!(kind("public", "schema_log"), Kind::User);
    }

    #[test]
    fn prefixes_are_remembered_within_bounds_and_forgetting_them_forgets_no_table() {
        let mut relations = Relations::default();
        let table = insert(&mut relations, "s", "t", None);
        let mut prefix = |text: &str| {
            let json = format!(r#"{{"action":"M","prefix":"{text}"}}"#);
            let prefix = wal2json::message_prefix(json.as_bytes()).unwrap().unwrap();
            relations.of_prefix(prefix)
        };
        let orders = prefix("orders");
        assert_eq!(
            (orders.kind, prefix("orders").number),
            (Kind::Prefix, orders.number)
        );
        let long = "x".repeat(MAX_PREFIX_LEN + 1);
        let first = prefix(&long);
        let second = prefix(&long);
        assert!(first.number != second.number && first.key == second.key);
        for number in 0..=MAX_PREFIXES {
            prefix(&number.to_string());
        }
        assert_eq!(prefix("orders").key, orders.key);
        assert!(relations.prefixes.len() <= MAX_PREFIXES);
        let kept = with_names("s", "t", |schema, table| {
            relations.get(schema, table, None).map(|known| known.number)
        });
        assert_eq!(kept, Some(table.number));
    }
}
