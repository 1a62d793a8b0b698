//! Suite `snapshot`: existing rows arrive as the stream would have brought them, each once, however often the reading is
//! interrupted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgstream::config::keys;
use serde_json::Value;

use crate::payloads::{HOSTILE, OWN_TYPES, every_type};
use crate::support::database::SLOT;
use crate::support::program::{Program, pgstream};
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{Change, DEADLINE, FAST_RETRIES, Gate, Sql, World, member, receiver, webhook_id};

/// How often it is looked whether something is so.
const POLL: Duration = Duration::from_millis(5);

/// `pgstream snapshot` of these tables, with further arguments and settings.
fn command(
    world: &World,
    tables: &str,
    arguments: &[&str],
    settings: &[(&str, &str)],
) -> std::process::Command {
    let mut command = pgstream(&["snapshot", "--tables", tables]);
    command
        .args(arguments)
        .env(keys::LISTENER_URL.name, world.url())
        .env(keys::SLOT_NAME.name, SLOT)
        .envs(settings.iter().copied());
    command
}

fn snapshot(world: &World, tables: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    command(world, tables, arguments, settings).output().unwrap()
}

/// Takes a snapshot that has to work; returns what is printed.
fn taken(world: &World, tables: &str, arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let output = snapshot(world, tables, arguments, settings);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Takes one that must not; returns what is said.
fn refused(world: &World, tables: &str, arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let output = snapshot(world, tables, arguments, settings);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// What `--show --json` says of each table.
fn shown(world: &World) -> HashMap<String, Value> {
    let output = pgstream(&["snapshot", "--show", "--json", "--pgurl", &world.url()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tables = list["tables"].as_array().unwrap().iter();
    tables
        .map(|table| (table["table"].as_str().unwrap().to_owned(), table.clone()))
        .collect()
}

fn subscribe(sql: &mut Sql, url: &str, table: &str) {
    sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions (url, schema_name, table_name, event_types)
         VALUES ('{url}', '', '{table}', '{{I}}')"
    ));
}

/// The body of a request without what differs between a change and a row: where it lies and when it came to be.
fn timeless(request: &Request) -> String {
    let body = String::from_utf8(request.body.clone()).unwrap();
    let (lsn, timestamp) = (
        member(&body, "lsn").to_owned(),
        member(&body, "timestamp").to_owned(),
    );
    body.replacen(&format!("\"lsn\":\"{lsn}\""), "\"lsn\":\"\"", 1)
        .replacen(&format!("\"timestamp\":\"{timestamp}\""), "\"timestamp\":\"\"", 1)
}

/// A snapshot that is being taken. Dropping it kills it: a test that fails must not leave it behind.
struct Taking(Option<Child>);

impl Taking {
    fn start(mut command: std::process::Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    fn signal(&self, signal: Signal) {
        let id = self.0.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits until it is at its end.
    fn end(mut self) -> Output {
        let mut child = self.0.take().unwrap();
        let deadline = Instant::now() + DEADLINE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() >= deadline {
                self.0 = Some(child);
                panic!("it does not end");
            }
            thread::sleep(POLL);
        }
        child.wait_with_output().unwrap()
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_row_is_encoded_as_the_stream_encodes_it() {
    let mut world = World::new(&[]);
    let url = world.url();
    let injector = (keys::INJECTOR_URL.name, url.as_str());
    world.sql.run(OWN_TYPES);
    world.sql.run(HOSTILE);
    // Settings of the role hold for sessions from now on only.
    world.sql = Sql::open(&world.cluster, "postgres");
    world
        .sql
        .run("SET search_path = public; SET standard_conforming_strings = on");
    let receiver = receiver();
    let program = world.start(&[injector]);
    subscribe(&mut world.sql, &receiver.url("/"), "");
    // All tables first: each of them makes a newer entry of its schema.
    world.sql.run(
        r#"CREATE SCHEMA "S p.a""q"; CREATE TYPE "S p.a""q".plain AS (a int, b text[]);
           CREATE TABLE "S p.a""q"."t \ ü" (gone int, "c 1" text, "tab	" "S p.a""q".plain[], k uuid, n numeric(5,2)[],
               PRIMARY KEY (k, "c 1"));
           ALTER TABLE "S p.a""q"."t \ ü" DROP COLUMN gone, ADD COLUMN later text DEFAULT E'a\\b\n"c"';
           CREATE TABLE nokey (a text, b jsonb, big text);
           CREATE TABLE nothing ()"#,
    );
    world.sql.run(&every_type());
    world.sql.run(
        r#"INSERT INTO "S p.a""q"."t \ ü" ("c 1", "tab	", k, n) VALUES
               ('x', ARRAY[(1, ARRAY['a','b "q"']), NULL]::"S p.a""q".plain[], 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{1.5,NaN}'),
               (E'\\N', NULL, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', NULL);
           INSERT INTO nokey VALUES (NULL, NULL, repeat('€\', 300000)), ('', '{"a": "\\\"\n"}', '');
           INSERT INTO nothing DEFAULT VALUES"#,
    );
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    let of_rows = |requests: &[Arc<Request>]| {
        let rows = requests
            .iter()
            .filter(|request| request.json()["Data"]["schema"] != "pgstream");
        rows.map(|request| timeless(request))
            .collect::<BTreeSet<String>>()
    };
    let streamed = receiver.requests();
    assert_eq!(of_rows(&streamed).len(), 7);

    let told = taken(&world, "*.*", &[], &[injector]);
    assert!(told.contains("snapshot complete: 7 rows of 4 tables"), "{told}");
    let requests = &receiver.requests()[streamed.len()..];
    assert_eq!(requests.len(), 7, "each row once");
    let (read, streamed) = (of_rows(requests), of_rows(&streamed));
    let differing: Vec<&String> = read.symmetric_difference(&streamed).collect();
    assert!(differing.is_empty(), "{differing:?}");
    for request in requests {
        let change = &request.json()["Data"];
        assert_eq!(change["lsn"], "0/0");
        assert!(
            !change["metadata"]["table_pgstream_id"]
                .as_str()
                .unwrap()
                .is_empty(),
            "{change}"
        );
        assert_eq!(request.header("x-pgstream-lsn"), Some("0/0"));
        let id = webhook_id(request);
        assert_eq!(id.split('-').nth(2), Some("s"), "{id}");
    }
    let ids: BTreeSet<String> = requests.iter().map(|request| webhook_id(request)).collect();
    assert_eq!(ids.len(), 7);
}

#[test]
fn rows_come_once_by_many_readers_and_as_one_moment_shows_them() {
    let mut world = World::new(&[]);
    let receiver = receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    // Of many pages, with rows that move about while they are read; the sum of all of them never changes.
    world.sql.run(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance int, pad text) WITH (fillfactor = 50);
         INSERT INTO accounts SELECT n, 100, repeat('x', 300) FROM generate_series(1, 4000) AS n;
         CREATE TABLE other (id int PRIMARY KEY, n int); INSERT INTO other VALUES (1, 1);
         CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied VALUES (1); DELETE FROM emptied",
    );
    let ended = AtomicBool::new(false);
    let moved = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sql = Sql::open(&world.cluster, "postgres");
            while !ended.load(Ordering::Relaxed) {
                sql.run(
                    "WITH pair AS (SELECT (random() * 3999)::int + 1 AS a, (random() * 3999)::int + 1 AS b)
                     UPDATE accounts SET balance = balance + CASE id WHEN a THEN 1 ELSE -1 END FROM pair
                      WHERE a <> b AND id IN (a, b)",
                );
                moved.fetch_add(1, Ordering::Relaxed);
            }
        });
        while moved.load(Ordering::Relaxed) < 100 {
            thread::sleep(POLL);
        }
        let settings = [
            (keys::SNAPSHOT_BATCH_BYTES.name, "64KiB"),
            (keys::SNAPSHOT_TABLE_WORKERS.name, "4"),
            (keys::MAX_QUEUE_BYTES.name, "256KiB"),
        ];
        let told = taken(&world, "*", &[], &settings);
        ended.store(true, Ordering::Relaxed);
        assert!(
            told.contains("snapshot complete: 4001 rows of 3 tables"),
            "{told}"
        );
    });
    let requests = receiver.requests();
    let changes: Vec<Change> = requests.iter().map(|request| Change::of(request)).collect();
    assert_eq!(changes.len(), 4001);
    let accounts: BTreeMap<i64, i64> = changes
        .iter()
        .filter(|change| change.table == "accounts")
        .map(|change| (change.key, change.second))
        .collect();
    assert_eq!(accounts.len(), 4000, "each row once");
    assert_eq!(accounts.values().sum::<i64>(), 400_000, "of one moment");
    assert!(
        accounts.values().any(|balance| *balance != 100),
        "while it changed"
    );
    assert!(changes.iter().all(|change| change.action == "I"));
    for state in shown(&world).values() {
        assert_eq!(state["state"], "done", "{state}");
    }
}

#[test]
fn what_was_interrupted_is_read_again_with_the_ids_it_had_and_what_is_done_is_not() {
    const ROWS: usize = 3000;
    let mut world = World::new(&[]);
    let (receiver, gate) = Gate::for_requests(|request| request.json()["Data"]["table"] == "large");
    subscribe(&mut world.sql, &receiver.url("/"), "");
    world.sql.run(&format!(
        "CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1), (2);
         CREATE TABLE large (id int PRIMARY KEY, pad text);
         INSERT INTO large SELECT n, repeat('x', 200) FROM generate_series(1, {ROWS}) AS n"
    ));
    let settings = [
        (keys::SNAPSHOT_BATCH_BYTES.name, "64KiB"),
        (keys::MAX_QUEUE_BYTES.name, "64KiB"),
    ];
    // Killed, and then ended in order: neither loses its place.
    for (part, signal) in [(1, Signal::SIGKILL), (2, Signal::SIGTERM)] {
        let enough = gate.arrived() + ROWS / 4;
        gate.let_through(enough);
        let mut taking = Taking::start(command(&world, "small large", &[], &settings));
        let deadline = Instant::now() + DEADLINE;
        while gate.arrived() <= enough || shown(&world)["small"]["state"] != "done" {
            assert!(Instant::now() < deadline);
            thread::sleep(POLL);
        }
        taking.signal(signal);
        // What is in flight is waited for; all of the table is never let through.
        while !taking.has_ended() {
            gate.let_through(gate.arrived().min(enough + ROWS / 4));
            thread::sleep(POLL);
        }
        let output = taking.end();
        assert!(!output.status.success());
        if signal == Signal::SIGTERM {
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains("run it again"), "{told}");
        }
        assert_eq!(shown(&world)["large"]["state"], "reading", "part {part}");
        assert_eq!(shown(&world)["small"]["state"], "done");
    }
    gate.open();
    let told = taken(&world, "small large", &[], &settings);
    assert!(told.contains(&format!("{ROWS} rows of 1 tables")), "{told}");
    assert!(told.contains("1 tables were done before"), "{told}");

    let requests = receiver.requests();
    let mut ids: HashMap<(String, i64), BTreeSet<String>> = HashMap::new();
    let mut small = 0;
    for request in &requests {
        let change = Change::of(request);
        small += usize::from(change.table == "small");
        ids.entry((change.table, change.key))
            .or_default()
            .insert(webhook_id(request));
    }
    assert_eq!(ids.len(), ROWS + 2);
    assert_eq!(small, 2, "what is done is not read again");
    assert!(requests.len() > ROWS + 2, "it was interrupted");
    assert!(
        ids.values().all(|ids| ids.len() == 1),
        "a row that did not change has one id"
    );

    let nothing = taken(&world, "*", &[], &settings);
    assert!(nothing.contains("2 tables were done before"), "{nothing}");
    assert_eq!(receiver.requests().len(), requests.len());
    taken(&world, "small", &["--repeat"], &settings);
    let again = &receiver.requests()[requests.len()..];
    assert_eq!(again.len(), 2);
    for request in again {
        let change = Change::of(request);
        assert!(
            !ids[&(change.table, change.key)].contains(&webhook_id(request)),
            "a new run has ids of its own"
        );
    }
}

#[test]
fn a_table_that_nobody_receives_waits() {
    let mut world = World::new(&[]);
    let receiver = receiver();
    world.sql.run(
        "CREATE TABLE wanted (id int PRIMARY KEY); INSERT INTO wanted VALUES (1);
         CREATE TABLE unwanted (id int PRIMARY KEY); INSERT INTO unwanted VALUES (1);
         CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE SCHEMA parts;
         CREATE TABLE parts.low PARTITION OF root FOR VALUES FROM (0) TO (10);
         CREATE TABLE parts.high PARTITION OF root FOR VALUES FROM (10) TO (20);
         INSERT INTO root SELECT generate_series(5, 14);
         CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
         CREATE TABLE child (more int) INHERITS (parent); INSERT INTO child VALUES (2, 3)",
    );
    for table in ["wanted", "root", "parent", "child"] {
        subscribe(&mut world.sql, &receiver.url("/"), table);
    }
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions (url, schema_name, table_name, event_types)
         VALUES ('{}', '', 'unwanted', '{{U,D}}')",
        receiver.url("/")
    ));
    let told = taken(&world, "*", &[], &[]);
    assert!(told.contains("1 tables wait"), "{told}");
    assert!(told.contains("snapshot complete: 13 rows of 5 tables"), "{told}");
    assert_eq!(shown(&world)["unwanted"]["state"], "waiting");
    let came: Vec<String> = receiver
        .requests()
        .iter()
        .map(|request| Change::of(request).table)
        .collect();
    let of = |table: &str| came.iter().filter(|came| *came == table).count();
    assert_eq!((of("low"), of("high"), of("parent"), of("child")), (5, 5, 1, 1));

    subscribe(&mut world.sql, &receiver.url("/late"), "unwanted");
    taken(&world, "*", &[], &[]);
    assert_eq!(shown(&world)["unwanted"]["state"], "done");
    let paths: Vec<String> = receiver.requests()[13..]
        .iter()
        .map(|request| request.path.clone())
        .collect();
    assert_eq!(paths, ["/late"]);

    world.sql.run("DROP TABLE unwanted");
    taken(&world, "wanted", &[], &[]);
    assert!(
        !shown(&world).contains_key("unwanted"),
        "what is gone is forgotten"
    );
}

#[test]
fn what_cannot_be_read_is_told_before_anything_is() {
    let mut world = World::new(&[]);
    let receiver = receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    world.sql.run(
        "CREATE TABLE fine (id int PRIMARY KEY); INSERT INTO fine VALUES (1);
         CREATE TABLE secret (id int PRIMARY KEY); INSERT INTO secret VALUES (1);
         CREATE TABLE hidden (id int PRIMARY KEY); INSERT INTO hidden VALUES (1);
         ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
         CREATE VIEW seen AS SELECT * FROM fine;
         CREATE ROLE reader LOGIN;
         GRANT USAGE ON SCHEMA public TO reader; GRANT SELECT ON fine, hidden TO reader",
    );
    let told = refused(&world, "fine fnie seen nowhere.*", &[], &[]);
    for part in [
        "public.fnie matches no table",
        "public.seen is a view",
        "nowhere.* matches no table",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let reader = world.cluster.url_as("reader", "postgres");
    let as_reader = [(keys::SNAPSHOT_URL.name, reader.as_str())];
    let told = refused(&world, "fine secret", &[], &as_reader);
    assert!(
        told.contains("may not read public.secret") && told.contains("GRANT"),
        "{told}"
    );
    let told = refused(&world, "hidden", &[], &as_reader);
    assert!(told.contains("row-level security"), "{told}");
    assert!(receiver.requests().is_empty(), "nothing was read");
    let told = taken(&world, "f* seen*", &[], &as_reader);
    assert!(told.contains("1 rows of 1 tables"), "{told}");

    world.sql.run("CREATE DATABASE elsewhere");
    let elsewhere = world.cluster.url("elsewhere");
    let told = refused(
        &world,
        "fine",
        &[],
        &[(keys::SNAPSHOT_URL.name, elsewhere.as_str())],
    );
    assert!(told.contains("name the source"), "{told}");
    for (tables, arguments, expected) in [
        ("a.b.c", &[][..], "more than two names"),
        ("\"a", &[], "double quote"),
        ("a", &["--json"], "--json goes with --show only"),
        ("a", &["--show"], "--show reads no tables"),
    ] {
        let output = snapshot(&world, tables, arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(expected), "{told}");
    }
    let output = pgstream(&["snapshot", "--pgurl", &world.url()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no tables are named"));
}

#[test]
fn one_program_at_a_time_makes_deliveries() {
    let mut world = World::new(&[]);
    let (receiver, gate) = Gate::with_receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    world
        .sql
        .run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let program = world.start(&[]);
    let told = refused(&world, "t", &[], &[]);
    assert!(told.contains("another pgstream uses this store"), "{told}");
    gate.open();
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    let streamed = receiver.requests().len();

    gate.close();
    let taking = Taking::start(command(&world, "t", &[], &[]));
    receiver.wait_for(|requests| requests.len() > streamed, DEADLINE);
    let mut program = Program::spawn(&world.url(), SLOT, &[]);
    program.wait_for_log("that it waits", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("another pgstream makes the deliveries"))
    });
    gate.open();
    assert!(taking.end().status.success());
    program.wait_for_log("streaming", |line| line["msg"] == "streaming");
}

#[test]
fn rows_for_an_endpoint_that_is_down_go_to_its_backlog_and_the_others_get_theirs() {
    let mut world = World::new(&[]);
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let ill = Receiver::start(move |_| Action::status(if down.load(Ordering::SeqCst) { 503 } else { 200 }));
    let well = receiver();
    for receiver in [&ill, &well] {
        subscribe(&mut world.sql, &receiver.url("/"), "t");
    }
    world.sql.run(
        "CREATE TABLE t (id int PRIMARY KEY, pad text);
         INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) AS n",
    );
    let settings = [
        FAST_RETRIES[0],
        FAST_RETRIES[1],
        (keys::MAX_QUEUE_BYTES.name, "256KiB"),
    ];
    let output = snapshot(&world, "t", &[], &settings);
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("wait in backlogs"),
        "{output:?}"
    );
    assert_eq!(well.requests().len(), 2000);
    assert_eq!(shown(&world)["t"]["state"], "done");
    is_down.store(false, Ordering::SeqCst);
    let program = world.start(&FAST_RETRIES);
    world.sql.wait_until_delivered();
    let keys: BTreeSet<i64> = ill
        .requests()
        .iter()
        .map(|request| Change::of(request).key)
        .collect();
    assert_eq!(keys, (1..=2000).collect());
    drop(program);
}

#[test]
fn a_row_that_is_not_utf8_is_kept_as_a_dead_letter() {
    let mut world = World::new(&[]);
    let receiver = receiver();
    world
        .sql
        .run("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let url = world.cluster.url("ascii");
    let output = pgstream(&["init", "--pgurl", &url]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut sql = Sql::open(&world.cluster, "ascii");
    subscribe(&mut sql, &receiver.url("/"), "");
    sql.run(
        r"CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'a'), (2, E'\xff'), (3, 'c')",
    );
    for _ in 0..2 {
        let output = pgstream(&["snapshot", "--pgurl", &url, "--tables", "t", "--repeat"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let keys: Vec<i64> = receiver
        .requests()
        .iter()
        .map(|request| Change::of(request).key)
        .collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    let letters: Vec<String> = sql.values("SELECT last_error FROM pgstream.webhook_dead_letters");
    assert_eq!(letters.len(), 2, "one a run: {letters:?}");
    assert!(letters[0].contains("not UTF-8"), "{letters:?}");
}

#[test]
fn what_the_stream_has_brought_before_hides_no_row() {
    let mut world = World::new(&[]);
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let receiver =
        Receiver::start(move |_| Action::status(if down.load(Ordering::SeqCst) { 503 } else { 200 }));
    subscribe(&mut world.sql, &receiver.url("/"), "t");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let program = world.start(&FAST_RETRIES);
    world.sql.run("INSERT INTO t VALUES (1)");
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pgstream.webhook_backlog_marks WHERE commit_lsn IS NOT NULL");
    is_down.store(false, Ordering::SeqCst);
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    let before = receiver.requests().len();
    taken(&world, "t", &[], &[]);
    assert_eq!(receiver.requests().len(), before + 1);
}

#[test]
fn rows_that_nobody_is_subscribed_to_any_more_are_discarded() {
    let mut world = World::new(&[]);
    let ill = Receiver::start(|_| Action::status(503));
    subscribe(&mut world.sql, &ill.url("/"), "t");
    subscribe(&mut world.sql, &ill.url("/"), "kept");
    world.sql.run(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);
         CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1)",
    );
    taken(&world, "t kept", &[], &FAST_RETRIES);
    let waiting = "SELECT count(*) FROM pgstream.webhook_backlog";
    assert_eq!(world.sql.value::<i64>(waiting), 3);
    world
        .sql
        .run("DELETE FROM pgstream.webhook_subscriptions WHERE table_name = 't'");
    let program = world.start(&FAST_RETRIES);
    world.sql.wait_for(&format!("SELECT ({waiting}) = 1"));
    drop(program);
}

#[test]
fn several_tables_are_read_at_one_time() {
    let mut world = World::new(&[]);
    let (receiver, gate) = Gate::with_receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    for table in ["a", "b", "c"] {
        world.sql.run(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, pad text);
             INSERT INTO {table} SELECT n, repeat('x', 1000) FROM generate_series(1, 200) AS n"
        ));
    }
    // None of them fits, so that each is still being read when the next one begins.
    let settings = [
        (keys::MAX_QUEUE_BYTES.name, "64KiB"),
        (keys::SNAPSHOT_WORKERS.name, "2"),
    ];
    let taking = Taking::start(command(&world, "*", &[], &settings));
    let tables = r#"count(DISTINCT substring(query FROM 'ONLY "public"."(.)"'))"#;
    world.sql.wait_for(&format!(
        "SELECT {tables} = 2 FROM pg_stat_activity WHERE query LIKE 'COPY%'"
    ));
    gate.open();
    assert!(taking.end().status.success());
    assert_eq!(receiver.requests().len(), 600);
}

#[test]
fn without_subscribers_a_table_counts_as_read_where_that_is_asked_for() {
    let mut world = World::new(&[]);
    let receiver = receiver();
    world
        .sql
        .run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let told = taken(&world, "t", &["--snapshot-without-subscribers"], &[]);
    assert!(told.contains("1 tables count as read"), "{told}");
    assert_eq!(shown(&world)["t"]["state"], "done");
    subscribe(&mut world.sql, &receiver.url("/"), "");
    let told = taken(&world, "t", &[], &[]);
    assert!(told.contains("1 tables were done before"), "{told}");
    assert_eq!(receiver.requests().len(), 0);
}
