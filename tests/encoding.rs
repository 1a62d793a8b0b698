//! Suite `encoding`: databases whose text is not UTF-8. What the plugin sends of them is no JSON, or worse, JSON that says
//! something else; so they are refused wherever they could be streamed.

use serde_json::json;

use crate::support::database::SLOT;
use crate::support::look::look;
use crate::support::program::{Program, pgstream};
use crate::support::world::{Change, Sql, World, receiver};

/// A database `other` of this encoding, with a table.
fn database(world: &mut World, encoding: &str) -> Sql {
    world.sql.run(&format!(
        "CREATE DATABASE other ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ));
    let mut sql = Sql::open(&world.cluster, "other");
    sql.run("CREATE TABLE t (id int PRIMARY KEY, a text)");
    sql
}

/// What the server sends of the changes that a slot has, to a client that asks for UTF-8.
fn sent(world: &World) -> Vec<u8> {
    let output = world
        .cluster
        .command("pg_recvlogical")
        .env("PGCLIENTENCODING", "UTF8")
        .args([
            "--dbname",
            &world.cluster.url("other"),
            "--slot",
            SLOT,
            "--start",
            "--file",
            "-",
        ])
        .args(["--option", "format-version=2", "--endpos"])
        .arg({
            let mut sql = Sql::open(&world.cluster, "other");
            sql.wal_end()
        })
        .output()
        .expect("pg_recvlogical runs");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn what_the_plugin_sends_is_not_converted() {
    let mut world = World::uninitialised(&[]);
    let mut sql = database(&mut world, "LATIN1");
    sql.run(&format!(
        "SELECT pg_create_logical_replication_slot('{SLOT}', 'wal2json')"
    ));
    sql.run("INSERT INTO t VALUES (1, U&'\\00e9')");
    // In LATIN1 these are two letters. Their bytes are one other letter of UTF-8: it could not be told apart.
    sql.run("INSERT INTO t VALUES (2, U&'\\00c3\\00a9')");
    let sent = sent(&world);
    let has = |bytes: &[u8]| sent.windows(bytes.len()).any(|window| window == bytes);
    assert!(
        has(b"\"value\":\"\xe9\"") && has(b"\"value\":\"\xc3\xa9\""),
        "{}",
        sent.escape_ascii()
    );
    assert!(!has("Ã©".as_bytes()), "{}", sent.escape_ascii());
}

#[test]
fn a_database_of_another_encoding_is_refused_everywhere() {
    let mut world = World::uninitialised(&[]);
    let mut sql = database(&mut world, "LATIN1");
    let url = world.cluster.url("other");
    let told = "the encoding of database other is LATIN1";
    let remedy = "ENCODING 'UTF8' TEMPLATE template0";
    let found = look("check", &["--pgurl", &url]);
    assert_eq!((found.code, found.problems()), (1, vec!["encoding"]));
    assert!(found.problem("encoding").0.contains(told) && found.problem("encoding").1.contains(remedy));
    let init = pgstream(&["init", "--pgurl", &url]).output().unwrap();
    let said = String::from_utf8(init.stderr).unwrap();
    assert_eq!(init.status.code(), Some(1));
    assert!(said.contains(told) && said.contains(remedy), "{said}");
    let objects = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgstream'";
    assert_eq!(sql.value::<i64>(objects), 0, "nothing was made");
    // Where a slot was made by hand, or by a release that did not look.
    sql.run(&format!(
        "SELECT pg_create_logical_replication_slot('{SLOT}', 'wal2json')"
    ));
    let mut program = Program::spawn(&url, SLOT, &[]);
    assert_eq!(program.wait().code(), Some(3));
    let line = program.wait_for_log("the reason", |line| line["level"] == "critical");
    let said = line["msg"].as_str().unwrap();
    assert!(said.contains(told) && said.contains(remedy), "{said}");
    let found = look("status", &["--pgurl", &url, "--replication-slot", SLOT]);
    assert!(found.problems().contains(&"encoding"), "{:#}", found.json);
    assert_eq!(found.json["source"]["encoding"], "LATIN1");
}

#[test]
fn a_store_of_another_encoding_may_be_used() {
    let mut world = World::new(&[]);
    let _store = database(&mut world, "LATIN1");
    let store = world.cluster.url("other");
    let found = look(
        "check",
        &[
            "--pgurl",
            &world.url(),
            "--store-url",
            &store,
            "--replication-slot",
            SLOT,
        ],
    );
    assert_eq!((found.code, found.problems()), (0, vec![]), "{:#}", found.json);
}

#[test]
fn of_a_database_without_an_encoding_what_is_not_utf8_is_a_dead_letter() {
    let mut world = World::uninitialised(&[]);
    let mut sql = database(&mut world, "SQL_ASCII");
    let url = world.cluster.url("other");
    let found = look("check", &["--pgurl", &url]);
    assert_eq!(
        (found.code, found.hints()),
        (0, vec!["encoding_unknown", "wal_unlimited"])
    );
    let init = pgstream(&["init", "--pgurl", &url, "--replication-slot", SLOT]).output();
    assert!(init.unwrap().status.success());
    let receiver = receiver();
    let program = Program::start(&url, SLOT, &[]);
    program.subscribe(&json!({"url": receiver.url("/")}));
    sql.run(r"INSERT INTO t VALUES (1, E'\xc3\xa9'), (2, E'\xe9'), (3, 'c')");
    sql.wait_until_delivered();
    let requests = receiver.requests();
    let keys: Vec<i64> = requests.iter().map(|request| Change::of(request).key).collect();
    assert_eq!(keys, [1, 3]);
    assert_eq!(requests[0].json()["Data"]["columns"][1]["value"], "é");
    // A record that was kept is no reason to be taken for not ready, and it is counted.
    program.wait_until_ready();
    assert_eq!(program.metrics().value("pgstream_records_unparsable_total"), 1.0);
    let found = look("status", &["--pgurl", &url, "--replication-slot", SLOT]);
    assert_eq!(found.problems(), ["unparsable_records"]);
    assert_eq!(found.json["dead_letters"]["records"][0]["reason"], "unparsable");
}
