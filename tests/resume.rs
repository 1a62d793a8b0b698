//! Suite `resume`: what happens to changes when the program, the receiver or the connection stops for a while.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pgstream::backoff::Backoff;
use pgstream::delivery::{Dispatcher, Limits};
use pgstream::event::Source;
use pgstream::pipeline::{self, HoldParts, Holds, NoSnapshots, Parts, RememberedPosition, StreamIntake};
use pgstream::progress::{Budget, Ledger};
use pgstream::replication::{Connector, Link, SessionOptions, StartFrom, Vitals, stream};
use pgstream::store::{self, sources};
use pgstream::subscription::cache::{CacheMode, Subscriptions};
use pgstream_proto::Lsn;
use serde_json::json;
use slog::{Discard, Logger, o};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::database::{self, SLOT};
use crate::support::engine::limits;
use crate::support::program::Program;
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{
    Change, DEADLINE, FAST_RETRIES, Sql, World, confirmed_reaches, ids_by_row, receiver,
};

/// The rows of the big transactions.
const ROWS: usize = 50_000;
/// How long the program gives what is in flight at its end.
const GRACE: Duration = Duration::from_secs(10);
/// What a loaded machine may add to that.
const MARGIN: Duration = Duration::from_secs(5);

/// A transaction of [`ROWS`] rows of `items`, some of them in one WAL record, between rows of `others`.
fn big_transaction(sql: &mut Sql) {
    sql.run(&format!(
        "BEGIN;
         INSERT INTO others SELECT generate_series(1, 500);
         INSERT INTO items SELECT i, i FROM generate_series(1, {}) AS i;
         COPY items (id) FROM PROGRAM 'seq {} {ROWS}';
         INSERT INTO others SELECT generate_series(501, 1000);
         COMMIT",
        ROWS - 1_000,
        ROWS - 999,
    ));
}

fn world_with_tables(settings: &[(&str, &str)]) -> World {
    let mut world = World::new(settings);
    world.sql.run(
        "CREATE TABLE items (id bigint PRIMARY KEY, n bigint); CREATE TABLE others (id bigint PRIMARY KEY)",
    );
    world
}

/// The keys that came of a table.
fn keys(requests: &[Arc<Request>], table: &str) -> HashSet<i64> {
    let changes = requests.iter().map(|request| Change::of(request));
    changes
        .filter(|change| change.table == table)
        .map(|change| change.key)
        .collect()
}

fn assert_all(requests: &[Arc<Request>], table: &str, rows: usize) {
    let keys = keys(requests, table);
    let missing = (1..=rows as i64).filter(|key| !keys.contains(key)).count();
    assert_eq!(missing, 0, "of {rows} rows of {table}");
}

/// Waits until the receiver has had so many requests; looking at them is left to the test.
fn wait_for(receiver: &Receiver, count: usize) -> Vec<Arc<Request>> {
    receiver.wait_for(|requests| requests.len() >= count, DEADLINE)
}

/// The slot's confirmed position.
fn confirmed(sql: &mut Sql) -> String {
    sql.value(&format!(
        "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
    ))
}

#[test]
fn killed_within_a_transaction_it_sends_every_row_again_under_the_same_id() {
    let mut world = world_with_tables(&[]);
    let receiver = receiver();
    let program = world.start(&[]);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    big_transaction(&mut world.sql);
    wait_for(&receiver, ROWS / 5);
    drop(program);
    let before = receiver.requests().len();
    assert!(before < ROWS, "it was killed within the transaction");

    // Meanwhile others subscribe, so that more of the transaction is delivered than before.
    let (more, url) = (receiver.url("/more"), receiver.url("/"));
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions VALUES ('{more}', 'public', 'others', '{{}}');
         UPDATE pgstream.webhook_subscriptions SET table_name = '', event_types = '{{I,D}}' WHERE url = '{url}'"
    ));
    let program = world.start(&[]);
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    assert_all(&requests, "others", 1_000);
    assert_all(&requests[before..], "items", ROWS);
    let ids = ids_by_row(&requests);
    let distinct: HashSet<&String> = ids.values().collect();
    assert_eq!(distinct.len(), ROWS + 1_000, "no two rows share an id");
    assert!(program.terminate().0.success());
}

#[test]
fn stopped_within_a_transaction_it_loses_nothing() {
    let mut world = world_with_tables(&[]);
    let receiver = receiver();
    let program = world.start(&[]);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    let before = confirmed(&mut world.sql);
    big_transaction(&mut world.sql);
    wait_for(&receiver, ROWS / 10);
    let start = Instant::now();
    let (status, _) = program.terminate();
    assert!(status.success());
    assert!(start.elapsed() < GRACE + MARGIN, "{:?}", start.elapsed());
    let delivered = receiver.requests().len();
    assert!(delivered < ROWS, "it was stopped within the transaction");
    let ahead: bool = world.sql.value(&format!(
        "SELECT confirmed_flush_lsn < pg_current_wal_lsn() AND confirmed_flush_lsn >= '{before}' FROM pg_replication_slots"
    ));
    assert!(ahead, "the transaction is not confirmed");

    let program = world.start(&[]);
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    assert_all(&requests[delivered..], "items", ROWS);
    ids_by_row(&requests);
    assert!(program.terminate().0.success());
}

/// What the plugin leaves out, and to whom the rest goes.
async fn ids_read_from(
    world: &World,
    slot: &str,
    left_out: &[&str],
    receiver: Receiver,
    count: usize,
) -> HashMap<(String, i64), String> {
    let (log, stop) = (Logger::root(Discard, o!()), CancellationToken::new());
    let url = database::url(&world.cluster, "postgres");
    let options = SessionOptions {
        slot: slot.to_owned(),
        add_tables: Vec::new(),
        filter_tables: left_out.iter().map(ToString::to_string).collect(),
        vitals: Arc::new(Vitals::new(Instant::now())),
    };
    let mut connector = Connector {
        url: url.clone(),
        options,
        backoff: Backoff::Constant {
            interval: Duration::ZERO,
        },
        max_retries: Some(0),
        stop: stop.clone(),
        log: log.clone(),
        failures: 0,
    };
    let session = connector.connect(&StartFrom::default()).await.unwrap();
    let pool = store::connect(&url).await.unwrap();
    let (subscriptions, refreshing) =
        Subscriptions::load(pool.clone(), CacheMode::OnDemand, log.clone(), stop.clone())
            .await
            .unwrap();
    let limits = Limits {
        workers: 8,
        ..limits()
    };
    let budget = Budget::new(1 << 20);
    let dispatcher = Dispatcher::start(limits, pool.clone(), Arc::clone(&budget), log.clone());
    let dispatcher = Arc::new(dispatcher.unwrap());
    let settled = Arc::new(Notify::new());
    let (holds, _) = Holds::start(HoldParts {
        start: session.start,
        open: Vec::new(),
        store: pool.clone(),
        dispatcher: Arc::clone(&dispatcher),
        budget: Arc::clone(&budget),
        wake: Arc::clone(&settled),
        max_bytes: u64::MAX,
        log: log.clone(),
    });
    let row = sources::Source {
        system_identifier: session.identity.system_identifier,
        timeline: session.identity.timeline,
        epoch: 1,
        confirmed: session.start,
        bound: pipeline::bound(session.start, 0),
    };
    sources::take_over(&pool, slot, &row, 1).await.unwrap();
    let (position, remembering) = pipeline::remember(
        pool.clone(),
        (slot.to_owned(), 1),
        row,
        Arc::clone(&settled),
        log.clone(),
    );
    let mut intake = StreamIntake::new(Parts {
        source: Source {
            system_identifier: session.identity.system_identifier,
            epoch: 1,
        },
        catalog: pool.clone(),
        subscriptions,
        filter: pgstream::filter::TableFilter::default(),
        snapshots: Box::new(NoSnapshots),
        holds,
        left_out: Vec::new(),
        includes_are_sent_only: false,
        injector: None,
        ledger: Ledger::new(session.start, Arc::clone(&settled)),
        position: RememberedPosition {
            position,
            highest_mark: Lsn::ZERO,
        },
        budget,
        dispatcher: Arc::clone(&dispatcher),
        store: pool.clone(),
        strict: false,
        counts: Arc::default(),
        log: log.clone(),
    });
    let all_came = {
        let stop = stop.clone();
        async move {
            let requests = tokio::task::spawn_blocking(move || wait_for(&receiver, count))
                .await
                .unwrap();
            stop.cancel();
            requests
        }
    };
    let finished = async {
        dispatcher.stop_exchanges(GRACE);
        dispatcher.stop_keeping(GRACE).await;
    };
    let link = Link {
        session,
        connector,
        witness: Box::new(|_| Box::pin(async { None })),
    };
    let (streamed, requests) = tokio::join!(
        stream(link, &mut intake, &settled, &stop, finished, &log),
        all_came
    );
    remembering.end(streamed.unwrap()).await;
    drop(intake);
    refreshing.join().await;
    pool.close().await;
    assert_eq!(requests.len(), count);
    ids_by_row(&requests)
}

#[test]
fn ids_do_not_depend_on_the_tables_that_are_left_out() {
    let mut world = world_with_tables(&[]);
    world
        .sql
        .run("SELECT pg_create_logical_replication_slot('second', 'wal2json')");
    world.sql.run(
        "BEGIN; COPY others FROM PROGRAM 'seq 1 100'; COPY items (id) FROM PROGRAM 'seq 1 100';
         INSERT INTO others VALUES (101); INSERT INTO items VALUES (101); TRUNCATE others, items; COMMIT",
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut read = |slot, left_out: &[&str], count| {
        let receiver = receiver();
        world.sql.run(&format!(
            "DELETE FROM pgstream.webhook_subscriptions;
             INSERT INTO pgstream.webhook_subscriptions VALUES ('{}', 'public')",
            receiver.url("/")
        ));
        runtime.block_on(ids_read_from(&world, slot, left_out, receiver, count))
    };
    let all = read(SLOT, &[], 2 * 102);
    let mut of_items = read(
        "second",
        &["public.others", "pgstream.webhook_subscriptions"],
        102,
    );
    assert!(of_items.keys().all(|(table, _)| table == "items"));
    of_items.extend(
        all.iter()
            .filter(|((table, _), _)| table == "others")
            .map(|(row, id)| (row.clone(), id.clone())),
    );
    assert_eq!(of_items, all);
}

#[test]
fn a_refused_change_holds_the_confirmed_position_back() {
    const REFUSED: i64 = 5;
    let mut world = world_with_tables(&[("wal_sender_timeout", "1500ms")]);
    let (well, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let receiver = Receiver::start({
        let (well, tries) = (Arc::clone(&well), Arc::clone(&tries));
        move |request| {
            let refused = Change::of(request).key == REFUSED && !well.load(Ordering::SeqCst);
            tries.fetch_add(usize::from(refused), Ordering::SeqCst);
            Action::status(if refused { 503 } else { 200 })
        }
    });
    let many = [("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_RETRIES", "1000000")];
    let program = world.start(&[&FAST_RETRIES[..], &many].concat());
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    let mut ends = vec![world.sql.wal_end()];
    for key in 1..=2 * REFUSED {
        world.sql.run(&format!("INSERT INTO items VALUES ({key})"));
        ends.push(world.sql.wal_end());
    }
    let updates = || {
        program
            .log()
            .iter()
            .filter(|line| line["msg"] == "status update")
            .count()
    };
    receiver.wait_for(
        |requests| keys(requests, "items").len() == ends.len() - 1,
        DEADLINE,
    );
    let (before, deadline) = (updates(), Instant::now() + DEADLINE);
    while updates() < before + 4 || tries.load(Ordering::SeqCst) < 10 {
        let between: bool = world.sql.value(&format!(
            "SELECT confirmed_flush_lsn < '{}' FROM pg_replication_slots",
            ends[REFUSED as usize]
        ));
        assert!(between, "the change that was refused is confirmed");
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    let reached: bool = world.sql.value(&format!(
        "SELECT confirmed_flush_lsn > '{}' FROM pg_replication_slots",
        ends[REFUSED as usize - 2]
    ));
    assert!(reached, "what came before it is confirmed");
    well.store(true, Ordering::SeqCst);
    world.sql.wait_until_delivered();
}

#[test]
fn the_slot_of_an_idle_database_follows_the_wal_of_others() {
    let mut world = World::new(&[]);
    world.sql.run("CREATE DATABASE elsewhere");
    let program = world.start(&[]);
    let before = confirmed(&mut world.sql);
    let mut elsewhere = Sql::open(&world.cluster, "elsewhere");
    elsewhere.run("CREATE TABLE t AS SELECT generate_series(1, 10000) AS id");
    let end = elsewhere.wal_end();
    elsewhere.wait_for(&confirmed_reaches(&end));
    let advanced: bool = elsewhere.value(&format!("SELECT '{end}'::pg_lsn - '{before}'::pg_lsn > 500000"));
    assert!(advanced, "{before} {end}");
    assert!(program.terminate().0.success());
}

/// Somebody who inserts rows 1, 2, … into `items` until told to stop, at most [`LEAD`] ahead of what has arrived.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

/// See [`Writer`].
const LEAD: usize = 200;

impl Writer {
    fn start(world: &World, arrived: &Arc<AtomicUsize>) -> Self {
        let mut sql = Sql::open(&world.cluster, "postgres");
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = thread::spawn({
            let (stop, written, arrived) = (Arc::clone(&stop), Arc::clone(&written), Arc::clone(arrived));
            move || {
                while !stop.load(Ordering::SeqCst) {
                    if written.load(Ordering::SeqCst) > arrived.load(Ordering::SeqCst) + LEAD {
                        thread::sleep(Duration::from_millis(1));
                        continue;
                    }
                    let key = written.load(Ordering::SeqCst) + 1;
                    sql.run(&format!("INSERT INTO items VALUES ({key})"));
                    written.store(key, Ordering::SeqCst);
                }
            }
        });
        Self {
            stop,
            written,
            thread,
        }
    }

    /// Waits until it has written a few more rows.
    fn wait_for_more(&self) {
        let (wanted, deadline) = (
            self.written.load(Ordering::SeqCst) + 20,
            Instant::now() + DEADLINE,
        );
        while self.written.load(Ordering::SeqCst) < wanted {
            assert!(Instant::now() < deadline, "the writer is stuck");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops it; returns how many rows there are.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.written.load(Ordering::SeqCst)
    }
}

/// A program that waits for an answer for as long as a test lasts.
fn patient(world: &World) -> Program {
    world.start(&[("PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT", "60s")])
}

#[test]
fn stopped_under_load_it_gives_what_is_in_flight_its_time_and_loses_nothing() {
    const STUCK: i64 = 100;
    let mut world = world_with_tables(&[]);
    let (stuck, arrived) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let receiver = Receiver::start({
        let (stuck, arrived) = (Arc::clone(&stuck), Arc::clone(&arrived));
        move |request| {
            arrived.fetch_add(1, Ordering::SeqCst);
            let hangs = Change::of(request).key == STUCK && stuck.load(Ordering::SeqCst);
            if hangs { Action::Hang } else { Action::status(200) }
        }
    });
    let program = patient(&world);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    let writer = Writer::start(&world, &arrived);
    wait_for(&receiver, 3 * STUCK as usize);
    let start = Instant::now();
    let (status, log) = program.terminate();
    let took = start.elapsed();
    assert!(status.success());
    assert!(GRACE <= took && took < GRACE + MARGIN, "{took:?}");
    assert!(
        log.iter().any(|line| line["undelivered"].as_u64() >= Some(1)),
        "it is said that some were not made"
    );

    stuck.store(false, Ordering::SeqCst);
    let program = patient(&world);
    wait_for(&receiver, 4 * STUCK as usize);
    let start = Instant::now();
    assert!(program.terminate().0.success());
    assert!(
        start.elapsed() < MARGIN,
        "nothing was stuck: {:?}",
        start.elapsed()
    );
    let rows = writer.stop();
    let _program = patient(&world);
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    assert_all(&requests, "items", rows);
    ids_by_row(&requests);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut world = world_with_tables(&[]);
    let receiver = Receiver::start(|_| Action::Hang);
    let mut program = patient(&world);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    world.sql.run("INSERT INTO items VALUES (1)");
    wait_for(&receiver, 1);
    let start = Instant::now();
    program.signal(Signal::SIGTERM);
    // Another one: two of a kind, sent so soon, may arrive as one.
    program.signal(Signal::SIGINT);
    let status = program.wait();
    assert_eq!(status.code(), Some(1));
    assert!(start.elapsed() < MARGIN, "{:?}", start.elapsed());
}

#[test]
fn a_pause_of_reading_costs_neither_the_connection_nor_memory() {
    const PAUSE: Duration = Duration::from_secs(20);
    const ROUNDS: usize = 10;
    const EACH: usize = 1_000;
    /// What the stacks of 64 workers, connections, statements to the store and the allocator may take beside the queue: 11
    /// to 18 MiB were measured in debug builds. All that is read would be 30 MiB more.
    const AROUND: u64 = 24 << 20;
    const QUEUE: u64 = 1 << 20;
    let mut world = World::new(&[("wal_sender_timeout", "5s")]);
    world
        .sql
        .run("CREATE TABLE items (id bigint PRIMARY KEY, filler text)");
    let well = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::start({
        let well = Arc::clone(&well);
        move |_| Action::status(if well.load(Ordering::SeqCst) { 200 } else { 503 })
    });
    let mut program = world.start(&[
        ("PGSTREAM_WEBHOOK_NOTIFIER_MAX_QUEUE_BYTES", "1MiB"),
        ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL", "500ms"),
        ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL", "1s"),
    ]);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    let walsender = "SELECT active_pid FROM pg_replication_slots";
    let (pid, resident) = (world.sql.value::<i32>(walsender), program.resident());
    program.wait_for_log("the start", |line| line["msg"] == "the backlog is taken up");
    // Neither the receiver nor the store takes anything.
    let mut blocker = Sql::open(&world.cluster, "postgres");
    blocker.run("BEGIN; LOCK TABLE pgstream.webhook_backlog IN ACCESS EXCLUSIVE MODE");
    for round in 0..ROUNDS {
        let first = round * EACH + 1;
        world.sql.run(&format!(
            "INSERT INTO items SELECT i, repeat('x', 3000) FROM generate_series({first}, {}) AS i",
            first + EACH - 1
        ));
    }
    let end = world.sql.wal_end();
    wait_for(&receiver, 1);
    let start = Instant::now();
    let mut peak = 0;
    while start.elapsed() < PAUSE {
        peak = peak.max(program.resident());
        thread::sleep(Duration::from_millis(100));
    }
    let paused: bool = world
        .sql
        .value(&format!("SELECT sent_lsn < '{end}' FROM pg_stat_replication"));
    assert!(paused, "the server could not send everything");
    // The store takes it: everything is read and confirmed, although the receiver is still away.
    blocker.run("ROLLBACK");
    world.sql.wait_for(&confirmed_reaches(&end));
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.webhook_backlog"),
        (ROUNDS * EACH) as i64
    );
    well.store(true, Ordering::SeqCst);
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    peak = peak.max(program.resident());
    assert!(
        peak < resident + QUEUE + AROUND,
        "{resident} bytes at first, then up to {peak}"
    );
    assert_all(&receiver.requests(), "items", ROUNDS * EACH);
    assert_eq!(
        world.sql.value::<i32>(walsender),
        pid,
        "the connection is still the same"
    );
    let (status, log) = program.terminate();
    assert!(status.success());
    assert_eq!(log.iter().filter(|line| line["msg"] == "streaming").count(), 1);
}

#[test]
fn a_backlog_that_cannot_be_taken_up_costs_no_connection_and_is_taken_up_later() {
    const AWAY: Duration = Duration::from_secs(5);
    let mut world = world_with_tables(&[("wal_sender_timeout", "1500ms")]);
    let receiver = receiver();
    let mut blocker = Sql::open(&world.cluster, "postgres");
    blocker.run("BEGIN; LOCK TABLE pgstream.webhook_backlog IN ACCESS EXCLUSIVE MODE");
    let mut program = world.start(&[]);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    world.sql.run("INSERT INTO items VALUES (1)");
    let walsender = "SELECT active_pid FROM pg_replication_slots";
    let pid = world.sql.value::<i32>(walsender);
    thread::sleep(AWAY);
    assert_eq!(
        receiver.requests().len(),
        0,
        "something could have to come before it"
    );
    assert_eq!(world.sql.value::<i32>(walsender), pid);
    blocker.run("ROLLBACK");
    program.wait_for_log("the start", |line| line["msg"] == "the backlog is taken up");
    wait_for(&receiver, 1);
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
}

/// While rows are inserted all the time, one endpoint comes and goes; another one stays.
fn subscribers_come_and_go(cache: &str) {
    const ROUNDS: i64 = 20;
    let mut world = world_with_tables(&[]);
    let program = world.start(&[("PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_ENABLED", cache)]);
    let marks: Arc<Mutex<Vec<(String, i64)>>> = Arc::default();
    let arrived = Arc::new(AtomicUsize::new(0));
    let receiver = Receiver::start({
        let (marks, arrived) = (Arc::clone(&marks), Arc::clone(&arrived));
        move |request| {
            let change = Change::of(request);
            arrived.fetch_add(usize::from(request.path == "/stays"), Ordering::SeqCst);
            if change.table == "others" {
                marks.lock().unwrap().push((request.path.clone(), change.key));
            }
            Action::status(200)
        }
    });
    program.subscribe(&json!({"url": receiver.url("/stays"), "schema": "public"}));
    let writer = Writer::start(&world, &arrived);
    let guest = json!({"url": receiver.url("/guest"), "schema": "public", "event_types": ["I"]});
    let arrives = |path: &str, key: i64| {
        let mark = (path.to_owned(), key);
        receiver.wait_for(|_| marks.lock().unwrap().contains(&mark), DEADLINE);
    };
    for round in 1..=ROUNDS {
        program.subscribe(&guest);
        world.sql.run(&format!("INSERT INTO others VALUES ({round})"));
        arrives("/guest", round);
        program.unsubscribe(&json!({"url": receiver.url("/guest"), "schema": "public"}));
        world
            .sql
            .run(&format!("INSERT INTO others VALUES ({})", ROUNDS + round));
        // Not before it has been read may the guest come back: it would get it then.
        arrives("/stays", ROUNDS + round);
        writer.wait_for_more();
    }
    let rows = writer.stop();
    world.sql.wait_until_delivered();
    let marks = marks.lock().unwrap();
    let of = |path: &str| -> Vec<i64> {
        let mut keys: Vec<i64> = marks
            .iter()
            .filter(|mark| mark.0 == path)
            .map(|mark| mark.1)
            .collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(
        of("/guest"),
        (1..=ROUNDS).collect::<Vec<i64>>(),
        "what is inserted after the answer, and nothing else"
    );
    assert_eq!(of("/stays"), (1..=2 * ROUNDS).collect::<Vec<i64>>());
    let requests = receiver.requests();
    let stays: Vec<Arc<Request>> = requests
        .iter()
        .filter(|request| request.path == "/stays")
        .cloned()
        .collect();
    assert_all(&stays, "items", rows);
    assert_eq!(stays.len(), rows + 2 * ROUNDS as usize, "each once");
    ids_by_row(&requests);
}

#[test]
fn subscribers_come_and_go_under_load() {
    subscribers_come_and_go("true");
}

#[test]
fn subscribers_come_and_go_under_load_without_the_cache() {
    subscribers_come_and_go("false");
}
