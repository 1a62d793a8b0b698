//! Suite `backlog`: what an endpoint does not take is kept, in order, and holds nothing else back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::program::Program;
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{Change, DEADLINE, World, receiver, webhook_id};

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
    program.wait_for_log("the outage", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.starts_with("endpoint is down"))
    });
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
