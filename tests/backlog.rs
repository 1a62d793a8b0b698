//! Suite `backlog`: what an endpoint does not take is kept, in order, and holds nothing else back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::program::Program;
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{Change, DEADLINE, Sql, World, receiver, webhook_id};

/// Retries come fast, and what hangs is noticed fast.
const FAST: [(&str, &str); 3] = [
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL", "100ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT", "1s"),
];

/// What has been written to the backlog.
const BACKLOG: &str = "SELECT count(*) FROM pgstream.webhook_backlog";

/// A receiver that answers with a status that the test changes; every request is kept.
fn switched(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(status));
    let switch = Arc::clone(&answer);
    let receiver = Receiver::start(move |_| Action::status(switch.load(Ordering::SeqCst)));
    (receiver, answer)
}

fn world() -> World {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL)");
    world
}

fn subscribe(program: &Program, receiver: &Receiver) {
    program.subscribe(&json!({"url": receiver.url("/"), "schema": "public", "table": "items"}));
}

/// The versions of each of these rows arrive in order, none is missing; the requests up to `from` are not looked at.
fn assert_in_order(requests: &[Arc<Request>], rows: i64, versions: i64) {
    for row in 1..=rows {
        let mut seen = Vec::new();
        for change in requests
            .iter()
            .map(|request| Change::of(request))
            .filter(|change| change.key == row)
        {
            if !seen.contains(&change.second) {
                seen.push(change.second);
            }
        }
        let all: Vec<i64> = (1..=versions).collect();
        assert_eq!(seen, all, "row {row}");
    }
}

/// Rows 1 to `rows`, each inserted as version 1 and updated up to `versions`.
fn write(world: &mut World, rows: i64, versions: std::ops::RangeInclusive<i64>) {
    for version in versions {
        if version == 1 {
            world.sql.run(&format!(
                "INSERT INTO items SELECT n, 1 FROM generate_series(1, {rows}) n"
            ));
        } else {
            world.sql.run(&format!("UPDATE items SET version = {version}"));
        }
    }
}

#[test]
fn an_endpoint_that_is_down_holds_nothing_back_and_gets_everything_in_order_when_it_is_up() {
    let mut world = world();
    let (down, status) = switched(503);
    let up = receiver();
    let mut program = world.start(&FAST);
    subscribe(&program, &down);
    subscribe(&program, &up);
    write(&mut world, 50, 1..=3);
    up.wait_for(|requests| requests.len() == 150, DEADLINE);
    // Its LSN goes on although nothing was delivered there: it is in the backlog.
    world.sql.wait_until_settled();
    assert_eq!(world.sql.value::<i64>(BACKLOG), 150);
    let outage = program.wait_for_log("the outage", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.starts_with("endpoint is down"))
    });
    assert_eq!(outage["reason"], "answered 503");
    world.sql.wait_for(
        "SELECT EXISTS (SELECT FROM pgstream.webhook_endpoint_health
                         WHERE health IN ('outage', 'probing') AND reason = 'answered 503')",
    );
    write(&mut world, 50, 4..=5);
    world.sql.wait_until_settled();
    assert_eq!(world.sql.value::<i64>(BACKLOG), 250);
    let failed = down.requests().len();
    status.store(200, Ordering::SeqCst);
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    let delivered = &down.requests()[failed..];
    assert_eq!(delivered.len(), 250);
    assert_in_order(delivered, 50, 5);
    // And goes the direct way from then on.
    program.wait_for_log("the end of the detour", |line| {
        line["msg"] == "an endpoint's backlog is drained"
    });
    write(&mut world, 50, 6..=6);
    world.sql.wait_until_settled();
    assert_in_order(&down.requests()[failed..], 50, 6);
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.webhook_backlog_marks"),
        1
    );
    assert!(program.terminate().0.success());
}

#[test]
fn killed_while_an_endpoint_is_down_it_goes_on_where_it_was() {
    let mut world = world();
    let (down, status) = switched(503);
    for version in 1..=4 {
        let mut program = world.start(&FAST);
        if version == 1 {
            subscribe(&program, &down);
        }
        write(&mut world, 20, version..=version);
        if version % 2 == 0 {
            world.sql.wait_until_settled();
        }
        program.signal(Signal::SIGKILL);
        program.wait();
    }
    let program = world.start(&FAST);
    let failed = down.requests().len();
    status.store(200, Ordering::SeqCst);
    world.sql.wait_until_settled();
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    let delivered = &down.requests()[failed..];
    assert_in_order(delivered, 20, 4);
    let ids: std::collections::HashSet<String> =
        delivered.iter().map(|request| webhook_id(request)).collect();
    assert_eq!(ids.len(), 80);
    assert!(program.terminate().0.success());
}

#[test]
fn a_receiver_that_is_gone_disables_its_endpoint_until_an_operator_enables_it() {
    let mut world = world();
    let (gone, status) = switched(410);
    let program = world.start(&FAST);
    subscribe(&program, &gone);
    write(&mut world, 10, 1..=2);
    world.sql.wait_until_settled();
    world
        .sql
        .wait_for("SELECT standing = 'disabled' AND reason = 'answered 410' FROM pgstream.webhook_endpoints");
    assert_eq!(world.sql.value::<i64>(BACKLOG), 20);
    let before = gone.requests().len();
    status.store(200, Ordering::SeqCst);
    write(&mut world, 10, 3..=3);
    world.sql.wait_until_settled();
    assert_eq!(
        gone.requests().len(),
        before,
        "nothing is sent while it is disabled"
    );
    world
        .sql
        .run("UPDATE pgstream.webhook_endpoints SET standing = 'active'");
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    assert_in_order(&gone.requests()[before..], 10, 3);
    assert!(program.terminate().0.success());
}

#[test]
fn what_is_unsubscribed_is_discarded_in_the_backlog_too() {
    let mut world = world();
    let (down, _) = switched(503);
    let program = world.start(&FAST);
    let url = down.url("/");
    subscribe(&program, &down);
    program.subscribe(&json!({"url": url, "schema": "public", "table": "others"}));
    world
        .sql
        .run("CREATE TABLE others (id bigint PRIMARY KEY, version bigint NOT NULL)");
    write(&mut world, 100, 1..=2);
    world.sql.run("INSERT INTO others VALUES (1, 1)");
    world.sql.wait_until_settled();
    assert_eq!(world.sql.value::<i64>(BACKLOG), 201);
    program.unsubscribe(&json!({"url": url, "schema": "public", "table": "items"}));
    world
        .sql
        .wait_for("SELECT count(*) <= 1 FROM pgstream.webhook_backlog");
    let left: Vec<String> = world
        .sql
        .values("SELECT table_name FROM pgstream.webhook_backlog");
    assert_eq!(left, ["others"]);
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.webhook_dead_letters"),
        0
    );
    assert!(program.terminate().0.success());
}

#[test]
fn a_backlog_is_drained_while_the_stream_goes_on() {
    let mut world = world();
    let (down, status) = switched(503);
    let mut program = world.start(&FAST);
    subscribe(&program, &down);
    write(&mut world, 200, 1..=10);
    world.sql.wait_until_settled();
    // Somebody writes all the time, a little each.
    let mut writer = Sql::open(&world.cluster, "postgres");
    let stop = Arc::new(AtomicBool::new(false));
    let writing = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut version = 10;
            while !stop.load(Ordering::SeqCst) {
                version += 1;
                // The pace of a stream that a debug build with a trace log can follow.
                thread::sleep(Duration::from_millis(5));
                writer.run(&format!("UPDATE items SET version = {version} WHERE id <= 5"));
            }
            version
        }
    });
    let failed = down.requests().len();
    status.store(200, Ordering::SeqCst);
    program.wait_for_log("the end of the detour", |line| {
        line["msg"] == "an endpoint's backlog is drained"
    });
    stop.store(true, Ordering::SeqCst);
    let last = writing.join().unwrap();
    world.sql.wait_until_delivered();
    let delivered = &down.requests()[failed..];
    assert_in_order(delivered, 5, last);
    assert_in_order(&of_rows(delivered, 6..=200), 0, 0);
    assert_eq!(of_rows(delivered, 6..=200).len(), 195 * 10);
    assert!(program.terminate().0.success());
}

/// The requests about these rows.
fn of_rows(requests: &[Arc<Request>], rows: std::ops::RangeInclusive<i64>) -> Vec<Arc<Request>> {
    let about = |request: &&Arc<Request>| rows.contains(&Change::of(request).key);
    requests.iter().filter(about).map(Arc::clone).collect()
}

#[test]
fn a_paused_endpoint_gets_nothing_and_loses_nothing() {
    let mut world = world();
    let receiver = receiver();
    let program = world.start(&FAST);
    subscribe(&program, &receiver);
    write(&mut world, 10, 1..=1);
    world.sql.wait_until_delivered();
    let url = receiver.url("/");
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_endpoints (url, standing) VALUES ('{url}', 'paused')"
    ));
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pgstream.webhook_endpoint_health WHERE health = 'paused'");
    write(&mut world, 10, 2..=3);
    world.sql.wait_until_settled();
    assert_eq!(receiver.requests().len(), 10);
    assert_eq!(world.sql.value::<i64>(BACKLOG), 20);
    world.sql.run("DELETE FROM pgstream.webhook_endpoints");
    world.sql.wait_until_delivered();
    assert_in_order(&receiver.requests(), 10, 3);
    assert_eq!(receiver.requests().len(), 30);
    assert!(program.terminate().0.success());
}

#[test]
fn what_an_operator_replays_goes_through_the_lanes_once_more() {
    let mut world = world();
    let (refusing, status) = switched(422);
    let program = world.start(&FAST);
    subscribe(&program, &refusing);
    write(&mut world, 10, 1..=2);
    world.sql.wait_until_settled();
    let letters = "SELECT count(*) FROM pgstream.webhook_dead_letters";
    assert_eq!(world.sql.value::<i64>(letters), 20);
    let first: Vec<String> = refusing
        .requests()
        .iter()
        .map(|request| webhook_id(request))
        .collect();
    status.store(200, Ordering::SeqCst);
    world.sql.run(
        "WITH gone AS (DELETE FROM pgstream.webhook_dead_letters RETURNING *)
         INSERT INTO pgstream.webhook_backlog (endpoint, webhook_id, replay_run, origin, schema_name, table_name, action,
                table_key, lane, moved_to, key_set, source, epoch, commit_lsn, lsn, payload)
         SELECT endpoint, webhook_id, 1, 'replay', schema_name, table_name, action,
                table_key, lane, moved_to, key_set, source, epoch, commit_lsn, lsn, payload FROM gone ORDER BY id",
    );
    let url = refusing.url("/");
    world
        .sql
        .run(&format!("SELECT pg_notify('pgstream_endpoints', '{url}')"));
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    let replayed = &refusing.requests()[first.len()..];
    assert_eq!(replayed.len(), 20);
    for request in replayed {
        assert_eq!(request.header("webhook-replay"), Some("true"));
        assert!(first.contains(&webhook_id(request)));
    }
    assert_in_order(replayed, 10, 2);
    assert!(program.terminate().0.success());
}
