//! Kills at the boundaries of what is durable, one test each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::program::{Program, command};
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{Change, DEADLINE, FAST_RETRIES, World, confirmed_reaches, receiver, webhook_id};

/// Rows that are written.
const ROWS: i64 = 40;
/// The ids of what is in the backlog.
const BACKLOG: &str = "SELECT webhook_id FROM pgstream.webhook_backlog";

/// A receiver that answers as long as its gate is open.
struct Gated {
    receiver: Receiver,
    /// How many more requests it answers; the others hang.
    left: Arc<AtomicI64>,
    /// What it answers.
    status: Arc<AtomicU16>,
}

impl Gated {
    /// Answers so many requests with this status.
    fn start(left: i64, status: u16) -> Self {
        let (left, status) = (Arc::new(AtomicI64::new(left)), Arc::new(AtomicU16::new(status)));
        let receiver = Receiver::start({
            let (left, status) = (Arc::clone(&left), Arc::clone(&status));
            move |_| {
                if left.fetch_sub(1, Ordering::SeqCst) > 0 {
                    Action::status(status.load(Ordering::SeqCst))
                } else {
                    Action::Hang
                }
            }
        });
        Self {
            receiver,
            left,
            status,
        }
    }

    fn open(&self) {
        self.take(i64::MAX);
    }

    /// Takes so many more requests.
    fn take(&self, more: i64) {
        self.status.store(200, Ordering::SeqCst);
        self.left.store(more, Ordering::SeqCst);
    }
}

fn world() -> World {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE TABLE items (id bigint PRIMARY KEY, version bigint)");
    world
}

fn start(world: &World) -> Program {
    world.start(&FAST_RETRIES)
}

fn subscribe(program: &Program, url: &str) {
    program.subscribe(&json!({"url": url, "schema": "public", "table": "items"}));
}

/// Inserts all rows as version 1.
fn insert(world: &mut World) {
    world.sql.run(&format!(
        "INSERT INTO items SELECT n, 1 FROM generate_series(1, {ROWS}) n"
    ));
}

fn update(world: &mut World, version: i64) {
    world.sql.run(&format!("UPDATE items SET version = {version}"));
}

fn kill(mut program: Program) {
    program.signal(Signal::SIGKILL);
    program.wait();
}

fn ids<'r>(requests: impl IntoIterator<Item = &'r Arc<Request>>) -> BTreeSet<String> {
    requests.into_iter().map(|request| webhook_id(request)).collect()
}

/// What is in the backlog; none of it is there twice.
fn backlog(world: &mut World) -> BTreeSet<String> {
    let rows: Vec<String> = world.sql.values(BACKLOG);
    let ids: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(ids.len(), rows.len(), "nothing is there twice");
    ids
}

/// Every version of every row came, for the first time in order, and always with the same id.
fn assert_all_came_in_order(requests: &[Arc<Request>], versions: i64) {
    let mut firsts: Vec<Vec<(i64, String)>> = vec![Vec::new(); usize::try_from(ROWS).unwrap() + 1];
    for request in requests {
        let Change { key, second, .. } = Change::of(request);
        let firsts = &mut firsts[usize::try_from(key).unwrap()];
        let id = webhook_id(request);
        match firsts.iter().find(|(version, _)| *version == second) {
            Some((_, known)) => assert_eq!(*known, id, "row {key}, version {second} has two ids"),
            None => firsts.push((second, id)),
        }
    }
    let all: Vec<i64> = (1..=versions).collect();
    for (row, firsts) in firsts.iter().enumerate().skip(1) {
        let came: Vec<i64> = firsts.iter().map(|(version, _)| *version).collect();
        assert_eq!(came, all, "row {row}");
    }
}

#[test]
fn after_the_post_and_before_it_is_settled() {
    let mut world = world();
    let hook = Gated::start(ROWS / 2, 200);
    let program = start(&world);
    subscribe(&program, &hook.receiver.url("/"));
    insert(&mut world);
    update(&mut world, 2);
    let end = world.sql.wal_end();
    // Half of what is sent at first is answered; what hangs holds the transaction open.
    let all_rows = |requests: &[Arc<Request>]| {
        let rows: BTreeSet<i64> = requests.iter().map(|request| Change::of(request).key).collect();
        rows.len() == usize::try_from(ROWS).unwrap()
    };
    hook.receiver.wait_for(all_rows, DEADLINE);
    assert!(!world.sql.value::<bool>(&confirmed_reaches(&end)));
    kill(program);
    let before = hook.receiver.requests().len();

    hook.open();
    let program = start(&world);
    world.sql.wait_until_delivered();
    let requests = hook.receiver.requests();
    assert_all_came_in_order(&requests, 2);
    // Nothing was confirmed, so what was answered before comes again too.
    let again = ids(&requests[before..]);
    assert!(ids(&requests[..before]).is_subset(&again));
    assert!(program.terminate().0.success());
}

#[test]
fn after_the_backlog_is_written_and_before_it_is_confirmed() {
    let mut world = world();
    let (kept, holding) = (receiver(), Gated::start(0, 200));
    let (kept_url, holding_url) = (kept.url("/kept"), holding.receiver.url("/holding"));
    let program = start(&world);
    subscribe(&program, &kept_url);
    subscribe(&program, &holding_url);
    command(&world.url(), &["endpoints", "pause", &kept_url]);
    insert(&mut world);
    update(&mut world, 2);
    let end = world.sql.wal_end();
    world.sql.wait_for(&format!(
        "SELECT count(*) >= 2 * {ROWS} FROM pgstream.webhook_backlog WHERE endpoint = '{kept_url}'"
    ));
    assert!(
        !world.sql.value::<bool>(&confirmed_reaches(&end)),
        "the other endpoint holds it"
    );
    kill(program);
    let written = backlog(&mut world);

    // It is read again, and known.
    holding.open();
    let program = start(&world);
    world.sql.wait_until_settled();
    assert_all_came_in_order(&holding.receiver.requests(), 2);
    assert_eq!(backlog(&mut world), written);
    command(&world.url(), &["endpoints", "resume", &kept_url]);
    world.sql.wait_until_delivered();
    let requests = kept.requests();
    assert_all_came_in_order(&requests, 2);
    assert_eq!(requests.len(), written.len(), "each came once");
    assert!(program.terminate().0.success());
}

#[test]
fn while_a_backlog_is_drained() {
    let mut world = world();
    let hook = Gated::start(ROWS + ROWS / 2, 200);
    let url = hook.receiver.url("/");
    let program = start(&world);
    subscribe(&program, &url);
    command(&world.url(), &["endpoints", "pause", &url]);
    insert(&mut world);
    (2..=4).for_each(|version| update(&mut world, version));
    world.sql.wait_for(&format!(
        "SELECT count(*) = 4 * {ROWS} FROM pgstream.webhook_backlog"
    ));
    command(&world.url(), &["endpoints", "resume", &url]);
    // Some rows are delivered and deleted, others hang.
    world.sql.wait_for(&format!(
        "SELECT count(*) < 4 * {ROWS} FROM pgstream.webhook_backlog"
    ));
    hook.receiver
        .wait_for(|requests| requests.len() as i64 > ROWS + ROWS / 2, DEADLINE);
    kill(program);
    let before = hook.receiver.requests().len();
    let left = backlog(&mut world);
    assert!(!left.is_empty());

    hook.open();
    let program = start(&world);
    world.sql.wait_until_delivered();
    let requests = hook.receiver.requests();
    assert_all_came_in_order(&requests, 4);
    assert_eq!(
        ids(&requests[before..]),
        left,
        "what was left comes, and nothing else"
    );
    assert!(program.terminate().0.success());
}

#[test]
fn while_dead_letters_are_replayed() {
    let mut world = world();
    let hook = Gated::start(ROWS, 422);
    let url = hook.receiver.url("/");
    let program = start(&world);
    subscribe(&program, &url);
    insert(&mut world);
    world.sql.wait_for(&format!(
        "SELECT count(*) = {ROWS} FROM pgstream.webhook_dead_letters"
    ));
    let dead: BTreeSet<String> = world
        .sql
        .values("SELECT webhook_id FROM pgstream.webhook_dead_letters")
        .into_iter()
        .collect();

    // Else they would come again from the stream as well.
    world.sql.wait_until_settled();
    hook.take(ROWS / 4);
    command(&world.url(), &["deadletters", "replay", "--endpoint", &url]);
    world
        .sql
        .wait_for(&format!("SELECT count(*) < {ROWS} FROM pgstream.webhook_backlog"));
    hook.receiver
        .wait_for(|requests| requests.len() as i64 > ROWS + ROWS / 4, DEADLINE);
    kill(program);
    let before = hook.receiver.requests().len();
    let left = backlog(&mut world);
    assert!(!left.is_empty());

    hook.open();
    let program = start(&world);
    world.sql.wait_until_delivered();
    let requests = hook.receiver.requests();
    let replayed = &requests[usize::try_from(ROWS).unwrap()..];
    for (number, request) in replayed.iter().enumerate() {
        let header = request.header("webhook-replay");
        assert_eq!(
            header,
            Some("true"),
            "request {number} of {}, {before} before",
            replayed.len()
        );
    }
    assert_eq!(ids(replayed), dead);
    assert_eq!(
        ids(&requests[before..]),
        left,
        "what was left comes, and nothing else"
    );
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.webhook_dead_letters"),
        0
    );
    assert!(program.terminate().0.success());
}
