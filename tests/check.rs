//! Suite `check`: what `pgstream check` says before `init`, everything at once, for people and for programs.

use std::net::TcpListener;

use pgstream::demo::cluster::StopMode;
use serde_json::Value;

use crate::support::database::SLOT;
use crate::support::look::{Looked, look};
use crate::support::program::pgstream;
use crate::support::world::{Sql, World};

fn check(url: &str) -> Looked {
    look("check", &["--pgurl", url, "--replication-slot", SLOT])
}

/// Whether a precondition is met; nothing where that is not known.
fn met(found: &Looked, database: &str, name: &str) -> Option<bool> {
    let checks = found.json["checks"].as_array().unwrap();
    let item = checks
        .iter()
        .find(|it| it["database"] == database && it["name"] == name);
    let item = item.unwrap_or_else(|| panic!("no {name} in {:#}", found.json));
    let met = item["met"].as_bool();
    let said = met.map_or("unknown".to_owned(), |met| met.to_string());
    let line = format!(" - {}: {said}\n", item["description"].as_str().unwrap());
    assert!(found.text.contains(&line), "{line} is not in {}", found.text);
    met
}

/// The names of the preconditions of a database that are not met, and of those of which nothing is known.
fn not_met(found: &Looked, database: &str) -> (Vec<String>, Vec<String>) {
    let checks = found.json["checks"].as_array().unwrap();
    let names = |wanted: &Value| -> Vec<String> {
        let found = checks
            .iter()
            .filter(|it| it["database"] == database && it["met"] == *wanted);
        found.map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    (names(&false.into()), names(&Value::Null))
}

/// Nothing is left behind, and nothing was changed.
fn assert_untouched(sql: &mut Sql) {
    sql.wait_for("SELECT count(*) = 0 FROM pg_replication_slots");
    assert_eq!(
        sql.value::<i64>("SELECT count(*) FROM pg_namespace WHERE nspname = 'pgstream'"),
        0
    );
    assert_eq!(sql.value::<i64>("SELECT count(*) FROM pg_event_trigger"), 0);
}

#[test]
fn a_server_that_has_everything_before_init_and_after() {
    let mut world = World::uninitialised(&[]);
    let found = check(&world.url());
    assert_eq!((found.code, found.problems()), (0, vec![]), "{:#}", found.json);
    assert_eq!(found.hints(), ["wal_unlimited"]);
    for database in ["source", "store"] {
        assert_eq!(not_met(&found, database), (vec![], vec![]));
    }
    assert!(
        found
            .text
            .starts_with("SUCCESS  pgstream check encountered no issues\n")
    );
    assert_eq!(met(&found, "source", "plugin"), Some(true));
    assert_eq!(found.json["source"]["database"], "postgres");
    assert_eq!(found.json["source"]["encoding"], "UTF8");
    assert_untouched(&mut world.sql);
    let init = pgstream(&["init", "--replication-slot", SLOT, "--pgurl", &world.url()]).output();
    assert!(init.unwrap().status.success());
    let found = check(&world.url());
    assert_eq!((found.code, found.problems()), (0, vec![]), "{:#}", found.json);
}

#[test]
fn everything_that_is_in_the_way_is_told_at_once() {
    let mut world = World::uninitialised(&[
        ("wal_level", "replica"),
        ("max_wal_senders", "0"),
        ("max_replication_slots", "1"),
        ("max_slot_wal_keep_size", "100MB"),
    ]);
    world
        .sql
        .run("CREATE ROLE nobody LOGIN; SELECT pg_create_physical_replication_slot('other')");
    let found = check(&world.cluster.url_as("nobody", "postgres"));
    assert_eq!(found.code, 1);
    let expected = [
        "wal_level",
        "no_free_walsender",
        "no_free_slot",
        "no_replication_privilege",
        "no_create_privilege",
        "no_event_trigger_privilege",
        "not_looked_at",
    ];
    assert_eq!(found.problems(), expected, "{:#}", found.json);
    assert_eq!(found.missing(), ["plugin"]);
    assert_eq!(found.hints(), ["wal_little"]);
    let (lacking, unknown) = not_met(&found, "source");
    assert_eq!(
        lacking,
        [
            "wal_level",
            "free_slot",
            "free_walsender",
            "replication_privilege",
            "create_privilege",
            "event_triggers"
        ]
    );
    assert_eq!(unknown, ["plugin"]);
    assert_eq!(not_met(&found, "store").0, ["create_privilege"]);
    for (code, remedy) in [
        ("wal_level", "ALTER SYSTEM SET wal_level = logical"),
        ("no_free_slot", "ALTER SYSTEM SET max_replication_slots = 2"),
        ("no_replication_privilege", "ALTER ROLE \"nobody\" REPLICATION"),
        (
            "no_create_privilege",
            "GRANT CREATE ON DATABASE \"postgres\" TO \"nobody\"",
        ),
    ] {
        assert!(
            found.problem(code).1.contains(remedy),
            "{:?}",
            found.problem(code)
        );
    }
}

#[test]
fn transactions_that_would_delay_the_slot() {
    let mut world = World::uninitialised(&[("max_slot_wal_keep_size", "10GB")]);
    world.sql.run("CREATE TABLE t (n int)");
    let mut other = Sql::open(&world.cluster, "postgres");
    other.run("BEGIN");
    other.run("INSERT INTO t VALUES (1)");
    let mut third = Sql::open(&world.cluster, "postgres");
    third.run("BEGIN");
    third.run("INSERT INTO t VALUES (2)");
    third.run("PREPARE TRANSACTION 'left behind'");
    let found = check(&world.url());
    assert_eq!((found.code, found.problems()), (0, vec![]), "{:#}", found.json);
    assert_eq!(found.hints(), ["open_transaction"; 2]);
    let pid: i32 = other.value("SELECT pg_backend_pid()");
    assert!(
        found.text.contains(&format!("waits for PID {pid}")),
        "{}",
        found.text
    );
    assert!(found.text.contains("'left behind'"), "{}", found.text);
    assert_untouched(&mut world.sql);
}

#[test]
fn a_plugin_that_is_not_there() {
    let mut world = World::uninitialised(&[("dynamic_library_path", "/nonexistent")]);
    let found = check(&world.url());
    assert_eq!((found.code, found.problems()), (1, vec!["plugin_missing"]));
    assert!(found.problem("plugin_missing").1.contains("wal2json"));
    assert_eq!(met(&found, "source", "plugin"), Some(false));
    assert_untouched(&mut world.sql);
}

#[test]
fn a_slot_of_somebody_else_and_a_standby_that_would_be_waited_for() {
    let mut world = World::uninitialised(&[]);
    world.sql.run(&format!(
        "SELECT pg_create_logical_replication_slot('{SLOT}', 'test_decoding')"
    ));
    world
        .sql
        .run("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (replica, pgstream)'");
    world.sql.run("SELECT pg_reload_conf()");
    world
        .sql
        .wait_for("SELECT current_setting('synchronous_standby_names') LIKE 'ANY%'");
    let found = check(&world.url());
    assert_eq!(found.code, 1);
    assert_eq!(found.problems(), ["slot_conflict", "synchronous_standby"]);
    let (lacking, unknown) = not_met(&found, "source");
    assert_eq!(lacking, ["slot", "synchronous_standby"]);
    // There is a slot of that name, so none is made.
    assert_eq!(unknown, ["free_slot", "free_walsender", "plugin"]);
    let remedy = found.problem("synchronous_standby").1;
    assert!(
        remedy.contains("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (\"replica\")'"),
        "{remedy}"
    );
    // Under another name nobody waits for us.
    let found = check(&format!("{}&application_name=other", world.url()));
    assert_eq!(found.problems(), ["slot_conflict"]);
}

#[test]
fn databases_that_do_not_answer() {
    let mut world = World::uninitialised(&[]);
    let url = world.url();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!(
        "postgres://u@127.0.0.1:{}/d?sslmode=disable",
        silent.local_addr().unwrap().port()
    );
    let found = look("check", &["--pgurl", &url, "--store-url", &silent]);
    assert_eq!((found.code, found.problems()), (1, vec!["store_unreachable"]));
    assert_eq!(met(&found, "store", "reachable"), Some(false));
    assert_eq!(met(&found, "store", "primary"), None);
    assert_eq!(met(&found, "source", "wal_level"), Some(true));
    let found = look("check", &["--pgurl", &silent, "--store-url", &url]);
    assert_eq!((found.code, found.problems()), (1, vec!["source_unreachable"]));
    assert_untouched(&mut world.sql);
    drop(world.sql);
    world.cluster.stop(StopMode::Immediate).unwrap();
    let found = check(&url);
    assert_eq!((found.code, found.problems()), (2, vec!["source_unreachable"]));
    let found = look("check", &[]);
    assert_eq!((found.code, found.problems()), (2, vec!["config_invalid"]));
}
