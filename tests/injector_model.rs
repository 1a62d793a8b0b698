//! Suite `injector_model`: whatever several sessions do at once, and however often the program is killed, each event's
//! metadata is what was true of its table for that change.
//!
//! Rows hold the ids of their own columns, and a second slot is read for the order in which everything was committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use nix::sys::signal::Signal;
use pgstream::config::keys;
use serde_json::{Value, json};

use crate::support::program::{Program, command};
use crate::support::receiver::Request;
use crate::support::sessions;
use crate::support::world::{DEADLINE, Sql, World, receiver};

/// How many sessions there are.
const SESSIONS: usize = 3;
/// How many transactions each of them tries.
const TRANSACTIONS: usize = 150;
/// How often the program is killed meanwhile.
const KILLS: usize = 4;

/// The changes of the users' tables in the order of their commits, by LSN, each with the newest entry of its schema. A row
/// that was made with its table has that table's first entry, which comes after it.
fn history(sql: &mut Sql) -> HashMap<String, Option<String>> {
    let records: Vec<String> = sql.values(
        "SELECT data FROM pg_logical_slot_get_changes('model', NULL, NULL, 'format-version', '2', 'include-lsn', 'on',
             'include-transaction', 'off')",
    );
    let mut newest: HashMap<String, String> = HashMap::new();
    let mut tables: HashSet<String> = HashSet::new();
    let mut made = 0;
    let mut waiting: HashMap<String, Vec<String>> = HashMap::new();
    let mut expected = HashMap::new();
    for record in records {
        let record: Value = serde_json::from_str(&record).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let schema = text(&record["schema"]);
        if schema == "pgstream" && record["table"] == "schema_log" && record["action"] == "I" {
            let column = |index: usize| text(&record["columns"][index]["value"]);
            newest.insert(column(2), column(0));
        } else if schema == "pgstream" && record["table"] == "schema_log_tables" && record["action"] == "I" {
            let column = |index: usize| text(&record["columns"][index]["value"]);
            for lsn in waiting.remove(&column(1)).unwrap_or_default() {
                expected.insert(lsn, Some(column(0)));
            }
            tables.insert(column(1));
        } else if let Some(table) = made_with(&record).filter(|table| !tables.contains(table)) {
            waiting.entry(table).or_default().push(text(&record["lsn"]));
            made += 1;
        } else if schema.starts_with('s') {
            expected.insert(text(&record["lsn"]), newest.get(&schema).cloned());
        }
    }
    assert!(waiting.is_empty(), "no entry of {waiting:?}");
    // Of 80 runs each had 6 to 26 such tables: no more than one is needed for the model to be about them.
    assert!(made > 0, "no row was made with its table");
    expected
}

/// The id of the table that an inserted row says it is of.
fn made_with(record: &Value) -> Option<String> {
    let columns = record["columns"].as_array().filter(|_| record["action"] == "I")?;
    let own = columns.iter().find(|column| column["type"] == "text")?;
    let (table, _) = own["value"].as_str()?.rsplit_once('-')?;
    Some(table.to_owned())
}

/// Compares the metadata of an event with what its row says.
fn assert_is_true(change: &Value, expected: &HashMap<String, Option<String>>) {
    let metadata = &change["metadata"];
    let table = metadata["table_pgstream_id"].as_str().unwrap();
    assert!(!table.is_empty(), "an unknown table: {change}");
    for list in ["columns", "identity"] {
        for column in change[list].as_array().into_iter().flatten() {
            let id = column["id"].as_str().unwrap();
            assert!(
                id.starts_with(table) && id.len() > table.len(),
                "{column} of {change}"
            );
            if column["type"] == "text" && !column["value"].is_null() {
                assert_eq!(column["id"], column["value"], "{change}");
            }
        }
    }
    let columns = change["columns"].as_array().into_iter().flatten();
    for truth in columns.filter(|column| column["name"] == "truth") {
        let key: Value = truth["value"]
            .as_str()
            .map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        assert_eq!(metadata["id_col_pgstream_id"], key, "{change}");
    }
    let schema_id = &expected[change["lsn"].as_str().unwrap()];
    assert_eq!(metadata["schema_id"].as_str(), schema_id.as_deref(), "{change}");
}

fn start(world: &World) -> Program {
    let url = world.url();
    world.start(&[(keys::INJECTOR_URL.name, &url)])
}

#[test]
fn every_event_says_what_was_true_for_it() {
    every_event_is_true_with("full");
}

#[test]
fn and_so_does_it_where_entries_hold_what_changed() {
    every_event_is_true_with("changed");
}

/// With entries of this form.
fn every_event_is_true_with(schema_log: &str) {
    let mut world = World::new(&[("deadlock_timeout", "100ms")]);
    command(&world.url(), &["init", "--schema-log", schema_log]);
    world
        .sql
        .run("SELECT pg_create_logical_replication_slot('model', 'wal2json')");
    let receiver = receiver();
    let mut program = start(&world);
    for schema in ["s0", "s1"] {
        program.subscribe(&json!({"url": receiver.url("/"), "schema": schema}));
    }
    world.sql.run(include_str!("injector_model.sql"));
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| sessions::write(&world.cluster, "300ms", &done, |own| own < TRANSACTIONS));
        }
        for kill in 1..=KILLS {
            let part = SESSIONS * TRANSACTIONS * kill / (KILLS + 1);
            sessions::wait_until_done(&done, part);
            program.signal(Signal::SIGKILL);
            program.wait();
            program = start(&world);
        }
    });
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());

    let expected = history(&mut world.sql);
    let changes: Vec<Value> = receiver
        .wait_for(|_| true, DEADLINE)
        .iter()
        .map(|request: &Arc<Request>| request.json()["Data"].clone())
        .collect();
    for change in &changes {
        assert_is_true(change, &expected);
    }
    let came: HashSet<&str> = changes
        .iter()
        .filter_map(|change| change["lsn"].as_str())
        .collect();
    let missing: Vec<&String> = expected
        .keys()
        .filter(|lsn| !came.contains(lsn.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?} did not come");
    assert!(
        expected.len() > SESSIONS * TRANSACTIONS / 2,
        "only {} changes",
        expected.len()
    );
    let entries: i64 = world.sql.value("SELECT max(version) FROM pgstream.schema_log");
    assert!(entries > 50, "only {entries} entries");
}
