//! Suite `unsendable`: a transaction that PostgreSQL itself cannot send, or that pgstream cannot go on with.

use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::database::SLOT;
use crate::support::look::look;
use crate::support::program::{Program, skip};
use crate::support::receiver::Receiver;
use crate::support::world::{Change, Gate, World, receiver};

/// The exit code where there is one.
const UNSENDABLE: i32 = 5;
/// Connections are made again fast.
const FAST: [(&str, &str); 2] = [
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_MAX_INTERVAL", "100ms"),
];

const STRICT: [(&str, &str); 1] = [("PGSTREAM_WEBHOOK_NOTIFIER_STRICT_MODE", "true")];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// The rows that came, in order.
fn came(receiver: &Receiver) -> Vec<i64> {
    let requests = receiver.requests();
    requests.iter().map(|request| Change::of(request).key).collect()
}

#[test]
fn it_ends_the_program_and_can_be_skipped() {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE TABLE items (id bigint PRIMARY KEY, content bytea)");
    let receiver = receiver();
    let mut program = Program::spawn(&world.url(), SLOT, &FAST);
    program.subscribe(&json!({"url": receiver.url("/"), "schema": "public", "table": "items"}));
    world.sql.run("INSERT INTO items VALUES (1)");
    // Twice as many hexadecimal digits are more than any text of the server can have.
    world
        .sql
        .run("INSERT INTO items VALUES (2, convert_to(repeat('x', 540000000), 'UTF8'))");
    world.sql.run("INSERT INTO items VALUES (3)");

    assert_eq!(program.wait().code(), Some(UNSENDABLE));
    let log = program.log();
    let last = log.iter().rfind(|line| line["level"] == "critical").unwrap();
    let text = last["msg"].as_str().unwrap();
    assert!(
        text.contains("3 times") && text.contains("more than 1 GB"),
        "{text}"
    );
    let (_, command) = text.split_once("`pgstream skip --to ").unwrap();
    let (lsn, _) = command.split_once('`').unwrap();
    // What was before it is delivered.
    assert_eq!(came(&receiver), [1]);

    for (arguments, code, expected) in [
        (&["--to", lsn] as &[&str], 2, "give --yes"),
        (&["--to", "0/1", "--yes"], 1, "nothing to skip"),
        (&["--to", "FF/0", "--yes"], 1, "has not been written yet"),
        (&["--to", "nowhere", "--yes"], 2, "nowhere"),
        (&["--yes"], 2, "--to"),
        (
            &["--to", lsn, "--yes", "--replication-slot", "another"],
            1,
            "does not exist",
        ),
    ] {
        let output = skip(&world.url(), arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(expected),
            "{arguments:?}: {}",
            said(&output)
        );
    }
    let output = skip(&world.url(), &["--to", lsn, "--yes"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("SUCCESS"), "{}", said(&output));

    // It is told of as long as it is kept.
    let found = look("status", &["--pgurl", &world.url(), "--replication-slot", SLOT]);
    assert!(
        found.code == 1 && found.text.contains("skipped"),
        "{}",
        found.text
    );

    let program = world.start(&FAST);
    world.sql.wait_until_delivered();
    assert_eq!(came(&receiver), [1, 3]);
    let output = {
        let end = world.sql.wal_end();
        skip(&world.url(), &["--to", &end, "--yes"])
    };
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("is in use by PID"), "{}", said(&output));
    let letters: Vec<String> = world.sql.values(
        "SELECT reason || ': ' || convert_from(payload, 'UTF8') FROM pgstream.webhook_dead_letters WHERE endpoint IS NULL",
    );
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].starts_with(r#"skipped: {"skipped":{"slot":"#) && letters[0].contains(lsn),
        "{letters:?}"
    );
    assert!(program.terminate().0.success());
}

/// A program in strict mode that has met a record which cannot be read, while a row before it is still being delivered.
fn stuck() -> (World, Receiver, Gate, Program) {
    let mut world = World::new(&[]);
    // wal2json does not escape the quotes within such a type's name.
    world.sql.run(
        "CREATE TYPE \"a\"\"b\" AS ENUM ('sad'); CREATE TABLE feelings (id bigint PRIMARY KEY, mood \"a\"\"b\");
         CREATE TABLE items (id bigint PRIMARY KEY)",
    );
    let (receiver, gate) = Gate::with_receiver();
    let mut program = world.start(&STRICT);
    program.subscribe(&json!({"url": receiver.url("/"), "schema": "public"}));
    world.sql.run("INSERT INTO items VALUES (1)");
    world.sql.run("INSERT INTO feelings VALUES (2, 'sad')");
    program.wait_for_log("the record", |line| line["event"] == "stream_stuck");
    (world, receiver, gate, program)
}

/// That the program has ended with the reason, and names the way on.
fn assert_names_skip(program: &mut Program) {
    assert_eq!(program.wait().code(), Some(1));
    let log = program.log();
    let last = log.iter().rfind(|line| line["level"] == "critical").unwrap();
    assert!(
        last["msg"].as_str().unwrap().contains("`pgstream skip --to "),
        "{last}"
    );
}

#[test]
fn what_was_before_is_delivered_without_the_connection_too() {
    let (mut world, receiver, gate, mut program) = stuck();
    world
        .sql
        .run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots");
    world.sql.wait_for("SELECT NOT active FROM pg_replication_slots");
    gate.open();
    assert_names_skip(&mut program);
    assert_eq!(came(&receiver), [1]);
}

#[test]
fn a_program_that_is_told_to_end_before_all_of_it_is_delivered_names_no_way_to_skip_it() {
    let (world, receiver, gate, mut program) = stuck();
    program.signal(Signal::SIGTERM);
    program.wait_for_log("the end", |line| {
        line["event"] == "stream_stuck" && line["error"].is_string()
    });
    gate.open();
    assert_eq!(program.wait().code(), Some(0));
    let log = program.log();
    assert!(log.iter().all(|line| line["level"] != "critical"));

    // What is told after the next start may be acted upon.
    assert_names_skip(&mut Program::spawn(&world.url(), SLOT, &STRICT));
    assert_eq!(came(&receiver), [1]);
}
