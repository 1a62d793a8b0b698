//! Tests of the known tables: the rule case by case, against a naive model, and on histories of several sessions.

use pgstream_proto::Lsn;
use proptest::prelude::*;

use super::*;
use crate::schema_log::model::{Column, Touched};

/// A table with a column of its own for each version of it.
fn table(id: u8, name: u8, version: u8) -> Table {
    let column = Column {
        id: format!("{id}-{version}"),
        name: format!("c{version}"),
        unique: true,
        nullable: false,
    };
    Table {
        id: id.to_string(),
        name: name.to_string(),
        columns: vec![column],
        primary_key_columns: Vec::new(),
    }
}

fn entry(number: usize, schema: u8, tables: Vec<Table>, touched: &[(u8, bool)]) -> Entry {
    let touched = touched.iter().map(|(id, dropped)| Touched {
        table_id: id.to_string(),
        dropped: *dropped,
    });
    Entry {
        id: format!("e{number}"),
        schema: schema.to_string(),
        commit_lsn: Lsn::new(number as u64),
        tables: Some(tables),
        touched: touched.collect(),
    }
}

/// What is expected of a name.
fn described(schema_id: Option<&str>, table: Option<&Table>) -> Description {
    let known = table.map(Table::known);
    Description::new(schema_id, known.as_ref())
}

#[test]
fn a_stale_view_of_another_table_changes_nothing() {
    let mut known = KnownTables::default();
    known.apply(&entry(1, 1, vec![table(1, 1, 1)], &[(1, false)]));
    known.apply(&entry(2, 1, vec![table(2, 2, 1)], &[(2, false)]));
    assert_eq!(
        known.describe("1", "1"),
        described(Some("e2"), Some(&table(1, 1, 1)))
    );
    known.apply(&entry(3, 1, vec![table(1, 1, 9), table(2, 2, 2)], &[(2, false)]));
    assert_eq!(
        known.describe("1", "1"),
        described(Some("e3"), Some(&table(1, 1, 1)))
    );
    assert_eq!(
        known.describe("1", "2"),
        described(Some("e3"), Some(&table(2, 2, 2)))
    );
}

#[test]
fn a_touched_table_leaves_its_old_place() {
    let mut known = KnownTables::default();
    known.apply(&entry(1, 1, vec![table(1, 1, 1)], &[(1, false)]));
    known.apply(&entry(2, 1, vec![table(1, 2, 1)], &[(1, false)]));
    assert_eq!(known.describe("1", "1"), described(Some("e2"), None));
    known.apply(&entry(3, 2, vec![table(1, 2, 1)], &[(1, false)]));
    assert_eq!(known.describe("1", "2"), described(Some("e2"), None));
    assert_eq!(
        known.describe("2", "2"),
        described(Some("e3"), Some(&table(1, 2, 1)))
    );
    known.apply(&entry(4, 2, vec![], &[(1, true)]));
    assert_eq!(known.describe("2", "2"), described(Some("e4"), None));
    assert!(known.is_empty());
}

#[test]
fn names_may_be_exchanged_within_an_entry() {
    let mut known = KnownTables::default();
    known.apply(&entry(
        1,
        1,
        vec![table(1, 1, 1), table(2, 2, 1)],
        &[(1, false), (2, false)],
    ));
    known.apply(&entry(
        2,
        1,
        vec![table(1, 2, 1), table(2, 1, 1)],
        &[(1, false), (2, false)],
    ));
    assert_eq!(
        known.describe("1", "2"),
        described(Some("e2"), Some(&table(1, 2, 1)))
    );
    assert_eq!(
        known.describe("1", "1"),
        described(Some("e2"), Some(&table(2, 1, 1)))
    );
}

#[test]
fn an_entry_of_an_earlier_release_is_applied_whole() {
    let mut known = KnownTables::default();
    known.apply(&entry(1, 1, vec![table(1, 1, 1), table(2, 2, 1)], &[(1, false)]));
    known.apply(&entry(2, 1, vec![table(1, 1, 2)], &[]));
    assert_eq!(
        known.describe("1", "1"),
        described(Some("e2"), Some(&table(1, 1, 2)))
    );
    assert_eq!(
        known.describe("1", "2"),
        described(Some("e2"), Some(&table(2, 2, 1)))
    );
}

#[test]
fn a_table_that_was_dropped_does_not_come_back_by_a_stale_view() {
    let mut known = KnownTables::default();
    known.dropped("3");
    known.apply(&entry(1, 1, vec![table(1, 1, 1)], &[(1, false)]));
    known.apply(&entry(2, 1, vec![], &[(1, true)]));
    let stale = vec![table(1, 1, 1), table(2, 2, 1), table(3, 3, 1)];
    known.apply(&entry(3, 1, stale, &[(2, false)]));
    for name in ["1", "3"] {
        assert_eq!(known.describe("1", name), described(Some("e3"), None));
    }
}

#[test]
fn what_an_unreadable_entry_touched_is_not_known_any_more() {
    let mut known = KnownTables::default();
    known.apply(&entry(1, 1, vec![table(1, 1, 1), table(2, 2, 1)], &[(1, false)]));
    let unreadable = Entry {
        tables: None,
        ..entry(2, 1, vec![], &[(1, false)])
    };
    known.apply(&unreadable);
    assert_eq!(known.describe("1", "1"), described(Some("e1"), None));
    assert_eq!(
        known.describe("1", "2"),
        described(Some("e1"), Some(&table(2, 2, 1)))
    );
}

#[test]
fn entries_become_superfluous_when_everything_in_them_is_said_later() {
    let mut known = KnownTables::default();
    let create = |number, id| entry(number, 1, vec![table(id, id, 1)], &[(id, false)]);
    assert!(known.apply(&create(1, 1)).is_empty());
    assert_eq!(known.apply(&create(2, 1)), ["e1"]);
    assert!(known.apply(&create(3, 3)).is_empty());
    // Says that table 3 is gone, which nobody claims any more; but it is the newest of the schema.
    assert_eq!(known.apply(&entry(4, 1, vec![], &[(3, true)])), ["e3"]);
    assert_eq!(known.apply(&create(5, 5)), ["e4"]);
    assert!(known.apply(&create(6, 6)).is_empty());
    // Entry 6 came when table 5 was known, and might have it.
    assert_eq!(known.apply(&entry(7, 1, vec![], &[(5, true)])), ["e5"]);
    assert!(known.apply(&create(8, 8)).is_empty());
    let mut superseded = known.apply(&create(9, 6));
    superseded.sort();
    assert_eq!(superseded, ["e6", "e7"]);
}

/// The rule in the plainest words.
#[derive(Default)]
struct Model {
    dropped: Vec<String>,
    tables: Vec<(String, Table)>,
    newest: Vec<(String, String)>,
}

impl Model {
    fn apply(&mut self, entry: &Entry) {
        let tables = entry.tables.clone().unwrap();
        self.newest.retain(|(schema, _)| *schema != entry.schema);
        self.newest.push((entry.schema.clone(), entry.id.clone()));
        let dropped = entry.touched.iter().filter(|touched| touched.dropped);
        self.dropped
            .extend(dropped.map(|touched| touched.table_id.clone()));
        let is_touched = |table: &Table| {
            entry.touched.is_empty() || entry.touched.iter().any(|t| t.table_id == table.id && !t.dropped)
        };
        let is_dropped = |table: &Table| entry.touched.iter().any(|t| t.table_id == table.id && t.dropped);
        self.tables.retain(|(_, known)| {
            let named = entry.touched.iter().any(|touched| touched.table_id == known.id);
            let whole = entry.touched.is_empty() && tables.iter().any(|table| table.id == known.id);
            !named && !whole
        });
        for table in tables.iter().filter(|table| is_touched(table)) {
            self.tables.retain(|(schema, known)| {
                known.id != table.id && (*schema != entry.schema || known.name != table.name)
            });
            self.tables.push((entry.schema.clone(), table.clone()));
        }
        for table in tables
            .iter()
            .filter(|table| !is_touched(table) && !is_dropped(table))
        {
            let stands = |(schema, known): &(String, Table)| {
                known.id == table.id || (*schema == entry.schema && known.name == table.name)
            };
            if !self.tables.iter().any(stands) && !self.dropped.contains(&table.id) {
                self.tables.push((entry.schema.clone(), table.clone()));
            }
        }
    }

    fn describe(&self, schema: &str, name: &str) -> Description {
        let newest = self.newest.iter().find(|(of, _)| of == schema);
        let found = self
            .tables
            .iter()
            .find(|(of, table)| of == schema && table.name == name);
        described(newest.map(|(_, id)| id.as_str()), found.map(|(_, table)| table))
    }
}

/// Any entry at all, whether a server could write it or not.
fn any_entry() -> impl Strategy<Value = (u8, Vec<Table>, Vec<(u8, bool)>)> {
    let table = (0..5_u8, 0..5_u8, 0..3_u8).prop_map(|(id, name, version)| table(id, name, version));
    let touched = proptest::collection::btree_map(0..5_u8, any::<bool>(), 0..3)
        .prop_map(|touched| touched.into_iter().collect());
    (0..3_u8, proptest::collection::vec(table, 0..4), touched)
}

/// What a session does to a catalog, as numbers that choose among what is possible.
#[derive(Debug, Clone)]
struct Command {
    what: u8,
    which: usize,
    schema: u8,
    name: u8,
    /// How many commits its view of other tables is behind.
    behind: usize,
    /// Whether the entry has all tables of the schema.
    full: bool,
}

fn command() -> impl Strategy<Value = Command> {
    (
        0..5_u8,
        any::<usize>(),
        0..2_u8,
        0..6_u8,
        0..4_usize,
        any::<bool>(),
    )
        .prop_map(|(what, which, schema, name, behind, full)| Command {
            what,
            which,
            schema,
            name,
            behind,
            full,
        })
}

/// Tables by id: where each is, and what it looks like.
type Catalog = std::collections::BTreeMap<u8, (u8, Table)>;

/// The history that these commands make: after each of them the catalog, and the entry that was written.
fn history(commands: &[Command]) -> Vec<(Catalog, Entry)> {
    let mut catalogs = vec![Catalog::new()];
    let mut entries = Vec::new();
    for (number, command) in commands.iter().enumerate() {
        let mut catalog = catalogs.last().unwrap().clone();
        let chosen = catalog.keys().nth(command.which % catalog.len().max(1)).copied();
        let (id, schema, dropped) = match (command.what, chosen) {
            (0, _) | (_, None) => (u8::try_from(number).unwrap(), command.schema, false),
            (1, Some(id)) => (id, catalog[&id].0, true),
            (2, Some(id)) => (id, command.schema, false),
            (_, Some(id)) => (id, catalog[&id].0, false),
        };
        let version = u8::try_from(number % 100).unwrap();
        let name = match (command.what, catalog.get(&id)) {
            (3.., Some((_, table))) => table.name.parse().unwrap(),
            _ => command.name,
        };
        let name = name.to_string();
        let is_taken =
            |(other, (of, table)): (&u8, &(u8, Table))| *other != id && *of == schema && table.name == name;
        if !dropped && catalog.iter().any(is_taken) {
            continue;
        }
        let mut view = catalogs[catalogs.len().saturating_sub(1 + command.behind)].clone();
        for catalog in [&mut catalog, &mut view] {
            if dropped {
                catalog.remove(&id);
            } else {
                catalog.insert(id, (schema, table(id, name.parse().unwrap(), version)));
            }
        }
        let tables = view
            .values()
            .filter(|(of, table)| *of == schema && (command.full || table.id == id.to_string()))
            .map(|(_, table)| table.clone())
            .collect();
        entries.push(entry(number, schema, tables, &[(id, dropped)]));
        catalogs.push(catalog);
    }
    catalogs.into_iter().skip(1).zip(entries).collect()
}

proptest! {
    #[test]
    fn agrees_with_the_naive_model(entries in proptest::collection::vec(any_entry(), 0..40)) {
        let mut known = KnownTables::default();
        let mut model = Model::default();
        for (number, (schema, tables, touched)) in entries.into_iter().enumerate() {
            let entry = entry(number, schema, tables, &touched);
            known.apply(&entry);
            model.apply(&entry);
            for schema in ["0", "1", "2"] {
                for name in ["0", "1", "2", "3", "4"] {
                    prop_assert_eq!(known.describe(schema, name), model.describe(schema, name));
                }
            }
        }
    }

    #[test]
    fn every_table_is_known_as_it_is_also_after_restarts(
        commands in proptest::collection::vec(command(), 0..60),
        restarts in proptest::collection::vec(proptest::option::weighted(0.3, 0..5_usize), 60)
    ) {
        let mut known = KnownTables::default();
        let mut log: Vec<Entry> = Vec::new();
        // Which of them are superfluous, and from where on.
        let mut superseded: HashMap<String, Lsn> = HashMap::new();
        let mut dropped: Vec<(String, Lsn)> = Vec::new();
        for ((catalog, entry), restart) in history(&commands).into_iter().zip(restarts) {
            superseded.extend(known.apply(&entry).into_iter().map(|id| (id, entry.commit_lsn)));
            let gone = entry.touched.iter().filter(|touched| touched.dropped);
            dropped.extend(gone.map(|touched| (touched.table_id.clone(), entry.commit_lsn)));
            log.push(entry);
            if let Some(back) = restart {
                // So many entries are written down, and not confirmed.
                let start = log[log.len().saturating_sub(1 + back)].commit_lsn;
                known = KnownTables::default();
                dropped
                    .iter()
                    .filter(|(_, at)| *at < start)
                    .for_each(|(id, _)| known.dropped(id));
                for entry in &log {
                    let is_base = entry.commit_lsn < start;
                    if !is_base || superseded.get(&entry.id).is_none_or(|at| *at >= start) {
                        let gone = known.apply(entry).into_iter().map(|id| (id, entry.commit_lsn));
                        superseded.extend(gone);
                    }
                }
                // What nobody can start without any more is deleted.
                log.retain(|entry| superseded.get(&entry.id).is_none_or(|at| *at >= start));
            }
            for (schema, table) in catalog.values() {
                let schema = schema.to_string();
                let newest = log.iter().rev().find(|entry| entry.schema == schema);
                let expected = described(newest.map(|entry| entry.id.as_str()), Some(table));
                prop_assert_eq!(&known.describe(&schema, &table.name), &expected);
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_by_what_there_is(commands in proptest::collection::vec(command(), 0..60)) {
        // Seen from a single session nothing is stale, so nothing but the tables and the schemas need entries.
        let commands: Vec<Command> =
            commands.into_iter().map(|command| Command { behind: 0, full: true, ..command }).collect();
        let mut known = KnownTables::default();
        let mut kept = 0;
        for (catalog, entry) in history(&commands) {
            kept += 1;
            kept -= known.apply(&entry).len();
            prop_assert_eq!(known.len(), catalog.len());
            let gone = known.needed.gone;
            prop_assert!(kept <= catalog.len() + gone + 2, // two schemas
                 "{} for {} and {}", kept, catalog.len(), gone);
        }
    }
}
