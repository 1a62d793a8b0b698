//! Suite `unsendable`: a transaction that PostgreSQL itself cannot send.

use std::process::Output;

use serde_json::json;

use crate::support::database::SLOT;
use crate::support::look::look;
use crate::support::program::{Program, skip};
use crate::support::world::{Change, World, receiver};

/// The exit code where there is one.
const UNSENDABLE: i32 = 5;
/// Connections are made again fast.
const FAST: [(&str, &str); 2] = [
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_MAX_INTERVAL", "100ms"),
];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
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
    let came = |receiver: &crate::support::receiver::Receiver| -> Vec<i64> {
        receiver
            .requests()
            .iter()
            .map(|request| Change::of(request).key)
            .collect()
    };
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
