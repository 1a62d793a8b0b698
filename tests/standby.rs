//! Suite `standby`: PostgreSQL stops as in a crash, where commits wait for a standby or do not wait for the disk.
//!
//! Here the tables are the account: whatever a table holds after recovery has to be delivered, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgstream::config::PgUrl;
use pgstream::demo::cluster::StopMode;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::runtime::Runtime;

use crate::support::database::{self, SLOT};
use crate::support::program::Program;
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{Change, DEADLINE, Sql, World, webhook_id};

/// Retries come fast, and what hangs is noticed fast.
const FAST: [(&str, &str); 4] = [
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_MAX_INTERVAL", "500ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL", "100ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT", "500ms"),
];
/// The role that the program runs as.
const ROLE: &str = "streamer";
/// How often PostgreSQL stops.
const STOPS: usize = 3;
/// Where the keys of the second writer begin, and so on.
const SPAN: i64 = 1_000_000;

/// A database with table `items`, and a role that is allowed everything. Its own statements do not wait for a standby.
fn world(settings: &[(&str, &str)]) -> World {
    let mut world = World::new(settings);
    world.sql.run(
        "SET synchronous_commit = local;
         CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL);
         CREATE ROLE streamer SUPERUSER REPLICATION LOGIN",
    );
    world
}

fn start(world: &World) -> Program {
    Program::start(&world.cluster.url_as(ROLE, "postgres"), SLOT, &FAST)
}

/// Stops PostgreSQL as a crash would, and starts it again. The program lives through that, or goes with it.
fn crash(world: &mut World, program: Program, both: bool) -> Program {
    let survivor = (!both).then_some(program);
    world.cluster.stop(StopMode::Immediate).unwrap();
    world.cluster.restart().unwrap();
    world.sql = Sql::open(&world.cluster, "postgres");
    survivor.unwrap_or_else(|| start(world))
}

/// How much is written.
#[derive(Clone, Copy)]
struct Load {
    writers: i64,
    /// How many rows are committed before each stop, and after the last.
    between: usize,
}

/// Sessions that insert rows and update each once, and come back when PostgreSQL does.
struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(world: &World, writers: i64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicUsize::new(0));
        let url = database::url(&world.cluster, "postgres");
        let threads = (0..writers)
            .map(|writer| {
                let (stop, committed, url) = (Arc::clone(&stop), Arc::clone(&committed), url.clone());
                thread::spawn(move || {
                    let runtime = Runtime::new().unwrap();
                    runtime.block_on(write(&url, writer * SPAN, &stop, &committed));
                })
            })
            .collect();
        Self {
            stop,
            committed,
            threads,
        }
    }

    /// Waits until so many more rows are committed: nothing is deadlocked.
    fn wait_for_more(&self, rows: usize) {
        let wanted = self.committed.load(Ordering::SeqCst) + rows;
        let deadline = Instant::now() + DEADLINE;
        while self.committed.load(Ordering::SeqCst) < wanted {
            assert!(Instant::now() < deadline, "commits are stuck");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Writes rows from `first` until told to stop. What fails is not tried again: whether it was committed is seen later.
async fn write(url: &PgUrl, first: i64, stop: &AtomicBool, committed: &AtomicUsize) {
    let (mut session, mut key) = (None, first);
    while !stop.load(Ordering::SeqCst) {
        let mut connected = match session.take() {
            Some(connected) => connected,
            None => match connect(url).await {
                Some(connected) => connected,
                None => {
                    // Each try leaves a port that cannot be used for a while.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            },
        };
        key += 1;
        let insert = format!("INSERT INTO items VALUES ({key}, 1)");
        let update = format!("UPDATE items SET version = 2 WHERE id = {key}");
        let mut result = connected.execute(AssertSqlSafe(insert)).await;
        if result.is_ok() {
            result = connected.execute(AssertSqlSafe(update)).await;
        }
        if result.is_ok() {
            committed.fetch_add(1, Ordering::SeqCst);
            session = Some(connected);
        }
    }
}

/// A session, unless PostgreSQL is away.
async fn connect(url: &PgUrl) -> Option<PgConnection> {
    let url = format!(
        "postgres://{}@127.0.0.1:{}/{}",
        url.user, url.servers[0].port, url.dbname
    );
    let connected = PgConnection::connect(&url).await;
    if connected.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    connected.ok()
}

/// Every version of every row of the table came, each under one id, in order, and nothing else did.
fn assert_accounted(requests: &[Arc<Request>], rows: &HashMap<i64, i64>, who: &str) {
    let mut ids = HashMap::new();
    let mut versions: HashMap<i64, Vec<i64>> = HashMap::new();
    for request in requests {
        let change = Change::of(request);
        let row = (change.key, change.second);
        let known = ids.entry(webhook_id(request)).or_insert(row);
        assert_eq!(*known, row, "{who}: two changes under one id");
        let seen = versions.entry(change.key).or_default();
        if !seen.contains(&change.second) {
            seen.push(change.second);
        }
    }
    for (key, version) in rows {
        let all: Vec<i64> = (1..=*version).collect();
        assert_eq!(versions.get(key), Some(&all), "{who}: row {key}");
    }
    assert_eq!(
        versions.len(),
        rows.len(),
        "{who}: rows that are not in the table"
    );
    let changes: i64 = rows.values().sum();
    assert_eq!(ids.len() as i64, changes, "{who}: changes under two ids");
}

/// Stops PostgreSQL at once, several times, while rows are written, one endpoint works and one mostly does not.
fn is_stopped_under_load(mut world: World, load: Load) {
    let good = Receiver::start(|_| Action::status(200));
    let well = Arc::new(AtomicBool::new(false));
    let bad = Receiver::start({
        let well = Arc::clone(&well);
        move |request| match request.number % 7 {
            _ if well.load(Ordering::SeqCst) => Action::status(200),
            0 => Action::status(200),
            1 => Action::Hang,
            _ => Action::status(503),
        }
    });
    let mut program = start(&world);
    for receiver in [&good, &bad] {
        program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    }
    let writers = Writers::start(&world, load.writers);
    for stop in 0..STOPS {
        writers.wait_for_more(load.between);
        program = crash(&mut world, program, stop % 2 == 1);
    }
    writers.wait_for_more(load.between);
    writers.stop();
    well.store(true, Ordering::SeqCst);
    world.sql.wait_until_settled();
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    let rows: Vec<i64> = world.sql.values("SELECT id * 10 + version FROM items");
    let rows: HashMap<i64, i64> = rows.into_iter().map(|row| (row / 10, row % 10)).collect();
    assert!(rows.len() >= load.between * (STOPS + 1));
    assert_accounted(&good.requests(), &rows, "the good endpoint");
    assert_accounted(&bad.requests(), &rows, "the bad endpoint");
    assert!(program.terminate().0.success());
}

#[test]
fn where_commits_wait_for_us_as_their_standby_nothing_is_lost_and_nothing_waits_for_ever() {
    // Each commit waits until its change is delivered or in the backlog, and that is reported.
    let load = Load {
        writers: 20,
        between: 60,
    };
    is_stopped_under_load(world(&[("synchronous_standby_names", "*")]), load);
}

#[test]
fn where_commits_do_not_wait_for_the_disk_what_is_durable_is_delivered_and_nothing_else() {
    let mut world = world(&[]);
    world.sql.run(
        "ALTER ROLE streamer SET synchronous_commit = off;
         ALTER ROLE postgres SET synchronous_commit = off",
    );
    let load = Load {
        writers: 3,
        between: 150,
    };
    is_stopped_under_load(world, load);
}

#[test]
fn what_was_confirmed_is_in_the_backlog_after_a_crash_although_the_role_does_not_wait_for_the_disk() {
    const ROWS: i64 = 200;
    // Commits that do not wait for the disk stay in memory for so long.
    let mut world = world(&[("wal_writer_delay", "10s")]);
    world.sql.run("ALTER ROLE streamer SET synchronous_commit = off");
    let answer = Arc::new(AtomicU16::new(503));
    let receiver = Receiver::start({
        let answer = Arc::clone(&answer);
        move |_| Action::status(answer.load(Ordering::SeqCst))
    });
    let program = start(&world);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    world.sql.run(&format!(
        "INSERT INTO items SELECT n, 1 FROM generate_series(1, {ROWS}) n"
    ));
    world.sql.wait_until_settled();
    let program = crash(&mut world, program, true);
    assert_eq!(
        world
            .sql
            .value::<i64>("SELECT count(*) FROM pgstream.webhook_backlog"),
        ROWS
    );
    answer.store(200, Ordering::SeqCst);
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    world.sql.wait_until_settled();
    let rows = (1..=ROWS).map(|key| (key, 1)).collect();
    assert_accounted(&receiver.requests(), &rows, "the endpoint");
    assert!(program.terminate().0.success());
}
