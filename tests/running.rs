//! Suite `running`: what an operator asks for while the program runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::program::command;
use crate::support::receiver::{Action, Receiver};
use crate::support::world::{DEADLINE, FAST_RETRIES, World, receiver};

#[test]
fn a_pause_a_resume_and_a_replay_are_heard_of() {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE TABLE items (id bigint PRIMARY KEY, n bigint)");
    let broken = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::start({
        let broken = Arc::clone(&broken);
        move |_| Action::status(if broken.load(Ordering::Relaxed) { 422 } else { 200 })
    });
    let hook = receiver.url("/hook");
    let program = world.start(&FAST_RETRIES);
    // Of this table only: the schema log's event may be read before or after.
    program.subscribe(&json!({"url": hook, "schema": "public", "table": "items"}));
    let store = world.url();
    let cli = |arguments: &[&str]| command(&store, arguments);

    // Rows are written until the first one is kept, which is when the pause has been heard of.
    cli(&["endpoints", "pause", &hook, "--reason", "deploy"]);
    let begin = Instant::now();
    let mut rows = 0;
    while world
        .sql
        .value::<i64>("SELECT count(*) FROM pgstream.webhook_backlog")
        == 0
    {
        assert!(begin.elapsed() < DEADLINE, "the pause is not heard of");
        rows += 1;
        world.sql.run(&format!("INSERT INTO items VALUES ({rows}, 0)"));
        world.sql.wait_until_settled();
    }
    rows += 1;
    world.sql.run(&format!("INSERT INTO items VALUES ({rows}, 0)"));
    world.sql.wait_until_settled();
    let delivered = receiver.requests().len();
    assert!(delivered < rows, "the last two are kept: {delivered} of {rows}");
    cli(&["endpoints", "resume", &hook]);
    receiver.wait_for(|requests| requests.len() == rows, DEADLINE);
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");

    broken.store(true, Ordering::Relaxed);
    world.sql.run("UPDATE items SET n = 1 WHERE id = 1");
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pgstream.webhook_dead_letters WHERE reason = 'refused'");
    let listed: Value = serde_json::from_str(&cli(&["deadletters", "list", "--json"])).unwrap();
    let id = listed["dead_letters"][0]["webhook_id"].as_str().unwrap();
    broken.store(false, Ordering::Relaxed);
    cli(&["deadletters", "replay", "--id", id]);
    let requests = receiver.wait_for(|requests| requests.len() == rows + 2, DEADLINE);
    let [refused, replayed] = &requests[rows..] else {
        panic!("{requests:?}");
    };
    assert_eq!(refused.header("webhook-id"), Some(id));
    assert_eq!(refused.header("webhook-replay"), None);
    assert_eq!(replayed.header("webhook-id"), Some(id));
    assert_eq!(replayed.header("webhook-replay"), Some("true"));
    assert_eq!(replayed.body, refused.body);
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.webhook_dead_letters"),
        0
    );
}

#[test]
fn a_backlog_that_is_moved_is_delivered_to_its_new_endpoint_in_order() {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE TABLE items (id bigint PRIMARY KEY, n bigint)");
    let (old, new) = (Receiver::start(|_| Action::status(503)), receiver());
    let (from, to) = (old.url("/old"), new.url("/new"));
    let program = world.start(&FAST_RETRIES);
    program.subscribe(&json!({"url": from, "schema": "public", "table": "items"}));
    command(&world.url(), &["endpoints", "pause", &from]);
    world
        .sql
        .run("INSERT INTO items SELECT i, 0 FROM generate_series(1, 50) i");
    for n in 1..=4 {
        world.sql.run(&format!("UPDATE items SET n = {n}"));
    }
    world
        .sql
        .wait_for("SELECT count(*) = 250 FROM pgstream.webhook_backlog");
    let ids: Vec<String> = world
        .sql
        .values("SELECT webhook_id FROM pgstream.webhook_backlog ORDER BY webhook_id");

    // Nobody is subscribed for the new endpoint: what is moved is delivered all the same.
    command(&world.url(), &["endpoints", "move", &from, &to]);
    let requests = new.wait_for(|requests| requests.len() >= 250, DEADLINE);
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    let mut delivered: Vec<&str> = requests
        .iter()
        .map(|request| request.header("webhook-id").unwrap())
        .collect();
    delivered.sort_unstable();
    assert_eq!(delivered, ids);
    let mut last = vec![-1; 51];
    for request in &requests {
        let columns = request.json()["Data"]["columns"].clone();
        let (id, n) = (
            columns[0]["value"].as_i64().unwrap(),
            columns[1]["value"].as_i64().unwrap(),
        );
        let last = &mut last[usize::try_from(id).unwrap()];
        assert_eq!(n, *last + 1, "row {id} comes in order");
        *last = n;
    }
}

#[test]
fn settings_are_taken_over_by_the_next_deliveries() {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE TABLE items (id bigint PRIMARY KEY, n bigint)");
    let receiver = receiver();
    let hook = receiver.url("/hook");
    let program = world.start(&FAST_RETRIES);
    program.subscribe(&json!({"url": hook, "schema": "public", "table": "items"}));
    let store = world.url();
    let mut rows = 0;
    let mut write_until = |which: &str, batched: bool| {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < DEADLINE, "{which} is not heard of");
            let before = receiver.requests().len();
            world.sql.run(&format!(
                "INSERT INTO items SELECT i, 0 FROM generate_series({rows} + 1, {rows} + 20) i"
            ));
            rows += 20;
            world.sql.wait_until_settled();
            let requests = receiver.requests();
            let is_batch = |size: &str| {
                requests[before..]
                    .iter()
                    .any(|one| one.header("x-pgstream-batch-size") == Some(size))
            };
            if batched == is_batch("20") {
                return;
            }
        }
    };
    command(
        &store,
        &[
            "endpoints",
            "set",
            &hook,
            "--batch-size",
            "20",
            "--batch-wait",
            "1s",
        ],
    );
    write_until("a batch", true);
    command(&store, &["endpoints", "set", &hook, "--batch-size", "1"]);
    write_until("the end of batches", false);
    let sizes = receiver
        .requests()
        .iter()
        .map(|one| {
            one.header("x-pgstream-batch-size")
                .map_or(1, |size| size.parse().unwrap())
        })
        .sum::<i64>();
    assert_eq!(sizes, rows, "each row came once");
    world.sql.wait_until_settled();
    let (status, log) = program.terminate();
    assert!(status.success());
    let stopped = log.iter().find(|line| line["msg"] == "stopped").unwrap();
    assert_eq!(
        (
            stopped["delivered"].as_i64(),
            stopped["failed_attempts"].as_i64(),
            stopped["dead_letters"].as_i64()
        ),
        (Some(rows), Some(0), Some(0))
    );
}
