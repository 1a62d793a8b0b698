//! Suite `backfill`: rows that are sent once more to one endpoint while changes are streamed, in the order of each row.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgstream::config::keys;
use serde_json::{Value, json};

use crate::support::database::SLOT;
use crate::support::program::{Program, pgstream};
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::sessions::Stopped;
use crate::support::versions::{
    assert_one_body_an_id, assert_same, folded, kill_at_random_moments, number, subscribe, table,
    wait_for_more, while_writing, world,
};
use crate::support::world::{DEADLINE, World, receiver};

const SETTINGS: [(&str, &str); 2] = [
    (keys::SNAPSHOT_BATCH_BYTES.name, "64KiB"),
    (keys::MAX_QUEUE_BYTES.name, "256KiB"),
];

fn is_replay(request: &Request) -> bool {
    request.header("webhook-replay") == Some("true")
}

/// `pgstream backfill` with these arguments: whether it succeeded, and what it printed and said.
fn backfill(world: &World, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = pgstream(&["backfill"])
        .args(arguments)
        .env(keys::LISTENER_URL.name, world.url())
        .env(keys::SLOT_NAME.name, SLOT)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn asked(world: &World, url: &str, tables: &str) -> Value {
    let (status, printed, said) = backfill(world, &["--url", url, "--tables", tables, "--json"]);
    assert_eq!(status, Some(0), "{said}");
    serde_json::from_str(&printed).unwrap()
}

fn listed(world: &World) -> Value {
    let (status, printed, said) = backfill(world, &["--list", "--json"]);
    assert_eq!(status, Some(0), "{said}");
    let list: Value = serde_json::from_str(&printed).unwrap();
    list["backfills"].clone()
}

fn post(program: &Program, path: &str, body: &Value) -> (u16, Value) {
    let (status, answer) = program.post(&format!("/webhooks/{path}"), &body.to_string());
    (status, serde_json::from_str(&answer).unwrap())
}

const DONE: &str = "SELECT count(*) = 1 FROM pgstream.snapshot_tables WHERE backfill > 0 AND state = 'done'";

#[test]
fn rows_come_once_more_to_one_endpoint_in_the_order_of_each_row() {
    let mut world = world();
    let (one, other) = (receiver(), receiver());
    for receiver in [&one, &other] {
        subscribe(&mut world.sql, &receiver.url("/"), "");
    }
    let mut running = None;
    while_writing(&mut world, |world, sql, done| {
        let program = world.start(&SETTINGS);
        wait_for_more(done, 100);
        let answer = post(&program, "backfill", &json!({"url": one.url("/"), "tables": "t"}));
        assert_eq!(answer.0, 202, "{answer:?}");
        assert_eq!(answer.1["tables"], json!(["public.t"]));
        sql.wait_for(DONE);
        wait_for_more(done, 100);
        running = Some(program);
    });
    let now = table(&mut world.sql);
    let (requests, others) = (one.requests(), other.requests());
    let first = requests.iter().position(|request| is_replay(request)).unwrap();
    assert!(requests.iter().filter(|request| is_replay(request)).count() > 1000);
    assert_same(&folded(&requests), &now);
    // Whoever has forgotten everything has it again.
    assert_same(&folded(&requests[first..]), &now);
    assert_same(&folded(&others), &now);
    assert!(
        !others.iter().any(|request| is_replay(request)),
        "it is none of their business"
    );
    let mut ids = BTreeSet::new();
    let twice = requests
        .iter()
        .filter(|request| !ids.insert(request.header("webhook-id").map(str::to_owned)));
    assert_eq!(twice.count(), 0);
    drop(running);
}

#[test]
fn killed_at_any_moment_it_goes_on() {
    let mut world = world();
    let receiver = Receiver::start(|_| Action::delayed(200, Duration::from_micros(100)));
    subscribe(&mut world.sql, &receiver.url("/"), "");
    let mut running = None;
    while_writing(&mut world, |world, sql, done| {
        let program = world.start(&SETTINGS);
        wait_for_more(done, 100);
        assert!(program.terminate().0.success());
        // It may be asked for while nothing runs.
        asked(world, &receiver.url("/"), "t");
        kill_at_random_moments(world, &SETTINGS, done, || {
            receiver
                .requests()
                .iter()
                .filter(|request| is_replay(request))
                .count()
        });
        running = Some(world.start(&SETTINGS));
        sql.wait_for(DONE);
        wait_for_more(done, 50);
    });
    let requests = receiver.requests();
    assert_same(&folded(&requests), &table(&mut world.sql));
    let ids = assert_one_body_an_id(&requests);
    assert!(requests.len() > ids, "something came twice");
    drop(running);
}

#[test]
fn meanwhile_the_slot_advances_and_others_get_their_changes() {
    let mut world = world();
    world
        .sql
        .run("CREATE TABLE other (id int PRIMARY KEY, born int, v int)");
    let (one, another) = (receiver(), receiver());
    for receiver in [&one, &another] {
        subscribe(&mut world.sql, &receiver.url("/"), "");
    }
    let url = one.url("/");
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions (url, schema_name, table_name) VALUES ('{url}', 'public', 'other')"
    ));
    let program = world.start(&SETTINGS);
    world.sql.wait_until_delivered();
    let before = one.requests().len();
    let mut id = Value::Null;
    let stopped = Stopped::of(&world, || id = asked(&world, &url, "t")["id"].clone());
    world.sql.run(
        "UPDATE t SET v = -1 WHERE id <= 500; DELETE FROM t WHERE id <= 100; INSERT INTO other VALUES (1, 1, 1)",
    );
    // Confirmed, though the one that waits for rows was sent nothing of it but what is of another table.
    world.sql.wait_until_settled();
    another.wait_for(|requests| requests.len() == before + 600, DEADLINE);
    let requests = one.requests();
    assert_eq!(requests.len(), before + 1);
    assert_eq!(requests[before].json()["Data"]["table"], "other");
    let held: i64 = world.sql.value("SELECT count(*) FROM pgstream.snapshot_held");
    assert_eq!(held, 600);
    let list = listed(&world);
    assert_eq!(
        (&list[0]["id"], &list[0]["state"], &list[0]["url"]),
        (&id, &json!("pending"), &json!(url))
    );
    drop(stopped);
    world.sql.wait_for(DONE);
    world.sql.wait_until_delivered();
    // The rows are of later than what was held, which comes all the same: who has forgotten nothing is told of each change.
    let rows = before + 1 + 2900;
    one.wait_for(|requests| requests.len() == rows + 600, DEADLINE);
    let requests = one.requests();
    for id in [101, 500] {
        let of_row = requests[before + 1..].iter().filter(|request| {
            let columns = &request.json()["Data"]["columns"];
            !columns.is_null() && number(columns, "id") == id
        });
        let replays: Vec<bool> = of_row.map(|request| is_replay(request)).collect();
        assert_eq!(replays, [true, false], "the row comes before its change");
    }
    assert_same(&folded(&requests[before + 1..]), &table(&mut world.sql));
    assert_eq!(listed(&world)[0]["state"], "done");
    drop(program);
}

#[test]
fn it_can_be_cancelled() {
    let mut world = world();
    let receiver = receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    let program = world.start(&SETTINGS);
    world.sql.wait_until_delivered();
    let before = receiver.requests().len();
    let mut id = String::new();
    let stopped = Stopped::of(&world, || {
        id = asked(&world, &receiver.url("/"), "t")["id"].to_string();
    });
    world.sql.run("UPDATE t SET v = -1 WHERE id <= 10");
    world.sql.wait_until_settled();
    assert_eq!(receiver.requests().len(), before);
    let (status, printed, said) = backfill(&world, &["--cancel", &id]);
    assert_eq!(status, Some(0), "{said}");
    assert!(printed.contains("is cancelled"), "{printed}");
    world.sql.wait_until_delivered();
    assert_eq!(receiver.requests().len(), before + 10);
    drop(stopped);
    assert_eq!(listed(&world)[0]["state"], "cancelled");
    let (_, printed, _) = backfill(&world, &["--cancel", &id]);
    assert!(printed.contains("over already"), "{printed}");
    let number: i64 = id.parse().unwrap();
    let over = post(&program, "backfill/cancel", &json!({"id": number}));
    assert_eq!(over, (200, json!({"id": number, "tables": 0})));
    let list = program.get("/webhooks/backfill");
    assert_eq!(list, json!({"backfills": listed(&world)}));
    // Over a restart as well.
    assert!(program.terminate().0.success());
    let program = world.start(&SETTINGS);
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    assert_eq!(receiver.requests().len(), before + 10);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut world = world();
    let receiver = receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    world.sql.run("CREATE VIEW shown AS SELECT * FROM t");
    let url = receiver.url("/");
    for (arguments, status, expected) in [
        (&[][..], 2, "pass --url and --tables"),
        (&["--url", &url], 2, "pass --url and --tables"),
        (&["--tables", "t"], 2, "pass --url and --tables"),
        (&["--url", &url, "--tables", "t", "--list"], 2, "pass one of them"),
        (&["--url", &url, "--tables", "\"t"], 2, "--tables: "),
        (
            &["--url", &url, "--tables", "nothing"],
            1,
            "nothing matches no table",
        ),
        (&["--url", &url, "--tables", "shown"], 1, "is a view"),
        (
            &["--url", &url, "--tables", "t", "--excluded-tables", "*"],
            1,
            "none is left to read",
        ),
        (
            &["--url", "http://127.0.0.1:9/", "--tables", "t"],
            1,
            "no endpoint has the URL",
        ),
        (&["--cancel", "77"], 1, "there is no backfill 77"),
    ] {
        let (found, _, said) = backfill(&world, arguments);
        assert_eq!(found, Some(status), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(
        backfill(&world, &["--list"]).1.trim(),
        "no backfill was asked for in the last days"
    );

    let program = world.start(&SETTINGS);
    for (path, body, status, field) in [
        ("backfill", json!({"tables": "t"}), 400, "url"),
        ("backfill", json!({"url": url}), 400, "tables"),
        (
            "backfill",
            json!({"url": url, "tables": "nothing"}),
            400,
            "tables",
        ),
        (
            "backfill",
            json!({"url": "http://127.0.0.1:9/", "tables": "t"}),
            404,
            "url",
        ),
        ("backfill/cancel", json!({}), 400, "id"),
        ("backfill/cancel", json!({"id": 77}), 404, "id"),
    ] {
        let (found, answer) = post(&program, path, &body);
        assert_eq!(
            (found, &answer["error"]["field"]),
            (status, &json!(field)),
            "{body}: {answer}"
        );
    }
    drop(program);
}

/// With one order for everything, an endpoint gets nothing else meanwhile, and everything in the end.
#[test]
fn an_endpoint_with_one_order_waits_for_the_rows() {
    let mut world = world();
    world.sql.run("CREATE TABLE other (id int PRIMARY KEY)");
    let receiver = receiver();
    let url = receiver.url("/");
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions (url) VALUES ('{url}');
         INSERT INTO pgstream.webhook_endpoints (url, ordering) VALUES ('{url}', 'serial')"
    ));
    let program = world.start(&SETTINGS);
    world.sql.wait_until_delivered();
    let before = receiver.requests().len();
    let stopped = Stopped::of(&world, || drop(asked(&world, &url, "t")));
    world.sql.run("INSERT INTO other SELECT generate_series(1, 10)");
    world.sql.wait_until_settled();
    assert_eq!(receiver.requests().len(), before);
    drop(stopped);
    world.sql.wait_for(DONE);
    world.sql.wait_until_delivered();
    let requests = &receiver.requests()[before..];
    assert_eq!(requests.len(), 3010);
    assert!(
        requests[..3000].iter().all(|request| is_replay(request)),
        "rows come first"
    );
    drop(program);
}

/// Where an endpoint may hold no more, reading pauses, and rows go on.
#[test]
fn at_the_bound_of_its_backlog_the_stream_waits() {
    let mut world = world();
    let receiver = receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    let settings = [SETTINGS[0], SETTINGS[1], (keys::BACKLOG_MAX_BYTES.name, "16MiB")];
    let mut program = world.start(&settings);
    world.sql.wait_until_delivered();
    let before = receiver.requests().len();
    let stopped = Stopped::of(&world, || drop(asked(&world, &receiver.url("/"), "t")));
    for _ in 0..2 {
        world
            .sql
            .run("UPDATE t SET v = v + 10000, pad = repeat('z', 2000)");
    }
    program.wait_for_log("that reading pauses", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("reading the stream pauses"))
    });
    assert_eq!(receiver.requests().len(), before);
    drop(stopped);
    world.sql.wait_for(DONE);
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    assert_same(&folded(&requests), &table(&mut world.sql));
    assert_eq!(requests.len(), before + 9000, "none of them is a dead letter");
    drop(program);
}

/// Rows that fill the memory, for an endpoint that works and is slow, leave the stream its part.
#[test]
fn rows_do_not_keep_the_stream_from_being_read() {
    let mut world = world();
    let is_slow = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&is_slow);
    let receiver = Receiver::start(move |request| {
        let pause = u64::from(is_replay(request) && slow.load(Ordering::SeqCst));
        Action::delayed(200, Duration::from_secs(pause))
    });
    subscribe(&mut world.sql, &receiver.url("/"), "");
    let program = world.start(&SETTINGS);
    world.sql.wait_until_delivered();
    let before = receiver.requests().len();
    asked(&world, &receiver.url("/"), "t");
    receiver.wait_for(|requests| requests.len() > before, DEADLINE);
    world.sql.run("UPDATE t SET v = -1 WHERE id <= 500");
    world.sql.wait_until_settled();
    let state: String = world
        .sql
        .value("SELECT state FROM pgstream.snapshot_tables WHERE backfill > 0");
    assert_eq!(state, "reading", "it is confirmed while rows are on their way");
    is_slow.store(false, Ordering::SeqCst);
    world.sql.wait_for(DONE);
    world.sql.wait_until_delivered();
    assert_same(&folded(&receiver.requests()), &table(&mut world.sql));
    drop(program);
}
