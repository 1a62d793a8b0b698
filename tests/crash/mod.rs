//! Suite `crash`: the program is killed at random moments while rows are written and receivers misbehave. Afterwards
//! every change is accounted for.
//!
//! `CRASH_KILLS` says how often it is killed, `CRASH_SEED` which random moments, writes and answers there are; `make crash`
//! runs it at length. The figures are printed.

mod account;
mod placed;
mod writer;

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::Signal;
use serde_json::json;

use self::account::{Account, Change};
use self::writer::Writers;
use crate::support::database::SLOT;
use crate::support::program::Program;
use crate::support::receiver::{Action, Receiver};
use crate::support::world::{World, confirmed_reaches};

/// By when everything has to have arrived at the end.
const DEADLINE: Duration = Duration::from_secs(300);
/// The slot that tells what was committed.
const TRUTH: &str = "truth";
/// The longest time between the first record of a program and its death, in milliseconds.
const LIFE: u64 = 1_500;

/// Retries come fast and never end, what hangs is noticed fast, and memory is short now and then.
const SETTINGS: [(&str, &str); 5] = [
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL", "200ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_RETRIES", "1000000"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT", "300ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_MAX_QUEUE_BYTES", "2MiB"),
];

/// How an endpoint answers until the end, when all are well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Always 200.
    Good,
    /// Mostly 200, after a while.
    Flaky,
    /// Down, until it is up for as long as one program lives, and so on.
    Changing,
    /// The same as `Flaky`, for batches.
    Batched,
}

/// An endpoint, and which of its requests it has answered with 200.
struct Endpoint {
    manner: Manner,
    receiver: Receiver,
    taken: Arc<Mutex<Vec<bool>>>,
}

/// What all endpoints look at.
#[derive(Clone, Default)]
struct Weather {
    /// The changing one is up.
    up: Arc<AtomicBool>,
    /// All are well.
    well: Arc<AtomicBool>,
}

impl Endpoint {
    fn start(manner: Manner, weather: &Weather, seed: u64) -> Self {
        let taken: Arc<Mutex<Vec<bool>>> = Arc::default();
        let rng = Mutex::new(Rng::with_seed(seed));
        let receiver = Receiver::start({
            let (taken, weather) = (Arc::clone(&taken), weather.clone());
            move |request| {
                let action = if weather.well.load(Ordering::SeqCst) {
                    Action::status(200)
                } else {
                    answer(manner, &weather, &mut rng.lock().unwrap())
                };
                let ok = matches!(&action, Action::Answer(answer) if answer.status == 200);
                let mut taken = taken.lock().unwrap();
                let length = taken.len().max(request.number + 1);
                taken.resize(length, false);
                taken[request.number] = ok;
                action
            }
        });
        Self {
            manner,
            receiver,
            taken,
        }
    }
}

fn answer(manner: Manner, weather: &Weather, rng: &mut Rng) -> Action {
    match manner {
        Manner::Good => Action::status(200),
        Manner::Changing if weather.up.load(Ordering::SeqCst) => Action::status(200),
        Manner::Changing => match rng.u8(..10) {
            0 => Action::Hang,
            1 => Action::Reset,
            _ => Action::status(503),
        },
        Manner::Flaky | Manner::Batched => match rng.u8(..100) {
            0..10 => Action::status(503),
            10..13 => Action::Reset,
            13..15 => Action::CloseBeforeAnswer,
            15..16 => Action::Hang,
            16..17 => Action::HalfAnswer,
            _ => Action::delayed(200, Duration::from_millis(rng.u64(..5))),
        },
    }
}

/// A number of the environment.
fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
    })
}

fn world() -> World {
    let mut world = World::new(&[]);
    world.sql.run(
        "CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL, filler text NOT NULL DEFAULT '');
         CREATE TABLE notes (version bigint NOT NULL);
         CREATE TABLE pads (id bigint PRIMARY KEY, version bigint NOT NULL)",
    );
    world.sql.run(&format!(
        "SELECT pg_create_logical_replication_slot('{TRUTH}', 'wal2json')"
    ));
    world
}

fn subscribe(world: &mut World, endpoints: &[Endpoint]) {
    let program = world.start(&SETTINGS);
    for endpoint in endpoints {
        let url = endpoint.receiver.url("/");
        if endpoint.manner == Manner::Batched {
            world.sql.run(&format!(
                "INSERT INTO pgstream.webhook_endpoints (url, batch_size, batch_wait_ms) VALUES ('{url}', 20, 10)"
            ));
        }
        program.subscribe(&json!({"url": url, "schema": "public"}));
    }
    assert!(program.terminate().0.success());
}

/// Starts the program and kills it at a random moment, its start and its end included.
fn live_and_die(world: &World, rng: &mut Rng) {
    let url = world.url();
    let mut program = if rng.u8(..5) == 0 {
        Program::spawn(&url, SLOT, &SETTINGS)
    } else {
        Program::start(&url, SLOT, &SETTINGS)
    };
    thread::sleep(Duration::from_millis(rng.u64(..LIFE)));
    if rng.u8(..5) == 0 {
        program.signal(Signal::SIGTERM);
        thread::sleep(Duration::from_millis(rng.u64(..50)));
    }
    program.signal(Signal::SIGKILL);
    program.wait();
}

/// Waits until everything is confirmed and no backlog is left.
fn wait_until_all_arrived(world: &mut World) {
    let settled = confirmed_reaches(&world.sql.wal_end());
    let deadline = Instant::now() + DEADLINE;
    let left = "SELECT count(*) FROM pgstream.webhook_backlog";
    while !world.sql.value::<bool>(&settled) || world.sql.value::<i64>(left) > 0 {
        let confirmed = world.sql.value::<bool>(&settled);
        let left = world.sql.value::<i64>(left);
        assert!(
            Instant::now() < deadline,
            "all is confirmed: {confirmed}; in the backlog: {left}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// What was committed, in commit order.
fn committed(world: &mut World) -> Vec<Change> {
    let records: Vec<String> = world.sql.values(&format!(
        "SELECT data FROM pg_logical_slot_get_changes('{TRUTH}', NULL, NULL,
             'format-version', '2', 'include-transaction', 'false', 'include-lsn', 'true', 'add-tables', 'public.*')"
    ));
    let parse = |record: &String| Change::of(&serde_json::from_str(record).unwrap());
    records.iter().map(parse).collect()
}

#[test]
fn killed_again_and_again_it_loses_nothing_and_keeps_the_order_of_each_row() {
    let (kills, seed) = (number("CRASH_KILLS", 6), number("CRASH_SEED", 4));
    let mut rng = Rng::with_seed(seed);
    let mut world = world();
    let weather = Weather::default();
    let manners = [Manner::Good, Manner::Flaky, Manner::Changing, Manner::Batched];
    let endpoints = manners.map(|manner| Endpoint::start(manner, &weather, rng.u64(..)));
    subscribe(&mut world, &endpoints);

    let writers = Writers::start(&world.cluster, &mut rng);
    for _ in 0..kills {
        weather.up.store(rng.u8(..3) == 0, Ordering::SeqCst);
        live_and_die(&world, &mut rng);
    }
    writers.stop();
    weather.well.store(true, Ordering::SeqCst);
    let program = world.start(&SETTINGS);
    wait_until_all_arrived(&mut world);
    let dead: i64 = world
        .sql
        .value("SELECT count(*) FROM pgstream.webhook_dead_letters");
    assert_eq!(dead, 0, "dead letters");
    assert!(program.terminate().0.success());

    let mut account = Account::new(committed(&mut world));
    println!(
        "seed {seed}: {kills} kills, {} changes, {} of them TRUNCATE; {} changes of a table",
        account.len(),
        account.truncates(),
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.schema_log WHERE schema_name = 'public'"),
    );
    assert!(account.truncates() > 0);
    for endpoint in &endpoints {
        let requests = endpoint.receiver.requests();
        let taken = endpoint.taken.lock().unwrap();
        let figures = account.check(endpoint.manner, &requests, &taken);
        println!("{:?}: {figures}", endpoint.manner);
    }
}
