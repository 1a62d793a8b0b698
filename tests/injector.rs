//! Suite `injector`: metadata is what the schema log said when a change was committed.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;
use pgstream::config::keys;
use pgstream::demo::cluster::Cluster;
use serde_json::{Value, json};

use crate::support::database::{SLOT, cluster};
use crate::support::program::{Program, pgstream};
use crate::support::receiver::{Receiver, Request};
use crate::support::world::{
    DEADLINE, Sql, World, confirmed_reaches, is_lsn, is_timestamp, member, receiver,
};

/// An event with its metadata, as the tutorial prints it. Names in capitals stand for what differs each time.
const UPDATE: &str = r#"{"Data":{"action":"U","timestamp":"TIMESTAMP","lsn":"LSN","schema":"public","table":"tutorial_test","columns":[{"id":"TABLE_ID-1","name":"id","type":"integer","value":1},{"id":"TABLE_ID-2","name":"name","type":"text","value":"a"}],"identity":[{"id":"TABLE_ID-1","name":"id","type":"integer","value":1},{"id":"TABLE_ID-2","name":"name","type":"text","value":"alice"}],"metadata":{"schema_id":"SCHEMA_ID","table_pgstream_id":"TABLE_ID","id_col_pgstream_id":["TABLE_ID-1"],"version_col_pgstream_id":""}}}"#;
/// The same while nothing is known of the table.
const UNKNOWN: &str = r#"{"Data":{"action":"U","timestamp":"TIMESTAMP","lsn":"LSN","schema":"public","table":"tutorial_test","columns":[{"id":"","name":"id","type":"integer","value":1},{"id":"","name":"name","type":"text","value":"a"}],"identity":[{"id":"","name":"id","type":"integer","value":1},{"id":"","name":"name","type":"text","value":"alice"}],"metadata":{"schema_id":null,"table_pgstream_id":"","id_col_pgstream_id":null,"version_col_pgstream_id":""}}}"#;

/// Starts the program with the injector on.
fn start(world: &World) -> Program {
    let url = world.url();
    world.start(&[(keys::INJECTOR_URL.name, &url)])
}

/// A world without tables, its program with the injector on, and a receiver of everything.
fn injecting() -> (World, Program, Receiver) {
    let world = World::new(&[]);
    let receiver = receiver();
    let program = start(&world);
    program.subscribe(&json!({"url": receiver.url("/")}));
    (world, program, receiver)
}

/// The changes that came of a table, in the order in which they came.
fn of_table(requests: &[Arc<Request>], table: &str) -> Vec<Value> {
    let bodies = requests.iter().map(|request| request.json()["Data"].clone());
    bodies.filter(|change| change["table"] == table).collect()
}

/// Waits for so many changes of a table.
fn changes(receiver: &Receiver, table: &str, count: usize) -> Vec<Value> {
    receiver.wait_for(|requests| of_table(requests, table).len() >= count, DEADLINE);
    let changes = of_table(&receiver.requests(), table);
    assert_eq!(changes.len(), count, "{changes:#?}");
    changes
}

/// The id of a table by its name now.
fn table_id(sql: &mut Sql, table: &str) -> String {
    sql.value(&format!("SELECT pgstream.table_id('{table}'::regclass)"))
}

/// The id of the newest entry of a schema.
fn newest_entry(sql: &mut Sql, schema: &str) -> String {
    sql.value(&format!(
        "SELECT id::text FROM pgstream.schema_log WHERE schema_name = '{schema}' ORDER BY version DESC LIMIT 1"
    ))
}

/// The names and ids of a list of columns.
fn ids(columns: &Value) -> Vec<(String, String)> {
    let columns = columns.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    columns
        .map(|column| (text(&column["name"]), text(&column["id"])))
        .collect()
}

/// What [`ids`] are to be: the columns of a table, by their numbers.
fn numbered(table: &str, columns: &[(&str, u8)]) -> Vec<(String, String)> {
    let columns = columns.iter();
    columns
        .map(|(name, number)| ((*name).to_owned(), format!("{table}-{number}")))
        .collect()
}

/// Compares a body with a text, once its own LSN and timestamp stand in that.
fn assert_is(request: &Request, text: &str) {
    let body = String::from_utf8(request.body.clone()).unwrap();
    let (lsn, timestamp) = (member(&body, "lsn"), member(&body, "timestamp"));
    assert!(is_lsn(lsn) && is_timestamp(timestamp), "{body}");
    assert_eq!(body, text.replace("TIMESTAMP", timestamp).replace("LSN", lsn));
}

/// The tutorial up to its section about metadata: a table with a row, all of it read without the injector.
fn tutorial() -> (World, Receiver) {
    let mut world = World::new(&[]);
    let receiver = receiver();
    let program = world.start(&[]);
    program.subscribe(&json!({"url": receiver.url("/"), "event_types": ["I", "U", "D"]}));
    world.sql.run(
        "CREATE TABLE test(id SERIAL PRIMARY KEY, name TEXT);
         INSERT INTO test(name) VALUES('alice');
         ALTER TABLE test REPLICA IDENTITY FULL",
    );
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    (world, receiver)
}

/// The update of the tutorial, and the request about it.
fn update(world: &mut World, receiver: &Receiver) -> Arc<Request> {
    let before = receiver.requests().len();
    world.sql.run(
        "UPDATE tutorial_test SET name = 'alice' WHERE id = 1;
         UPDATE tutorial_test SET name = 'a' WHERE id = 1",
    );
    let last = |requests: &[Arc<Request>]| {
        let mut updates = requests[before..].iter().filter(|request| {
            request.json()["Data"]["columns"][1]["value"] == "a" && request.json()["Data"]["action"] == "U"
        });
        updates.next_back().cloned()
    };
    receiver.wait_for(|requests| last(requests).is_some(), DEADLINE);
    last(&receiver.requests()).unwrap()
}

/// The text of an event as it has to be now.
fn filled_in(sql: &mut Sql) -> String {
    let (table, schema) = (table_id(sql, "tutorial_test"), newest_entry(sql, "public"));
    UPDATE.replace("TABLE_ID", &table).replace("SCHEMA_ID", &schema)
}

#[test]
fn metadata_is_populated_as_the_tutorial_shows() {
    let (mut world, receiver) = tutorial();
    world.sql.run("ALTER TABLE test RENAME TO tutorial_test");
    let program = start(&world);
    let request = update(&mut world, &receiver);
    let expected = filled_in(&mut world.sql);
    assert_is(&request, &expected);
    world.sql.wait_until_delivered();
    // The event of the entry itself has none.
    let entries = of_table(&receiver.requests(), "schema_log");
    assert_eq!(entries.last().unwrap()["metadata"]["table_pgstream_id"], "");
    let acked: Vec<bool> = world
        .sql
        .values("SELECT acked FROM pgstream.schema_log ORDER BY version");
    assert_eq!(acked, [false, false, true], "older ones stay as they are");
    assert!(program.terminate().0.success());
}

#[test]
fn metadata_that_is_not_populated_is_after_the_change_that_the_tutorial_advises() {
    let (mut world, receiver) = tutorial();
    // The change is read without the injector, so nothing is acknowledged.
    let program = world.start(&[]);
    world.sql.run("ALTER TABLE test RENAME TO tutorial_test");
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());

    let mut program = start(&world);
    assert_is(&update(&mut world, &receiver), UNKNOWN);
    let warning = program.wait_for_log("the warning", |line| {
        line["table"] == "public.tutorial_test" && line["level"] == "warn"
    });
    assert!(
        warning["msg"].as_str().unwrap().contains("refresh_schema"),
        "{warning}"
    );
    world
        .sql
        .run("ALTER TABLE tutorial_test RENAME TO test; ALTER TABLE test RENAME TO tutorial_test");
    let request = update(&mut world, &receiver);
    let expected = filled_in(&mut world.sql);
    assert_is(&request, &expected);
    let (status, log) = program.terminate();
    assert!(status.success());
    let warnings = log
        .iter()
        .filter(|line| line["table"] == "public.tutorial_test" && line["level"] == "warn");
    assert_eq!(warnings.count(), 1, "once a table, for two events");
}

#[test]
fn rows_are_identified_by_the_key_in_column_order_or_by_a_unique_column_or_not_at_all() {
    let (mut world, program, receiver) = injecting();
    world.sql.run(
        "CREATE TABLE composite (z int, b text, a int, PRIMARY KEY (a, z));
         CREATE TABLE singular (z int UNIQUE NOT NULL, b int UNIQUE NOT NULL, a int UNIQUE);
         CREATE TABLE keyless (a int, b text);
         INSERT INTO composite VALUES (1, 'x', 2);
         INSERT INTO singular VALUES (1, 2, 3);
         INSERT INTO keyless VALUES (1, 'x');
         DELETE FROM composite;
         TRUNCATE keyless",
    );
    world.sql.wait_until_delivered();
    let schema = newest_entry(&mut world.sql, "public");
    for (table, key, columns) in [
        ("composite", Some(vec![1, 3]), ["z", "b", "a"].as_slice()),
        ("singular", Some(vec![2]), &["z", "b", "a"]),
        ("keyless", None, &["a", "b"]),
    ] {
        let id = table_id(&mut world.sql, table);
        let key = key.map(|key| {
            key.iter()
                .map(|number| format!("{id}-{number}"))
                .collect::<Vec<_>>()
        });
        let came = of_table(&receiver.requests(), table);
        for change in &came {
            let metadata = json!({"schema_id": schema, "table_pgstream_id": id, "id_col_pgstream_id": key,
                "version_col_pgstream_id": ""});
            assert_eq!(change["metadata"], metadata, "{change}");
        }
        let columns: Vec<(&str, u8)> = columns.iter().copied().zip(1..).collect();
        assert_eq!(ids(&came[0]["columns"]), numbered(&id, &columns));
        if table == "composite" {
            assert_eq!(ids(&came[1]["identity"]), numbered(&id, &[("z", 1), ("a", 3)]));
        }
        assert_eq!(came.len(), if table == "singular" { 1 } else { 2 });
    }
    assert!(program.terminate().0.success());
}

#[test]
fn what_an_update_did_not_touch_is_filled_in_or_named() {
    let (mut world, program, receiver) = injecting();
    world.sql.run(
        "CREATE TABLE docs (id int PRIMARY KEY, big text, n int, made text GENERATED ALWAYS AS (big || 'x') STORED);
         ALTER TABLE docs ALTER big SET STORAGE EXTERNAL, ALTER made SET STORAGE EXTERNAL;
         INSERT INTO docs VALUES (1, repeat('b', 5000), 1);
         UPDATE docs SET n = 2;
         ALTER TABLE docs REPLICA IDENTITY FULL;
         UPDATE docs SET n = 3;
         UPDATE docs SET big = 'small'",
    );
    let changes = changes(&receiver, "docs", 4);
    let id = table_id(&mut world.sql, "docs");
    let unchanged = |change: &Value| change["metadata"].get("unchanged_columns").cloned();
    let all = numbered(&id, &[("id", 1), ("big", 2), ("n", 3), ("made", 4)]);
    assert_eq!(ids(&changes[0]["columns"]), all);
    assert_eq!(unchanged(&changes[0]), None);
    assert_eq!(ids(&changes[1]["columns"]), numbered(&id, &[("id", 1), ("n", 3)]));
    assert_eq!(unchanged(&changes[1]), Some(json!(["big", "made"])));
    assert_eq!(ids(&changes[2]["columns"]), all);
    assert_eq!(changes[2]["columns"][1]["value"], "b".repeat(5000));
    assert_eq!(
        changes[2]["columns"][3]["value"],
        format!("{}x", "b".repeat(5000))
    );
    assert_eq!(changes[2]["columns"][2]["value"], 3);
    assert_eq!(unchanged(&changes[2]), None);
    assert_eq!(changes[3]["columns"][1]["value"], "small");
    assert_eq!(unchanged(&changes[3]), None);
    assert!(program.terminate().0.success());
}

#[test]
fn a_change_is_described_as_its_table_was_at_that_time() {
    let (mut world, program, receiver) = injecting();
    // Only the changes of one table are received: entries hold whether anybody receives them or not.
    program.unsubscribe(&json!({"url": receiver.url("/")}));
    program.subscribe(&json!({"url": receiver.url("/"), "table": "t"}));
    world.sql.run(
        "BEGIN;
         CREATE TABLE t (a int PRIMARY KEY, b int);
         INSERT INTO t VALUES (1, 1);
         ALTER TABLE t RENAME b TO c;
         INSERT INTO t VALUES (2, 2);
         ALTER TABLE t RENAME TO old_t;
         CREATE TABLE t (x int PRIMARY KEY);
         INSERT INTO t VALUES (3);
         COMMIT;
         ALTER TABLE t ADD c int DEFAULT 3, DROP x, ADD PRIMARY KEY (c);
         INSERT INTO t VALUES (4)",
    );
    let mut came = changes(&receiver, "t", 4);
    came.sort_by_key(|change| change["columns"][0]["value"].as_i64());
    let (old, new) = (table_id(&mut world.sql, "old_t"), table_id(&mut world.sql, "t"));
    for (change, expected) in came.iter().zip([
        numbered(&old, &[("a", 1), ("b", 2)]),
        numbered(&old, &[("a", 1), ("c", 2)]),
        numbered(&new, &[("x", 1)]),
        numbered(&new, &[("c", 2)]),
    ]) {
        assert_eq!(ids(&change["columns"]), expected);
        assert_eq!(change["metadata"]["id_col_pgstream_id"], json!([expected[0].1]));
    }
    let entries: Vec<String> = world
        .sql
        .values("SELECT id::text FROM pgstream.schema_log ORDER BY version");
    let schema_ids: Vec<&str> = came
        .iter()
        .map(|change| change["metadata"]["schema_id"].as_str().unwrap())
        .collect();
    let position = |id: &str| entries.iter().position(|entry| entry == id).unwrap();
    assert!(
        schema_ids.is_sorted_by_key(|id| position(id)),
        "{schema_ids:?} of {entries:?}"
    );
    assert_eq!(schema_ids[3], entries.last().unwrap());
    assert!(program.terminate().0.success());
}

#[test]
fn rows_that_make_their_table_are_described_by_the_entry_behind_them() {
    let (mut world, _program, receiver) = injecting();
    world.sql.run(
        "CREATE SCHEMA other;
         CREATE TABLE source (i int, t text); INSERT INTO source VALUES (1, 'a'), (2, 'b')",
    );
    world.sql.run("CREATE TABLE copied AS SELECT i, t FROM source");
    world.sql.run("SELECT t, i INTO other.selected FROM source");
    // Several in one command, each entry behind its own rows; and one that changes at once.
    world.sql.run(
        "DO $$ BEGIN
             CREATE TABLE first AS SELECT i FROM source;
             CREATE TABLE second AS SELECT t FROM source;
             ALTER TABLE second ADD COLUMN more int;
             INSERT INTO second VALUES ('c', 3);
         END $$",
    );
    let ids_of = |sql: &mut Sql, table: &str| table_id(sql, table);
    for (table, columns) in [
        ("copied", &[("i", 1), ("t", 2)][..]),
        ("selected", &[("t", 1), ("i", 2)]),
        ("first", &[("i", 1)]),
    ] {
        let name = if table == "selected" {
            "other.selected"
        } else {
            table
        };
        let id = ids_of(&mut world.sql, name);
        for change in changes(&receiver, table, 2) {
            assert_eq!(ids(&change["columns"]), numbered(&id, columns), "{table}");
            assert_eq!(change["metadata"]["table_pgstream_id"], id, "{table}");
        }
    }
    let id = ids_of(&mut world.sql, "second");
    for change in changes(&receiver, "second", 3) {
        let columns: &[(&str, u8)] = match change["columns"].as_array().map(Vec::len) {
            Some(1) => &[("t", 1)],
            _ => &[("t", 1), ("more", 2)],
        };
        assert_eq!(ids(&change["columns"]), numbered(&id, columns));
    }
}

#[test]
fn a_table_that_is_made_with_its_rows_is_not_taken_for_one_that_had_its_name() {
    let (mut world, _program, receiver) = injecting();
    world.sql.run("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let old = table_id(&mut world.sql, "t");
    assert_eq!(
        changes(&receiver, "t", 1)[0]["metadata"]["table_pgstream_id"],
        old
    );
    // In one transaction with what takes the name away, and then in one after it.
    world.sql.run("DROP TABLE t; CREATE TABLE t AS SELECT 2 AS b");
    let dropped_with = table_id(&mut world.sql, "t");
    world.sql.run("ALTER TABLE t RENAME TO u");
    world.sql.run("CREATE TABLE t AS SELECT 3 AS c");
    let renamed_before = table_id(&mut world.sql, "t");
    let all = changes(&receiver, "t", 3);
    for (value, id, column) in [(2, &dropped_with, "b"), (3, &renamed_before, "c")] {
        let change = all
            .iter()
            .find(|change| change["columns"][0]["value"] == value)
            .unwrap();
        assert_eq!(ids(&change["columns"]), numbered(id, &[(column, 1)]));
        assert_ne!(change["metadata"]["schema_id"], Value::Null);
    }
}

#[test]
fn a_name_that_is_made_twice_in_a_transaction_stands_for_two_tables() {
    let (mut world, _program, receiver) = injecting();
    world.sql.run(
        "BEGIN;
         CREATE TABLE t AS SELECT 1 AS a;
         ALTER TABLE t RENAME TO first;
         CREATE TABLE t AS SELECT 2 AS a;
         DROP TABLE t;
         CREATE TABLE t AS SELECT 3 AS a;
         COMMIT",
    );
    let all = changes(&receiver, "t", 3);
    let id_of = |value: i32| {
        let change = all
            .iter()
            .find(|change| change["columns"][0]["value"] == value)
            .unwrap();
        change["metadata"]["table_pgstream_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(id_of(1), table_id(&mut world.sql, "first"));
    assert_eq!(id_of(3), table_id(&mut world.sql, "t"));
    assert!(!id_of(2).is_empty() && id_of(2) != id_of(1) && id_of(2) != id_of(3));
}

#[test]
fn a_row_is_not_described_by_what_its_transaction_alters_later() {
    let mut world = World::new(&[]);
    world
        .sql
        .run("SET pgstream.skip_log = 'TRUE'; CREATE TABLE t (a int, b int); RESET pgstream.skip_log");
    let receiver = receiver();
    let program = start(&world);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "t"}));
    world.sql.run(
        "BEGIN;
         INSERT INTO t VALUES (1, 1);
         ALTER TABLE t DROP a; ALTER TABLE t ADD a int;
         INSERT INTO t VALUES (2, 2);
         COMMIT",
    );
    let id = table_id(&mut world.sql, "t");
    let all = changes(&receiver, "t", 2);
    let of = |value: i32| {
        let change = all
            .iter()
            .find(|change| change["columns"][0]["value"] == value)
            .unwrap();
        ids(&change["columns"])
    };
    let unknown = ["a", "b"].map(|name| (name.to_owned(), String::new()));
    assert_eq!(of(1), unknown);
    assert_eq!(of(2), numbered(&id, &[("b", 2), ("a", 3)]));
    drop(program);
}

/// The injector's role may read the schema log; that of the listener need not.
#[test]
fn the_schema_log_is_read_by_the_role_of_the_injector() {
    let mut world = World::new(&[]);
    world.sql.run("CREATE ROLE listener LOGIN REPLICATION");
    let receiver = receiver();
    let (store, listener) = (world.url(), world.cluster.url_as("listener", "postgres"));
    let program = Program::start(
        &listener,
        SLOT,
        &[(keys::INJECTOR_URL.name, &store), (keys::STORE_URL.name, &store)],
    );
    program.subscribe(&json!({"url": receiver.url("/"), "table": "t"}));
    world.sql.run("CREATE TABLE t AS SELECT 1 AS a");
    let id = table_id(&mut world.sql, "t");
    assert_eq!(
        ids(&changes(&receiver, "t", 1)[0]["columns"]),
        numbered(&id, &[("a", 1)])
    );
    drop(program);
}

#[test]
fn partitions_follow_a_root_that_moves_to_another_schema() {
    let (mut world, program, receiver) = injecting();
    world.sql.run(
        "CREATE SCHEMA archive;
         CREATE TABLE p (a int) PARTITION BY RANGE (a);
         CREATE TABLE leaf PARTITION OF p FOR VALUES FROM (0) TO (9);
         INSERT INTO p VALUES (1)",
    );
    changes(&receiver, "leaf", 1);
    for schema in ["archive", "public"] {
        let url = receiver.url(&format!("/{schema}"));
        program.subscribe(&json!({"url": url, "schema": schema, "table": "p"}));
    }
    world.sql.run("ALTER TABLE p SET SCHEMA archive");
    world.sql.run("INSERT INTO archive.p VALUES (2)");
    let of = |requests: &[Arc<Request>], path: &str| -> Vec<Value> {
        let of_path = requests.iter().filter(|request| request.path == path);
        of_path
            .map(|request| request.json()["Data"]["columns"][0]["value"].clone())
            .collect()
    };
    receiver.wait_for(|requests| of(requests, "/archive") == [2], DEADLINE);
    world.sql.wait_until_delivered();
    assert!(of(&receiver.requests(), "/public").is_empty());
}

#[test]
fn names_may_be_anything() {
    let (mut world, program, receiver) = injecting();
    world.sql.run(
        r#"CREATE SCHEMA "Ä "".""";
           CREATE TABLE "Ä "".""".",\'{}" ("a""\b" int PRIMARY KEY, "é{[,: " text, " " int);
           INSERT INTO "Ä "".""".",\'{}" VALUES (1, 'x', 2)"#,
    );
    let came = changes(&receiver, r",\'{}", 1);
    let id = table_id(&mut world.sql, r#""Ä "".""".",\''{}""#);
    let columns = numbered(&id, &[(r#"a"\b"#, 1), ("é{[,: ", 2), (" ", 3)]);
    assert_eq!(ids(&came[0]["columns"]), columns);
    assert!(program.terminate().0.success());
}

#[test]
fn an_entry_that_cannot_be_read_is_delivered_and_ignored() {
    let (mut world, mut program, receiver) = injecting();
    world.sql.run(
        r#"CREATE TABLE t (a int PRIMARY KEY);
           INSERT INTO pgstream.schema_log (version, schema_name, schema)
           VALUES (nextval('pgstream.schema_log_version'), 'public', '{"tables": [{"name": 7}]}');
           INSERT INTO t VALUES (1)"#,
    );
    let id = table_id(&mut world.sql, "t");
    let came = changes(&receiver, "t", 1);
    assert_eq!(ids(&came[0]["columns"]), numbered(&id, &[("a", 1)]));
    changes(&receiver, "schema_log", 2);
    let entry = newest_entry(&mut world.sql, "public");
    program.wait_for_log("the problem", |line| {
        line["entry"] == entry.as_str() && line["level"] == "error"
    });
    world.sql.wait_until_delivered();
    let (status, log) = program.terminate();
    assert!(status.success());
    let counted = log.iter().find(|line| line["unreadable_entries"] == 1);
    assert!(counted.is_some(), "{log:#?}");
}

#[test]
fn two_sessions_that_create_tables_at_once_do_not_lose_each_others() {
    let (mut world, program, receiver) = injecting();
    let mut other = Sql::open(&world.cluster, "postgres");
    for (round, own_first) in [(1, true), (2, false)] {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        world
            .sql
            .run(&format!("BEGIN; CREATE TABLE {a} (id int PRIMARY KEY)"));
        other.run(&format!("BEGIN; CREATE TABLE {b} (id int PRIMARY KEY, n int)"));
        if own_first {
            world.sql.run("COMMIT");
            other.run("COMMIT");
        } else {
            other.run("COMMIT");
            world.sql.run("COMMIT");
        }
        world.sql.run(&format!(
            "INSERT INTO {a} VALUES (1); INSERT INTO {b} VALUES (1, 1)"
        ));
        for (table, columns) in [(&a, [("id", 1)].as_slice()), (&b, &[("id", 1), ("n", 2)])] {
            let came = changes(&receiver, table, 1);
            let id = table_id(&mut world.sql, table);
            assert_eq!(came[0]["metadata"]["table_pgstream_id"], id);
            assert_eq!(ids(&came[0]["columns"]), numbered(&id, columns));
        }
    }
    drop(other);
    assert!(program.terminate().0.success());
}

#[test]
fn what_was_known_is_known_after_a_restart_and_nothing_else() {
    let (mut world, program, receiver) = injecting();
    world.sql.run(
        "CREATE TABLE t (a int PRIMARY KEY);
         ALTER TABLE t ADD b int;
         CREATE TABLE gone (a int);
         DROP TABLE gone",
    );
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    let program = start(&world);
    world.sql.run("INSERT INTO t VALUES (1, 1)");
    let id = table_id(&mut world.sql, "t");
    let expected = numbered(&id, &[("a", 1), ("b", 2)]);
    assert_eq!(ids(&changes(&receiver, "t", 1)[0]["columns"]), expected);
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());

    // Without the injector nothing is applied, so nothing may be known afterwards.
    let program = world.start(&[]);
    world
        .sql
        .run("ALTER TABLE t RENAME a TO c; INSERT INTO t VALUES (2, 2)");
    let came = changes(&receiver, "t", 2);
    assert_eq!(came[1]["metadata"]["table_pgstream_id"], "");
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.schema_log_applied"),
        0
    );

    let program = start(&world);
    world.sql.run("INSERT INTO t VALUES (3, 3)");
    let came = changes(&receiver, "t", 3);
    assert_eq!(
        came[2]["columns"],
        json!([
            {"id": "", "name": "c", "type": "integer", "value": 3},
            {"id": "", "name": "b", "type": "integer", "value": 3},
        ])
    );
    world
        .sql
        .run("COMMENT ON COLUMN t.b IS 'again'; INSERT INTO t VALUES (4, 4)");
    let came = changes(&receiver, "t", 4);
    assert_eq!(ids(&came[3]["columns"]), numbered(&id, &[("c", 1), ("b", 2)]));
    assert!(program.terminate().0.success());
}

#[test]
fn killed_before_an_entry_is_written_down_it_reads_that_again() {
    let (mut world, mut program, receiver) = injecting();
    world.sql.run("CREATE TABLE t (a int PRIMARY KEY)");
    world.sql.wait_until_delivered();
    let before = world.sql.wal_end();
    // Nobody can write down anything.
    let mut other = Sql::open(&world.cluster, "postgres");
    other.run("BEGIN; LOCK TABLE pgstream.schema_log_applied IN SHARE MODE");
    world
        .sql
        .run("ALTER TABLE t RENAME a TO b; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)");
    let id = table_id(&mut world.sql, "t");
    let came = changes(&receiver, "t", 2);
    assert!(
        came.iter()
            .all(|change| ids(&change["columns"]) == numbered(&id, &[("b", 1)]))
    );
    let after = world.sql.wal_end();
    program.signal(Signal::SIGKILL);
    program.wait();
    other.run("ROLLBACK");
    drop(other);
    assert!(world.sql.value::<bool>(&confirmed_reaches(&before)));
    assert!(
        !world.sql.value::<bool>(&confirmed_reaches(&after)),
        "the entry is not confirmed"
    );

    let program = start(&world);
    let came = changes(&receiver, "t", 4);
    assert!(
        came.iter()
            .all(|change| ids(&change["columns"]) == numbered(&id, &[("b", 1)]))
    );
    world.sql.wait_until_delivered();
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.schema_log WHERE NOT acked"),
        0
    );
    assert!(program.terminate().0.success());
}

#[test]
fn written_down_but_not_confirmed_an_entry_does_not_hold_for_what_came_before_it() {
    let (mut world, mut program, receiver) = injecting();
    world.sql.run("CREATE TABLE t (a int PRIMARY KEY)");
    world.sql.wait_until_delivered();
    // The first change stays undelivered, so nothing from it on is confirmed.
    let slow = Receiver::start(|_| crate::support::receiver::Action::status(503));
    program.subscribe(&json!({"url": slow.url("/"), "table": "t", "event_types": ["I"]}));
    program.unsubscribe(&json!({"url": receiver.url("/")}));
    world
        .sql
        .run("INSERT INTO t VALUES (1); ALTER TABLE t RENAME a TO b");
    world.sql.wait_for(
        "SELECT count(*) = 2 FROM pgstream.schema_log_applied AS a JOIN pgstream.schema_log AS l ON l.id = a.schema_log_id
          WHERE l.acked",
    );
    let requests = slow.wait_for(|requests| !requests.is_empty(), DEADLINE);
    let id = table_id(&mut world.sql, "t");
    let described = numbered(&id, &[("a", 1)]);
    assert_eq!(ids(&requests[0].json()["Data"]["columns"]), described);
    let after = world.sql.wal_end();
    program.signal(Signal::SIGKILL);
    program.wait();
    assert!(
        !world.sql.value::<bool>(&confirmed_reaches(&after)),
        "it is in no backlog"
    );
    let seen = slow.requests().len();
    let program = start(&world);
    let requests = slow.wait_for(|requests| requests.len() > seen, DEADLINE);
    assert_eq!(ids(&requests[seen].json()["Data"]["columns"]), described);
    drop(program);
}

#[test]
fn while_nothing_can_be_written_down_reading_pauses_and_feedback_goes_on() {
    let mut world = World::new(&[("wal_sender_timeout", "2s")]);
    let receiver = receiver();
    let program = start(&world);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "t"}));
    world.sql.run("CREATE TABLE t (a int PRIMARY KEY)");
    world.sql.wait_until_delivered();
    let mut other = Sql::open(&world.cluster, "postgres");
    other.run("BEGIN; LOCK TABLE pgstream.schema_log_applied IN SHARE MODE");
    // More than may wait to be written down.
    world.sql.run(
        "INSERT INTO t VALUES (1);
         DO $$ BEGIN FOR i IN 1..750 LOOP
             ALTER TABLE t RENAME a TO b;
             ALTER TABLE t RENAME b TO a;
         END LOOP; END $$;
         INSERT INTO t VALUES (2)",
    );
    changes(&receiver, "t", 1);
    let until: String = world.sql.value("SELECT (now() + interval '5 seconds')::text");
    world
        .sql
        .wait_for(&format!("SELECT reply_time > '{until}' FROM pg_stat_replication"));
    assert_eq!(of_table(&receiver.requests(), "t").len(), 1, "reading is paused");
    other.run("ROLLBACK");
    drop(other);
    changes(&receiver, "t", 2);
    world.sql.wait_until_delivered();
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.schema_log WHERE NOT acked"),
        0
    );
    assert!(program.terminate().0.success());
}

#[test]
fn superfluous_entries_are_deleted_and_nothing_is_forgotten() {
    let (mut world, program, receiver) = injecting();
    world.sql.run(
        "CREATE TABLE kept (a int PRIMARY KEY);
         CREATE TABLE t (a int PRIMARY KEY);
         ALTER TABLE t ADD b int;
         ALTER TABLE t ADD c int;
         CREATE TABLE gone (a int);
         DROP TABLE gone;
         ALTER TABLE t RENAME c TO d",
    );
    world.sql.wait_until_delivered();
    let ids_before: Vec<String> = world
        .sql
        .values("SELECT id::text FROM pgstream.schema_log ORDER BY version");
    assert_eq!(ids_before.len(), 7);
    assert!(program.terminate().0.success());

    // Never, then as soon as possible.
    let url = world.url();
    let never = world.start(&[
        (keys::INJECTOR_URL.name, &url),
        (keys::SCHEMA_LOG_RETENTION.name, "0"),
    ]);
    assert!(never.terminate().0.success());
    assert_eq!(
        world.sql.value::<i64>("SELECT count(*) FROM pgstream.schema_log"),
        7
    );
    let soon = [
        (keys::INJECTOR_URL.name, url.as_str()),
        (keys::SCHEMA_LOG_RETENTION.name, "1ms"),
    ];
    let program = world.start(&soon);
    world.sql.wait_for("SELECT count(*) = 2 FROM pgstream.schema_log");
    let left: Vec<String> = world
        .sql
        .values("SELECT id::text FROM pgstream.schema_log ORDER BY version");
    assert_eq!(left, [ids_before[0].clone(), ids_before[6].clone()]);
    for table in ["schema_log_applied", "schema_log_tables"] {
        let rows: i64 = world.sql.value(&format!("SELECT count(*) FROM pgstream.{table}"));
        assert_eq!(rows, 2, "{table}");
    }
    assert!(program.terminate().0.success());

    let program = world.start(&soon);
    world
        .sql
        .run("INSERT INTO t VALUES (1, 2, 3); INSERT INTO kept VALUES (1)");
    for (table, columns) in [
        ("t", [("a", 1), ("b", 2), ("d", 3)].as_slice()),
        ("kept", &[("a", 1)]),
    ] {
        let id = table_id(&mut world.sql, table);
        assert_eq!(
            ids(&changes(&receiver, table, 1)[0]["columns"]),
            numbered(&id, columns)
        );
    }
    assert!(program.terminate().0.success());
}

/// What `run` says, which has to fail, with the injector on this URL.
fn refusal(cluster: &Cluster, injector: &str) -> String {
    let output = pgstream(&["run"])
        .env(keys::LISTENER_URL.name, cluster.url("postgres"))
        .env(keys::SLOT_NAME.name, SLOT)
        .env(keys::SERVER_ADDRESS.name, "127.0.0.1:0")
        .env(keys::INJECTOR_URL.name, injector)
        .output()
        .expect("the program starts");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn another_database_is_refused() {
    let mut world = World::new(&[]);
    world.sql.run("CREATE DATABASE other");
    let said = refusal(&world.cluster, &world.cluster.url("other"));
    assert!(
        said.contains("is database \"other\" (OID")
            && said.contains("not the source, database \"postgres\" (OID"),
        "{said}"
    );
    // The same name and OID, in another cluster.
    let elsewhere = cluster(&[]);
    let said = refusal(&world.cluster, &elsewhere.url("postgres"));
    assert!(
        said.contains(keys::INJECTOR_URL.name) && said.contains("not the source"),
        "{said}"
    );
    // The same database by another name of its server.
    let by_name = world.url().replace("127.0.0.1", "localhost");
    assert_ne!(by_name, world.url());
    let program = world.start(&[(keys::INJECTOR_URL.name, &by_name)]);
    assert!(program.terminate().0.success());
}

#[test]
fn a_schema_log_of_an_earlier_release_is_not_used_before_init_has_upgraded_it() {
    let mut world = World::new(&[]);
    world.sql.run(
        "DROP TABLE pgstream.schema_log_applied;
         DELETE FROM pgstream.source_migrations WHERE version = 5",
    );
    let said = refusal(&world.cluster, &world.url());
    assert!(said.contains("pgstream init"), "{said}");
    // Without the injector it does not matter.
    let program = world.start(&[]);
    assert!(program.terminate().0.success());
}

/// Settings with which commits wait for a stand-by that never comes, in sessions that ask for it.
const NO_STANDBY: [(&str, &str); 2] = [
    ("synchronous_standby_names", "nobody"),
    ("synchronous_commit", "local"),
];

/// Has a session commit this and wait for the stand-by: it is in the WAL, and no other session sees it.
fn commit_unseen(world: &mut World, statement: &'static str) -> JoinHandle<()> {
    let mut session = Sql::open(&world.cluster, "postgres");
    session.run("SET synchronous_commit = on");
    let waiting = thread::spawn(move || session.run(statement));
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')";
    world.sql.wait_for(waits);
    waiting
}

/// Nobody waits for a stand-by any more.
fn let_be_seen(world: &mut World, waiting: JoinHandle<()>) {
    world.sql.run("ALTER SYSTEM SET synchronous_standby_names = ''");
    world.sql.run("SELECT pg_reload_conf()");
    waiting.join().unwrap();
}

#[test]
fn an_entry_that_cannot_be_seen_yet_is_acknowledged_as_soon_as_it_can() {
    let mut world = World::new(&NO_STANDBY);
    let program = start(&world);
    let waiting = commit_unseen(&mut world, "CREATE TABLE t (a int PRIMARY KEY)");
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pgstream.schema_log_applied");
    let seen: i64 = world.sql.value("SELECT count(*) FROM pgstream.schema_log");
    assert_eq!(seen, 0, "it is written down before it can be seen");
    // It holds nothing back: where this program is the stand-by, the commit would wait for it for ever.
    let after = world.sql.wal_end();
    world.sql.wait_for(&confirmed_reaches(&after));
    let_be_seen(&mut world, waiting);
    world.sql.wait_for("SELECT acked FROM pgstream.schema_log");
    drop(program);
}

#[test]
fn what_could_not_be_acknowledged_is_by_the_next_start() {
    let mut world = World::new(&NO_STANDBY);
    let mut program = start(&world);
    let waiting = commit_unseen(&mut world, "CREATE TABLE t (a int PRIMARY KEY)");
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pgstream.schema_log_applied");
    let after = world.sql.wal_end();
    world.sql.wait_for(&confirmed_reaches(&after));
    program.signal(Signal::SIGKILL);
    program.wait();
    let_be_seen(&mut world, waiting);
    assert!(!world.sql.value::<bool>("SELECT acked FROM pgstream.schema_log"));
    let program = start(&world);
    world.sql.wait_for("SELECT acked FROM pgstream.schema_log");
    drop(program);
}

/// The program asks again and again whether it can see what a transaction did.
const LOOKS_FOR_TRANSACTION: &str =
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'pgstream'
     AND query LIKE 'SELECT txid_visible_in_snapshot%')";

#[test]
fn rows_that_make_their_table_are_described_although_that_cannot_be_seen_yet() {
    let mut world = World::new(&NO_STANDBY);
    let receiver = receiver();
    let program = start(&world);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "t"}));
    let waiting = commit_unseen(&mut world, "CREATE TABLE t AS SELECT 1 AS a");
    world.sql.wait_for(LOOKS_FOR_TRANSACTION);
    let_be_seen(&mut world, waiting);
    let id = table_id(&mut world.sql, "t");
    assert_eq!(
        ids(&changes(&receiver, "t", 1)[0]["columns"]),
        numbered(&id, &[("a", 1)])
    );
    drop(program);
}

#[test]
fn the_root_of_a_partition_is_known_although_its_creation_cannot_be_seen_yet() {
    let mut world = World::new(&NO_STANDBY);
    world.sql.run("CREATE TABLE root (a int) PARTITION BY RANGE (a)");
    let receiver = receiver();
    let program = world.start(&[]);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "root"}));
    let waiting = commit_unseen(
        &mut world,
        "CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (9); INSERT INTO root VALUES (1)",
    );
    world.sql.wait_for(LOOKS_FOR_TRANSACTION);
    assert!(receiver.requests().is_empty());
    let_be_seen(&mut world, waiting);
    assert_eq!(changes(&receiver, "leaf", 1)[0]["columns"][0]["value"], 1);
    drop(program);
}
