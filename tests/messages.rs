//! Suite `messages`: logical messages, which are events straight from SQL.

use std::sync::Arc;

use nix::sys::signal::Signal;
use pgstream::config::keys;
use serde_json::{Value, json};

use crate::support::program::Program;
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{DEADLINE, World, confirmed_reaches, is_lsn, is_timestamp, receiver};

/// A world and a running program.
fn world() -> (World, Program) {
    let world = World::new(&[]);
    let program = world.start(&[]);
    (world, program)
}

/// What came, without the envelope.
fn data(requests: &[Arc<Request>]) -> Vec<Value> {
    requests
        .iter()
        .map(|request| request.json()["Data"].clone())
        .collect()
}

/// The contents of the messages that came, in the order in which they came.
fn contents(requests: &[Arc<Request>]) -> Vec<String> {
    let messages = data(requests);
    let messages = messages.iter().filter(|data| data["action"] == "M");
    messages
        .map(|data| data["content"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_message_is_an_event_like_any_other() {
    let (mut world, program) = world();
    let receiver = receiver();
    program.subscribe(&json!({"url": receiver.url("/"), "event_types": ["M"]}));
    world
        .sql
        .run(r#"SELECT pg_logical_emit_message(true, 'orders', '{"id": 1}')"#);
    let requests = receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
    let body = String::from_utf8(requests[0].body.clone()).unwrap();
    let data = &requests[0].json()["Data"];
    let (timestamp, lsn) = (data["timestamp"].as_str().unwrap(), data["lsn"].as_str().unwrap());
    assert!(is_timestamp(timestamp) && is_lsn(lsn), "{body}");
    assert_eq!(
        body,
        format!(
            r#"{{"Data":{{"action":"M","timestamp":"{timestamp}","lsn":"{lsn}","transactional":true,"prefix":"orders","content":"{{\"id\": 1}}","schema":"","table":"","columns":null,"identity":null,"metadata":{{"schema_id":null,"table_pgstream_id":"","id_col_pgstream_id":null,"version_col_pgstream_id":""}}}}}}"#
        )
    );
}

#[test]
fn messages_come_to_those_who_ask_for_them() {
    let (mut world, program) = world();
    let [everything, messages, orders, rolled] = [receiver(), receiver(), receiver(), receiver()];
    world.sql.run("CREATE TABLE orders (id int PRIMARY KEY)");
    let subscribe = |receiver: &Receiver, table: &str, types: &[&str]| {
        program.subscribe(&json!({"url": receiver.url("/"), "table": table, "event_types": types}));
    };
    subscribe(&everything, "orders", &[]);
    subscribe(&messages, "", &["M"]);
    subscribe(&orders, "orders", &["I", "M"]);
    subscribe(&rolled, "rolled back", &["M"]);
    world.sql.run(
        "BEGIN; SELECT pg_logical_emit_message(true, 'rolled back', 'never'); ROLLBACK;
         SELECT pg_logical_emit_message(false, 'pgstream.heartbeat', 'ours');
         SELECT pg_logical_emit_message(true, 'pgstream.heartbeat', 'ours');
         BEGIN; INSERT INTO orders VALUES (1); SELECT pg_logical_emit_message(true, 'orders', 'one'); COMMIT;
         BEGIN; SELECT pg_logical_emit_message(false, 'orders', 'although'); ROLLBACK;
         SELECT pg_logical_emit_message(true, 'ordersx', 'another');
         SELECT pg_logical_emit_message(true, 'Ünï \"q\" \\', '\"\\ ✓')",
    );
    world.sql.wait_until_delivered();
    assert_eq!(
        data(&everything.requests())
            .iter()
            .map(|data| data["action"].clone())
            .collect::<Vec<_>>(),
        ["I"]
    );
    let mut all = contents(&messages.requests());
    all.sort();
    assert_eq!(all, ["\"\\ ✓", "although", "another", "one"]);
    let mut mine = contents(&orders.requests());
    mine.sort();
    assert_eq!(mine, ["although", "one"]);
    assert_eq!(orders.requests().len(), 3);
    assert!(rolled.requests().is_empty());
    let outside = data(&orders.requests());
    let outside = outside.iter().find(|data| data["content"] == "although").unwrap();
    assert_eq!(
        (&outside["transactional"], &outside["timestamp"]),
        (&json!(false), &json!(""))
    );
}

#[test]
fn messages_of_one_prefix_keep_their_order() {
    const EACH: usize = 200;
    let (mut world, program) = world();
    let receiver = Receiver::start(|_| {
        std::thread::sleep(std::time::Duration::from_millis(fastrand::u64(0..4)));
        Action::status(if fastrand::u8(..20) == 0 { 503 } else { 200 })
    });
    program.subscribe(&json!({"url": receiver.url("/"), "event_types": ["M"]}));
    for number in 0..EACH {
        let transactional = number % 3 > 0;
        world.sql.run(&format!(
            "SELECT pg_logical_emit_message({transactional}, 'a', '{number}'), pg_logical_emit_message(true, 'b', '{number}')"
        ));
    }
    world.sql.wait_until_delivered();
    for prefix in ["a", "b"] {
        let mut seen: Vec<usize> = data(&receiver.requests())
            .iter()
            .filter(|data| data["prefix"] == prefix)
            .map(|data| data["content"].as_str().unwrap().parse().unwrap())
            .collect();
        assert!(seen.is_sorted(), "{prefix}: {seen:?}");
        seen.dedup();
        assert_eq!(seen.len(), EACH, "{prefix}");
    }
}

#[test]
fn a_message_outside_of_a_transaction_is_confirmed_when_it_is_delivered_and_not_before() {
    // Reports come every second.
    let mut world = World::new(&[("wal_sender_timeout", "3s")]);
    let mut program = world.start(&[]);
    let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let receiver = Receiver::start({
        let well = Arc::clone(&well);
        move |_| {
            if well.load(std::sync::atomic::Ordering::SeqCst) {
                Action::status(200)
            } else {
                Action::Hang
            }
        }
    });
    program.subscribe(&json!({"url": receiver.url("/"), "event_types": ["M"]}));
    world
        .sql
        .run("SELECT pg_logical_emit_message(false, 'orders', 'one')");
    // Only then is it sure to be in the WAL.
    world
        .sql
        .run("CREATE TABLE later (a int); INSERT INTO later VALUES (1)");
    let end = world.sql.wal_end();
    receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
    // Two more reports: the last of them would tell of what is confirmed wrongly.
    for _ in 0..2 {
        let reported = "SELECT coalesce(reply_time, '-infinity')";
        let last: String = world
            .sql
            .value(&format!("{reported}::text FROM pg_stat_replication"));
        world
            .sql
            .wait_for(&format!("{reported} > '{last}' FROM pg_stat_replication"));
    }
    assert!(!world.sql.value::<bool>(&confirmed_reaches(&end)));
    program.signal(Signal::SIGKILL);
    program.wait();
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    let program = world.start(&[]);
    let requests = receiver.wait_for(|requests| requests.len() == 2, DEADLINE);
    assert_eq!(contents(&requests), ["one", "one"]);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    let id = requests[0].header("webhook-id").unwrap();
    assert_eq!(id.split('-').nth(2), Some("m"), "{id}");
    world.sql.wait_for(&confirmed_reaches(&end));
    drop(program);
}

/// Its LSN may be where the commit record begins of the transaction that comes next. It must not stand behind that: what an
/// endpoint has had would hide what is still to come.
#[test]
fn a_message_outside_of_a_transaction_stands_before_the_commit_that_follows_it() {
    let (mut world, program) = world();
    let receiver = receiver();
    world.sql.run("CREATE TABLE t (a int PRIMARY KEY)");
    // The entry of the schema log about it is an insert too, and not what this is about.
    world.sql.wait_until_settled();
    program.subscribe(&json!({"url": receiver.url("/"), "event_types": ["I", "M"]}));
    let (status, answer) = program.post(
        "/webhooks/endpoints/pause",
        &json!({"url": receiver.url("/")}).to_string(),
    );
    assert_eq!(status, 200, "{answer}");
    world
        .sql
        .run("BEGIN; INSERT INTO t VALUES (1); SELECT pg_logical_emit_message(false, 'p', 'x'); COMMIT");
    world
        .sql
        .wait_for("SELECT count(*) = 2 FROM pgstream.webhook_backlog");
    let order: Vec<String> = world
        .sql
        .values("SELECT action FROM pgstream.webhook_backlog ORDER BY commit_lsn, lsn");
    assert_eq!(order, ["M", "I"]);
    world.sql.wait_until_settled();
    drop(program);
}

#[test]
fn what_nobody_asked_for_is_not_read() {
    let mut world = World::new(&[]);
    let program = world.start(&[("PGSTREAM_WEBHOOK_NOTIFIER_STRICT_MODE", "true")]);
    let receiver = receiver();
    let prefix = "asked for ".repeat(30);
    program.subscribe(&json!({"url": receiver.url("/"), "table": prefix, "event_types": ["M"]}));
    world.sql.run(&format!(
        "SELECT pg_logical_emit_message(true, 'binary', '\\xff'::bytea);
         SELECT pg_logical_emit_message(false, 'pgstream.heartbeat', '\\xff'::bytea);
         SELECT pg_logical_emit_message(true, '{prefix}', 'x')"
    ));
    receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
    world.sql.wait_until_settled();
    assert!(program.terminate().0.success());
}

#[test]
fn what_cannot_be_text_is_kept_as_a_dead_letter() {
    let (mut world, program) = world();
    let receiver = receiver();
    program.subscribe(&json!({"url": receiver.url("/"), "event_types": ["M"]}));
    for transactional in [true, false] {
        world.sql.run(&format!(
            r"SELECT pg_logical_emit_message({transactional}, 'raw', '\xff00fe'::bytea)"
        ));
    }
    world
        .sql
        .run("SELECT pg_logical_emit_message(true, 'orders', 'goes on')");
    receiver.wait_for(|requests| contents(requests) == ["goes on"], DEADLINE);
    world.sql.wait_until_delivered();
    let letters: i64 = world
        .sql
        .value("SELECT count(*) FROM pgstream.webhook_dead_letters");
    assert_eq!(letters, 2);
}

#[test]
fn messages_have_no_schema() {
    let (_world, program) = world();
    let body = json!({"url": "http://h/", "schema": "public", "table": "orders", "event_types": ["M"]});
    let (status, answer) = program.post("/webhooks/subscribe", &body.to_string());
    assert_eq!(status, 400, "{answer}");
    assert!(answer.contains("logical messages have no schema"), "{answer}");
}

#[test]
fn heartbeats_advance_the_slot_and_are_sent_to_nobody() {
    let mut world = World::new(&[]);
    let receiver = receiver();
    world.sql.run(&format!(
        "SELECT pg_create_logical_replication_slot('model', 'wal2json');
         INSERT INTO pgstream.webhook_subscriptions (url, event_types) VALUES ('{}', '{{M}}')",
        receiver.url("/")
    ));
    let program = world.start(&[(keys::HEARTBEAT_INTERVAL.name, "100ms")]);
    world.sql.wait_for(&format!("SELECT ({COUNT}) >= 3"));
    world.sql.wait_until_settled();
    assert!(program.terminate().0.success());
    assert_eq!(receiver.requests().len(), 0);

    // None is sent unasked. (The last one is read once something has been flushed after it.)
    world.sql.run("CREATE TABLE flushed ()");
    let before: i64 = world.sql.value(COUNT);
    let program = world.start(&[]);
    world.sql.wait_until_settled();
    assert!(program.terminate().0.success());
    assert_eq!(world.sql.value::<i64>(COUNT), before);
}

const COUNT: &str =
    "SELECT count(*) FROM pg_logical_slot_peek_changes('model', NULL, NULL, 'format-version', '2')
     WHERE data::json ->> 'prefix' = 'pgstream.heartbeat'";
