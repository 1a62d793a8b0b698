//! Suite `reconnecting`: what production does to a replication connection, and that nothing is lost or sent twice by it.

mod instances;
mod slots;

use std::collections::HashMap;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use pgstream::config::PgUrl;
use pgstream::demo::cluster::StopMode;
use pgstream::store;
use pgstream::store::slots::{Walsender, walsender};
use serde_json::{Value, json};

use crate::support::database::SLOT;
use crate::support::look::look;
use crate::support::program::{Program, pgstream};
use crate::support::proxy::{Fault, Proxy};
use crate::support::receiver::Receiver;
use crate::support::sessions::Stopped;
use crate::support::world::{Change, DEADLINE, Gate, Sql, World, receiver, webhook_id};

/// Connections are made again fast, and deliveries that are held are waited for.
const FAST: [(&str, &str); 3] = [
    ("PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT", "60s"),
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_MAX_INTERVAL", "100ms"),
];
/// The exit code where PostgreSQL refuses what is needed.
const REFUSED: i32 = 3;
/// The exit code where the source is not what was streamed.
const GAP: i32 = 4;

fn world(settings: &[(&str, &str)]) -> World {
    let mut world = World::new(settings);
    world.sql.run(
        "CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 0);
         CREATE TABLE noise (id bigint PRIMARY KEY)",
    );
    world
}

/// Streams through the proxy; the store is reached without it.
fn start_through(world: &World, proxy: &Proxy, settings: &[(&str, &str)]) -> Program {
    let store = world.url();
    let own = [("PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL", store.as_str())];
    let settings = [&own, &FAST[..], settings].concat();
    Program::spawn(&proxy.url("postgres"), SLOT, &settings)
}

fn start(world: &World) -> Program {
    world.start(&FAST)
}

fn subscribe(program: &Program, receiver: &Receiver) {
    program.subscribe(&json!({"url": receiver.url("/"), "schema": "public", "table": "items"}));
}

fn insert(sql: &mut Sql, ids: std::ops::RangeInclusive<i64>) {
    let (first, last) = (ids.start(), ids.end());
    sql.run(&format!(
        "INSERT INTO items SELECT id FROM generate_series({first}, {last}) AS id"
    ));
}

/// Each of these rows came, and came once.
fn assert_once(receiver: &Receiver, ids: std::ops::RangeInclusive<i64>) {
    let mut came: HashMap<i64, usize> = HashMap::new();
    for request in receiver.requests() {
        *came.entry(Change::of(&request).key).or_default() += 1;
    }
    let missing: Vec<_> = ids.clone().filter(|id| !came.contains_key(id)).collect();
    let twice: Vec<_> = came.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
    assert!(twice.is_empty(), "sent more than once: {twice:?}");
    assert_eq!(came.len(), ids.count(), "nothing else came");
}

fn wait_for_arrivals(gate: &Gate, requests: usize) {
    let deadline = Instant::now() + DEADLINE;
    while gate.arrived() < requests {
        assert!(Instant::now() < deadline, "only {} requests came", gate.arrived());
        thread::sleep(Duration::from_millis(5));
    }
}

fn times(program: &Program, message: &str) -> usize {
    program.log().iter().filter(|line| line["msg"] == message).count()
}

fn is_lost(line: &Value) -> bool {
    line["msg"] == "the replication connection is lost"
}

/// How it ended, and what it said last.
fn end(mut program: Program) -> (Option<i32>, String) {
    let status: ExitStatus = program.wait();
    let last = program
        .log()
        .into_iter()
        .rfind(|line| line["level"] == "critical");
    let last = last.map(|line| line["msg"].as_str().unwrap_or_default().to_owned());
    (status.code(), last.unwrap_or_default())
}

#[test]
fn a_connection_that_is_cut_in_any_phase_loses_and_repeats_nothing() {
    // From before the first byte over the authentication, the settings, the slot and the start of the stream into transactions.
    let mut faults: Vec<Fault> = [
        0, 1, 8, 9, 40, 200, 400, 450, 500, 600, 700, 800, 900, 1_000, 1_300, 1_700, 2_500, 4_000, 9_000,
        20_000,
    ]
    .map(Fault::CutAfter)
    .to_vec();
    faults.insert(
        12,
        Fault::DripAndCut {
            delay: Duration::from_millis(1),
            piece: 7,
            total: 1_500,
        },
    );
    let mut world = world(&[]);
    let proxy = Proxy::with_faults(&world.cluster, &faults);
    let receiver = receiver();
    let program = start_through(&world, &proxy, &[]);
    subscribe(&program, &receiver);
    for first in 0..20 {
        insert(&mut world.sql, first * 10 + 1..=first * 10 + 10);
    }
    // One that several connections break off.
    insert(&mut world.sql, 201..=500);
    for id in 501..=520 {
        insert(&mut world.sql, id..=id);
    }
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=520);
    assert!(proxy.replications() > faults.len(), "each fault has come");
    let (status, _) = program.terminate();
    assert!(status.success());
}

#[test]
fn walsenders_that_are_terminated_lose_and_repeat_nothing() {
    let mut world = world(&[]);
    let (receiver, gate) = Gate::with_receiver();
    let program = start(&world);
    subscribe(&program, &receiver);
    for round in 0..5 {
        let before = gate.arrived();
        insert(&mut world.sql, round * 20 + 1..=round * 20 + 20);
        wait_for_arrivals(&gate, before + 1);
        // What is in flight stays there.
        world
            .sql
            .run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
        gate.let_through(before + 15);
        wait_for_arrivals(&gate, before + 15);
        world
            .sql
            .wait_for("SELECT count(*) = 1 FROM pg_replication_slots WHERE active");
    }
    gate.open();
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=100);
    assert!(times(&program, "the replication connection is lost") >= 1);
    program.wait_until_ready();
    assert!(program.metrics().value("pgstream_reconnects_total") >= 1.0);
    let last = program.terminate();
    assert!(last.0.success());
}

/// With something in flight that the server waits for to be confirmed before it stops.
fn restart_with_pending_deliveries(mode: StopMode) {
    let mut world = world(&[]);
    let (receiver, gate) = Gate::with_receiver();
    let mut program = start(&world);
    subscribe(&program, &receiver);
    insert(&mut world.sql, 1..=30);
    // The first one is tried alone.
    gate.let_through(5);
    wait_for_arrivals(&gate, 6);
    world
        .cluster
        .stop(mode)
        .expect("the server is not kept from stopping");
    program.wait_for_log("a lost connection", is_lost);
    gate.open();
    world.cluster.restart().unwrap();
    world.sql = Sql::open(&world.cluster, "postgres");
    insert(&mut world.sql, 31..=60);
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=60);
    let (status, _) = program.terminate();
    assert!(status.success());
}

#[test]
fn a_server_that_is_restarted_is_not_held_up_and_loses_and_repeats_nothing() {
    restart_with_pending_deliveries(StopMode::Fast);
}

#[test]
fn a_server_that_crashes_loses_and_repeats_nothing() {
    restart_with_pending_deliveries(StopMode::Immediate);
}

#[test]
fn a_connection_that_goes_silent_is_seen_to_be_dead_by_another_one() {
    let mut world = world(&[("wal_sender_timeout", "2s")]);
    let proxy = Proxy::of(&world.cluster);
    let receiver = receiver();
    let mut program = start_through(&world, &proxy, &[]);
    subscribe(&program, &receiver);
    insert(&mut world.sql, 1..=10);
    world.sql.wait_until_delivered();
    // The server gives up, and its end of the connection does not come through.
    proxy.stall(true);
    insert(&mut world.sql, 11..=20);
    let lost = program.wait_for_log("a lost connection", is_lost);
    assert!(lost["error"].as_str().unwrap().contains("is gone"), "{lost}");
    proxy.stall(false);
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=20);
}

#[test]
fn a_walsender_that_says_nothing_for_long_is_left_alone() {
    let mut world = world(&[("wal_sender_timeout", "3s")]);
    let receiver = receiver();
    let mut program = start(&world);
    subscribe(&program, &receiver);
    insert(&mut world.sql, 1..=10);
    world.sql.wait_until_delivered();
    // As if it had a huge transaction to skip, and no time to say so.
    let pid: i32 = world
        .sql
        .value("SELECT active_pid FROM pg_replication_slots WHERE active");
    let walsender = Stopped::process(pid);
    program.wait_for_log("the silence", |line| {
        line["msg"] == "the walsender is silent, and still there"
    });
    drop(walsender);
    insert(&mut world.sql, 11..=20);
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=20);
    assert_eq!(times(&program, "the replication connection is lost"), 0);
}

#[test]
fn a_walsender_that_skips_a_huge_transaction_is_left_alone() {
    let mut world = world(&[("wal_sender_timeout", "2s")]);
    let receiver = receiver();
    let settings = [&FAST[..], &[("PGSTREAM_FILTER_EXCLUDE_TABLES", "public.noise")]].concat();
    let program = world.start(&settings);
    subscribe(&program, &receiver);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = PgUrl::parse(&world.url()).unwrap();
    let pool = runtime.block_on(store::connect(&url)).unwrap();
    let pid = world.sql.value("SELECT active_pid FROM pg_replication_slots");
    let wait_for = |expected: Walsender| {
        let deadline = Instant::now() + DEADLINE;
        while runtime.block_on(walsender(&pool, SLOT, pid)) != Some(expected) {
            assert!(Instant::now() < deadline, "never {expected:?}");
        }
    };
    wait_for(Walsender::There);
    world
        .sql
        .run("INSERT INTO noise SELECT generate_series(1, 1500000)");
    wait_for(Walsender::AtWork);
    // Nobody is called for it.
    let answered = program.ask("GET", "/readyz");
    assert_eq!(answered.status, 200, "{}", answered.body);
    insert(&mut world.sql, 1..=10);
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=10);
    assert_eq!(times(&program, "the replication connection is lost"), 0);
    wait_for(Walsender::There);
    drop(program);
    wait_for(Walsender::Gone);
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_given_up_in_every_phase() {
    // After the authentication, and within what is asked before the stream starts.
    let world = world(&[]);
    let proxy = Proxy::with_faults(&world.cluster, &[Fault::StallAfter(450), Fault::StallAfter(900)]);
    let url = format!("{}&connect_timeout=2", proxy.url("postgres"));
    let store = world.url();
    let own = [("PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL", store.as_str())];
    let program = Program::start(&url, SLOT, &[&own, &FAST[..]].concat());
    let given_up = program.log().into_iter().filter(|line| {
        let error = line["error"].as_str().unwrap_or_default();
        error.contains("within 2s")
    });
    assert_eq!(given_up.count(), 2);
    assert_eq!(proxy.replications(), 3);
}

#[test]
fn what_does_not_heal_ends_the_program_at_once() {
    let mut world = world(&[]);
    world
        .sql
        .run("CREATE ROLE weak LOGIN REPLICATION IN ROLE postgres");
    world
        .sql
        .run("SELECT pg_create_logical_replication_slot('test', 'test_decoding')");
    let program = Program::start(&world.cluster.url_as("weak", "postgres"), SLOT, &FAST);
    world.sql.run("ALTER ROLE weak NOREPLICATION");
    world
        .sql
        .run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
    let (code, said) = end(program);
    assert_eq!(code, Some(REFUSED), "{said}");
    assert!(said.contains("42501"), "{said}");
    for (url, slot, expected) in [
        (world.url(), "nowhere", "pgstream init"),
        (world.url(), "test", "output plugin is test_decoding"),
        (world.cluster.url("nowhere"), SLOT, "\"nowhere\" does not exist"),
        (
            world.cluster.url_as("nobody", "postgres"),
            SLOT,
            "\"nobody\" does not exist",
        ),
    ] {
        let output = pgstream(&["run"])
            .env("PGSTREAM_POSTGRES_LISTENER_URL", url)
            .env("PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME", slot)
            .env("PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_ADDRESS", "127.0.0.1:0")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(REFUSED), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    // The store is elsewhere, and not what is to blame.
    let output = pgstream(&["run"])
        .env("PGSTREAM_POSTGRES_LISTENER_URL", world.cluster.url("nowhere"))
        .env("PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL", world.url())
        .env("PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME", SLOT)
        .env("PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_ADDRESS", "127.0.0.1:0")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(REFUSED), "{said}");
    assert!(said.contains("cannot use the source"), "{said}");
}

#[test]
fn without_retries_a_lost_connection_ends_the_program() {
    let mut world = world(&[]);
    let settings = [("PGSTREAM_POSTGRES_LISTENER_DISABLE_RETRIES", "true")];
    let program = world.start(&settings);
    world
        .sql
        .run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
    let (code, said) = end(program);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("57P01"), "{said}");
}
