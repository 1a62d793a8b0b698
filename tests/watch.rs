//! Suite `watch`: what a running program says of its slot by itself.

use pgstream::config::keys;
use serde_json::{Value, json};

use crate::support::database::SLOT;
use crate::support::program::Program;
use crate::support::world::{Gate, World};

#[test]
fn commits_that_wait_for_webhooks_are_told_with_the_statement_that_mends_it() {
    let mut world = World::new(&[]);
    let program = world.start(&[]);
    synchronous(&mut world, program, &json!("sync"));
    // A role that may not see the state of its walsender.
    world.sql.run("CREATE ROLE repli LOGIN REPLICATION");
    let url = world.cluster.url_as("repli", "postgres");
    let program = Program::start(&url, SLOT, &[(keys::STORE_URL.name, &world.url())]);
    synchronous(&mut world, program, &json!(null));
}

/// Has the server count the walsender of a program as a synchronous stand-by, and does as the program says.
fn synchronous(world: &mut World, mut program: Program, sync_state: &Value) {
    world.sql.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
    world.sql.run("SELECT pg_reload_conf()");
    let told = |line: &serde_json::Value| {
        line["msg"]
            .as_str()
            .is_some_and(|text| text.starts_with("counted as a synchronous standby"))
    };
    let line = program.wait_for_log("the synchronous standby", told);
    assert_eq!(
        (&line["level"], &line["sync_state"]),
        (&json!("warn"), sync_state)
    );
    let remedy = line["remedy"].as_str().unwrap();
    let statement = "ALTER SYSTEM SET synchronous_standby_names = ''";
    assert!(remedy.contains(statement), "{remedy}");
    world.sql.run(statement);
    world.sql.run("SELECT pg_reload_conf()");
    program.wait_for_log("its end", |line| {
        line["msg"] == "no longer counted as a synchronous standby"
    });
    assert_eq!(program.log().into_iter().filter(told).count(), 1, "told once");
    assert!(program.terminate().0.success());
}

#[test]
fn a_slot_that_is_about_to_be_lost_is_told() {
    let mut world = World::new(&[("max_slot_wal_keep_size", "1MB")]);
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let (receiver, gate) = Gate::with_receiver();
    let mut program = world.start(&[(keys::CLIENT_TIMEOUT.name, "5m")]);
    program.subscribe(&json!({"url": receiver.url("/")}));
    // Nothing behind this one is confirmed while it is not answered.
    world.sql.run("INSERT INTO t VALUES (0)");
    receiver.wait_for(|requests| requests.len() == 1, crate::support::world::DEADLINE);
    for id in 1..5 {
        world.sql.run(&format!("INSERT INTO t VALUES ({id})"));
        world.sql.run("SELECT pg_switch_wal()");
    }
    let line = program.wait_for_log("the risk", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|text| text.starts_with("slot at risk: "))
    });
    assert_eq!(line["wal_status"], "unreserved");
    assert_eq!(line["slot"], crate::support::database::SLOT);
    assert!(line["lag_bytes"].as_u64().unwrap() > 1 << 20, "{line}");
    assert!(
        line["remedy"]
            .as_str()
            .unwrap()
            .contains("max_slot_wal_keep_size"),
        "{line}"
    );
    gate.open();
    world.sql.wait_until_delivered();
}
