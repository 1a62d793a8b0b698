//! Suite `hand_over`: existing rows, then the changes: nothing is missing and nothing comes twice, whatever several sessions
//! do meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use pgstream::config::keys;
use pgstream::event::TableKey;
use pgstream::snapshot::model::Exported;
use pgstream::store;
use pgstream::store::snapshot::{self, Progress, SnapshotState};
use pgstream_proto::Lsn;
use serde_json::json;

use crate::support::database::{self, SLOT, initialised};
use crate::support::program::{Program, pgstream};
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::sessions::Stopped;
use crate::support::versions::{
    SET_UP, assert_one_body_an_id, assert_same, folded, kill_at_random_moments, number, subscribe, table,
    wait_for_more, while_writing, world,
};
use crate::support::world::{DEADLINE, Gate, World, receiver};

/// Each row is inserted once, and each version of it comes once.
fn assert_exact(requests: &[Arc<Request>]) {
    let (mut born, mut versions) = (HashMap::new(), HashMap::new());
    for request in requests {
        let change = &request.json()["Data"];
        if change["columns"].is_null() {
            continue;
        }
        let columns = &change["columns"];
        let before = versions.insert(number(columns, "v"), change.clone());
        assert!(before.is_none(), "twice: {before:?} and {change}");
        if change["action"] == "I" {
            let before = born.insert(number(columns, "born"), change.clone());
            assert!(before.is_none(), "twice: {before:?} and {change}");
        }
    }
    let rows = requests
        .iter()
        .filter(|request| request.json()["Data"]["lsn"] == "0/0")
        .count();
    assert!(rows > 1000, "only {rows} rows came as such");
    assert!(
        requests.len() > rows + 200,
        "only {} changes",
        requests.len() - rows
    );
}

fn start(world: &World) -> Program {
    world.start(&[
        (keys::SNAPSHOT_TABLES.name, "t"),
        (keys::SNAPSHOT_BATCH_BYTES.name, "64KiB"),
    ])
}

/// Waits until the program knows that nobody receives the rows of its table.
fn wait_until_it_waits(program: &mut Program) {
    program.wait_for_log("that it waits", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("its rows wait"))
    });
}

#[test]
fn rows_and_then_changes_without_a_gap_or_a_duplicate() {
    let mut world = world();
    let (all, some) = (receiver(), receiver());
    subscribe(&mut world.sql, &all.url("/"), "");
    subscribe(&mut world.sql, &some.url("/"), "U,D");
    world
        .sql
        .run("SELECT pg_create_logical_replication_slot('model', 'wal2json')");
    let mut program = None;
    while_writing(&mut world, |world, sql, done| {
        sql.run(
            "BEGIN; UPDATE t SET v = nextval('test.numbers') WHERE id = 5000; INSERT INTO t VALUES
                 (5000, nextval('test.numbers'), nextval('test.numbers'), ''); PREPARE TRANSACTION 'early'",
        );
        sql.run(
            "BEGIN; INSERT INTO t VALUES (5001, nextval('test.numbers'), nextval('test.numbers'), '');
                 PREPARE TRANSACTION 'late'",
        );
        program = Some(start(world));
        sql.run("COMMIT PREPARED 'early'");
        wait_for_more(done, 200);
        sql.run("COMMIT PREPARED 'late'");
        sql.run("VACUUM FULL t");
        wait_for_more(done, 200);
    });
    let requests = all.requests();
    assert_exact(&requests);
    assert_same(&folded(&requests), &table(&mut world.sql));
    let state: String = world.sql.value("SELECT state FROM pgstream.snapshot_tables");
    assert_eq!(state, "done");

    // For whom no row was read, nothing is left out.
    let others: i64 = world.sql.value(
        "SELECT count(*) FROM pg_logical_slot_get_changes('model', NULL, NULL, 'format-version', '2') AS c
          WHERE c.data::json ->> 'table' = 't' AND c.data::json ->> 'action' IN ('U', 'D')",
    );
    assert_eq!(some.requests().len(), usize::try_from(others).unwrap());
    drop(program);

    // Done is done.
    let program = start(&world);
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    assert_eq!(all.requests().len(), requests.len());
}

#[test]
fn who_subscribes_later_gets_the_rows_and_from_there_on_the_changes() {
    let mut world = world();
    let receiver = receiver();
    let mut running = None;
    while_writing(&mut world, |world, sql, done| {
        let mut program = start(world);
        wait_until_it_waits(&mut program);
        wait_for_more(done, 100);
        sql.run("TRUNCATE t; INSERT INTO t SELECT n, nextval('test.numbers'), nextval('test.numbers'), ''
                   FROM generate_series(1, 3000) AS n; ALTER TABLE t ALTER v TYPE numeric; ALTER TABLE t ALTER v TYPE bigint");
        program.subscribe(&json!({"url": receiver.url("/"), "schema": "public", "table": "t"}));
        wait_for_more(done, 300);
        running = Some(program);
    });
    let requests = receiver.requests();
    assert_exact(&requests);
    assert_same(&folded(&requests), &table(&mut world.sql));
    drop(running);
}

#[test]
fn between_two_transactions_as_well() {
    let mut world = world();
    let receiver = receiver();
    let mut program = world.run(&["--snapshot-tables", "t"]);
    wait_until_it_waits(&mut program);
    world.sql.wait_until_settled();
    program.subscribe(
        &json!({"url": receiver.url("/"), "schema": "public", "table": "t", "event_types": ["I"]}),
    );
    world
        .sql
        .wait_for("SELECT state = 'done' FROM pgstream.snapshot_tables");
    assert_eq!(receiver.requests().len(), 3000);
    drop(program);
}

#[test]
fn killed_at_any_moment_the_endpoint_has_what_the_table_has() {
    let mut world = world();
    let receiver = Receiver::start(|_| Action::delayed(200, Duration::from_micros(100)));
    subscribe(&mut world.sql, &receiver.url("/"), "");
    let mut running = None;
    while_writing(&mut world, |world, _, done| {
        let settings = [
            (keys::SNAPSHOT_TABLES.name, "t"),
            (keys::SNAPSHOT_BATCH_BYTES.name, "64KiB"),
            (keys::MAX_QUEUE_BYTES.name, "256KiB"),
        ];
        kill_at_random_moments(world, &settings, done, || receiver.requests().len());
        running = Some(start(world));
        wait_for_more(done, 100);
    });
    world
        .sql
        .wait_for("SELECT state = 'done' FROM pgstream.snapshot_tables");
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    assert_same(&folded(&requests), &table(&mut world.sql));
    let ids = assert_one_body_an_id(&requests);
    assert!(requests.len() > ids, "something came twice");
    drop(running);
}

#[test]
fn an_endpoint_that_had_changes_before_misses_none() {
    let mut world = world();
    let receiver = receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    let mut running = None;
    while_writing(&mut world, |world, _, done| {
        let program = world.start(&[]);
        wait_for_more(done, 200);
        assert!(program.terminate().0.success());
        wait_for_more(done, 100);
        running = Some(start(world));
        wait_for_more(done, 200);
    });
    let requests = receiver.requests();
    assert_same(&folded(&requests), &table(&mut world.sql));
    let left_out: i64 = world
        .sql
        .value("SELECT count(*) FROM pgstream.snapshot_endpoints WHERE snapshot IS NOT NULL");
    assert_eq!(left_out, 0);
    drop(running);
}

#[test]
fn changes_that_came_while_nobody_counted_are_counted_with() {
    let mut world = world();
    let receiver = receiver();
    let mut running = None;
    while_writing(&mut world, |world, sql, done| {
        let mut program = start(world);
        wait_until_it_waits(&mut program);
        assert!(program.terminate().0.success());
        // Without the table, nobody writes down who is sent its changes.
        subscribe(sql, &receiver.url("/"), "");
        let program = world.start(&[]);
        wait_for_more(done, 200);
        assert!(program.terminate().0.success());
        wait_for_more(done, 200);
        running = Some(start(world));
        wait_for_more(done, 200);
    });
    assert_same(&folded(&receiver.requests()), &table(&mut world.sql));
    drop(running);
}

#[test]
fn who_subscribes_while_rows_are_on_their_way_misses_nothing_after_a_crash() {
    let mut world = world();
    let (first, gate) = Gate::with_receiver();
    let second = receiver();
    subscribe(&mut world.sql, &first.url("/"), "");
    let mut running = None;
    while_writing(&mut world, |world, sql, done| {
        let mut program = start(world);
        sql.wait_for("SELECT count(*) = 1 FROM pgstream.snapshot_tables WHERE state = 'reading'");
        program.subscribe(&json!({"url": second.url("/"), "schema": "public", "table": "t"}));
        second.wait_for(|requests| requests.len() > 100, DEADLINE);
        program.signal(Signal::SIGKILL);
        program.wait();
        wait_for_more(done, 200);
        gate.open();
        running = Some(start(world));
        wait_for_more(done, 100);
    });
    world
        .sql
        .wait_for("SELECT state = 'done' FROM pgstream.snapshot_tables");
    world.sql.wait_until_delivered();
    let table = table(&mut world.sql);
    assert_same(&folded(&second.requests()), &table);
    assert_same(&folded(&first.requests()), &table);
    drop(running);
}

#[test]
fn a_table_that_is_gone_or_cannot_be_read_does_not_hold_the_stream_up() {
    let mut world = world();
    world.sql.run(
        "CREATE TABLE dropped (id int PRIMARY KEY); CREATE TABLE closed (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO closed VALUES (1);
         CREATE ROLE reader LOGIN SUPERUSER",
    );
    let reader = world.cluster.url_as("reader", "postgres");
    let receiver = receiver();
    let mut program = world.start(&[
        (keys::SNAPSHOT_TABLES.name, "dropped closed"),
        (keys::SNAPSHOT_URL.name, &reader),
    ]);
    world
        .sql
        .wait_for("SELECT count(*) = 2 FROM pgstream.snapshot_tables WHERE state = 'waiting'");
    world
        .sql
        .run("ALTER ROLE reader NOSUPERUSER; DROP TABLE dropped; INSERT INTO other VALUES (1)");
    program.subscribe(&json!({"url": receiver.url("/"), "schema": "public"}));
    world.sql.run("INSERT INTO other VALUES (2)");
    receiver.wait_for(
        |requests| {
            requests
                .iter()
                .any(|request| request.json()["Data"]["columns"][0]["value"] == 2)
        },
        DEADLINE,
    );
    let said = program.wait_for_log("what is set aside", |line| {
        line["msg"].as_str().is_some_and(|msg| msg.contains("set aside"))
    });
    assert_eq!(said["table"], "public.closed");
    let state: String = world
        .sql
        .value("SELECT state FROM pgstream.snapshot_tables WHERE table_name = 'closed'");
    assert_eq!(state, "pending");
    // Once it can be read, the next start does.
    world.sql.run("ALTER ROLE reader SUPERUSER");
    assert!(program.terminate().0.success());
    let program = world.start(&[
        (keys::SNAPSHOT_TABLES.name, "closed"),
        (keys::SNAPSHOT_URL.name, &reader),
    ]);
    receiver.wait_for(
        |requests| {
            requests
                .iter()
                .any(|request| request.json()["Data"]["table"] == "closed")
        },
        DEADLINE,
    );
    drop(program);
}

/// While a table is read, nothing else waits.
#[test]
fn the_stream_goes_on_while_a_table_is_read() {
    let mut world = world();
    world
        .sql
        .run("CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE keyless (n int); INSERT INTO keyless SELECT generate_series(1, 300)");
    let receiver = receiver();
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions (url) VALUES ('{}')",
        receiver.url("/")
    ));
    let mut program = None;
    let stopped = Stopped::of(&world, || {
        program = Some(world.start(&[(keys::SNAPSHOT_TABLES.name, "*")]));
    });
    world.sql.run(
        "INSERT INTO other VALUES (1); UPDATE t SET v = nextval('test.numbers') WHERE id <= 10; INSERT INTO keyless VALUES (0)",
    );
    // All of it is confirmed, though the table is not read.
    world.sql.wait_until_settled();
    let is_of = |table: &'static str| move |request: &&Arc<Request>| request.json()["Data"]["table"] == table;
    receiver.wait_for(
        |requests| requests.iter().filter(is_of("other")).count() == 1,
        DEADLINE,
    );
    assert_eq!(receiver.requests().iter().filter(is_of("t")).count(), 0);
    drop(stopped);
    world
        .sql
        .wait_for("SELECT count(*) = 3 FROM pgstream.snapshot_tables WHERE state = 'done'");
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    let of_t: Vec<_> = requests.iter().filter(is_of("t")).cloned().collect();
    // The rows were read later than these changes were made: they are left out.
    assert_eq!(of_t.len(), 3000);
    assert_same(&folded(&of_t), &table(&mut world.sql));
    // Without a key, rows come side by side, and a change behind all of them.
    let of_keyless: Vec<_> = requests.iter().filter(is_of("keyless")).collect();
    let numbers: BTreeSet<i64> = of_keyless
        .iter()
        .map(|request| number(&request.json()["Data"]["columns"], "n"))
        .collect();
    assert_eq!((of_keyless.len(), numbers.len()), (301, 301));
    drop(program);
}

/// Who goes while a table is read has it wait again; who comes gets it from the start, and what came meanwhile.
#[test]
fn a_table_waits_again_when_its_subscription_goes() {
    let mut world = world();
    let receiver = receiver();
    let mut program = start(&world);
    wait_until_it_waits(&mut program);
    world.sql.wait_until_settled();
    let subscription = json!({"url": receiver.url("/"), "schema": "public", "table": "t"});
    let stopped = Stopped::of(&world, || program.subscribe(&subscription));
    world
        .sql
        .run("UPDATE t SET v = nextval('test.numbers') WHERE id <= 10");
    world.sql.wait_until_settled();
    program.unsubscribe(&subscription);
    world
        .sql
        .wait_for("SELECT state = 'waiting' FROM pgstream.snapshot_tables");
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.snapshot_holds");
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    assert_eq!(receiver.requests().len(), 0);
    drop(stopped);
    program.subscribe(&subscription);
    world
        .sql
        .run("UPDATE t SET v = nextval('test.numbers') WHERE id <= 20");
    world
        .sql
        .wait_for("SELECT state = 'done' FROM pgstream.snapshot_tables");
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    assert_same(&folded(&requests), &table(&mut world.sql));
    drop(program);
}

#[test]
fn without_subscribers_a_table_counts_as_read_where_that_is_asked_for() {
    let mut world = world();
    let receiver = receiver();
    let program = world.run(&["--snapshot-tables", "t", "--snapshot-without-subscribers"]);
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pgstream.snapshot_tables WHERE state = 'done'");
    world.sql.wait_until_settled();
    program.subscribe(&json!({"url": receiver.url("/"), "schema": "public", "table": "t"}));
    world.sql.run("UPDATE t SET v = 0 WHERE id = 1");
    world.sql.wait_until_delivered();
    assert_eq!(receiver.requests().len(), 1);
    assert!(program.terminate().0.success());
}

/// `run --init` does what `init` does first, and then nothing is missing either.
#[test]
fn the_slot_may_be_made_by_run() {
    let mut world =
        World::uninitialised(&[("max_prepared_transactions", "5"), ("deadlock_timeout", "100ms")]);
    world.sql.run(SET_UP);
    let receiver = receiver();
    let mut running = None;
    while_writing(&mut world, |world, sql, done| {
        let mut program = world.run(&["--init", "--snapshot-tables", "t"]);
        wait_until_it_waits(&mut program);
        subscribe(sql, &receiver.url("/"), "");
        sql.wait_for("SELECT count(*) = 1 FROM pgstream.snapshot_tables WHERE state = 'done'");
        wait_for_more(done, 200);
        running = Some(program);
    });
    let requests = receiver.requests();
    assert_exact(&requests);
    assert_same(&folded(&requests), &table(&mut world.sql));
    drop(running);
}

/// Who was to get rows by a program that was interrupted, and gets changes alone now, may be sent some before any row.
#[test]
fn who_gets_changes_alone_after_a_crash_is_written_down() {
    let mut world = world();
    let receiver = receiver();
    let url = receiver.url("/");
    let mut program = start(&world);
    wait_until_it_waits(&mut program);
    assert!(program.terminate().0.success());
    // As it is left where the first thing of a reading was written down, and nothing more.
    world.sql.run(&format!(
        "UPDATE pgstream.snapshot_tables SET state = 'pending', fresh = false;
         INSERT INTO pgstream.snapshot_endpoints (slot, oid, endpoint, fresh)
         SELECT slot, oid, '{url}', true FROM pgstream.snapshot_tables"
    ));
    subscribe(&mut world.sql, &url, "U,D");
    let program = start(&world);
    world
        .sql
        .wait_for("SELECT NOT fresh FROM pgstream.snapshot_endpoints");
    assert!(program.terminate().0.success());
}

/// As the tutorial has it: `init`, `run` with its file, and only then somebody subscribes.
#[test]
fn the_file_of_the_tutorial_reads_what_there_is() {
    let mut world = World::new(&[]);
    let url = world.url();
    let file = tempfile::Builder::new().suffix(".env").tempfile().unwrap();
    let lines = format!(
        "# Listener config\nPGSTREAM_POSTGRES_LISTENER_URL=\"{url}\"\nPGSTREAM_POSTGRES_REPLICATION_SLOT_NAME={SLOT}\n\
         PGSTREAM_POSTGRES_SNAPSHOT_STORE_URL=\"{url}\"\n# Initial snapshot of all tables in the public schema\n\
         PGSTREAM_POSTGRES_SNAPSHOT_TABLES=\"*\"\n\n# Processor config\nPGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL=\"{url}\"\n\
         PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_ENABLED=true\n\
         PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_REFRESH_INTERVAL=\"60s\"\n"
    );
    std::fs::write(file.path(), lines).unwrap();
    let run = || {
        let mut command = pgstream(&["run", "--log-level", "trace", "--log-format", "json", "-c"]);
        command.arg(file.path());
        let mut program = Program::launch(command);
        program.wait_for_log("streaming", |line| line["msg"] == "streaming");
        program
    };
    // There is nothing to read yet, which is no reason not to stream.
    assert!(run().terminate().0.success());
    world.sql.run("CREATE TABLE test (id serial PRIMARY KEY, name text); INSERT INTO test (name) VALUES ('alice'), ('bob')");
    let receiver = receiver();
    let program = run();
    program.subscribe(&json!({"url": receiver.url("/webhook"), "schema": "public", "table": "test"}));
    receiver.wait_for(|requests| requests.len() >= 2, DEADLINE);
    world.sql.run("UPDATE test SET name = 'carol' WHERE id = 2");
    receiver.wait_for(
        |requests| {
            requests
                .iter()
                .any(|request| request.json()["Data"]["action"] == "U")
        },
        DEADLINE,
    );
    let names: BTreeSet<String> = receiver
        .requests()
        .iter()
        .map(|request| request.json()["Data"]["columns"][1]["value"].to_string())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    drop(program);
}

#[test]
fn a_snapshot_by_itself_and_then_the_stream_leave_no_gap_either() {
    let mut world = world();
    let receiver = receiver();
    subscribe(&mut world.sql, &receiver.url("/"), "");
    let mut running = None;
    while_writing(&mut world, |world, _, done| {
        let snapshot = pgstream(&[
            "snapshot",
            "--tables",
            "t",
            "--replication-slot",
            SLOT,
            "--pgurl",
            &world.url(),
        ])
        .output()
        .unwrap();
        assert!(snapshot.status.success(), "{snapshot:?}");
        wait_for_more(done, 100);
        running = Some(world.start(&[]));
        wait_for_more(done, 100);
    });
    let requests = receiver.requests();
    assert_exact(&requests);
    assert_same(&folded(&requests), &table(&mut world.sql));
    drop(running);
}

/// What is written down of who was sent rows, step by step.
#[tokio::test]
async fn what_is_left_out_holds_only_while_the_rows_have_come() {
    const ENDPOINTS: [&str; 2] = ["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"];
    let cluster = initialised(&[]).await;
    let pool = store::connect(&database::url(&cluster, "postgres"))
        .await
        .unwrap();
    let mut session = database::session(&cluster).await;
    database::run(&mut session, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let relations = snapshot::relations(&pool).await.unwrap();
    let taken = |sees: &str| Exported {
        name: String::new(),
        sees: sees.to_owned(),
        lsn: "0/500".to_owned(),
        taken_at: String::new(),
    };
    let left_out = async |start: u64| {
        let left_out = snapshot::left_out(&pool, SLOT, Lsn::new(start)).await.unwrap();
        left_out
            .into_iter()
            .map(|one| (one.endpoint, one.sees))
            .collect::<BTreeSet<_>>()
    };
    let both = |sees: &str| BTreeSet::from(ENDPOINTS.map(|url| (url.to_owned(), sees.to_owned())));
    let plan = async |repeat| {
        let planned = snapshot::plan(&pool, SLOT, &relations, &relations, repeat)
            .await
            .unwrap();
        (planned[0].state, planned[0].fresh)
    };
    let table = &relations[0];
    let progress = Progress {
        oid: table.oid,
        backfill: 0,
        rows: 0,
        bytes: 0,
    };
    assert_eq!(plan(false).await, (SnapshotState::Pending, true));
    snapshot::stream_starts(&pool, SLOT, &[table.oid]).await.unwrap();
    let fresh = ENDPOINTS.map(|url| (table.oid, Arc::from(url)));
    let begin = async |sees: &str| {
        snapshot::begin(&pool, SLOT, (table, 0), &taken(sees), &ENDPOINTS)
            .await
            .unwrap();
    };
    let key = [(Arc::from(ENDPOINTS[0]), TableKey(7))];
    let holds = snapshot::hold(&pool, SLOT, &key, &fresh, Lsn::new(5))
        .await
        .unwrap();
    let again = snapshot::hold(&pool, SLOT, &key, &[], Lsn::new(9)).await.unwrap();
    assert_eq!(again, holds, "what is held already stays");
    assert_eq!(snapshot::holds(&pool, SLOT).await.unwrap(), holds);
    assert_eq!(
        plan(false).await,
        (SnapshotState::Pending, false),
        "others may subscribe meanwhile"
    );
    begin("5:5:").await;
    assert_eq!(plan(false).await, (SnapshotState::Reading, false));
    assert_eq!(left_out(1).await, BTreeSet::new(), "rows may be missing");
    // Read again under another snapshot, the first one counts.
    begin("9:9:").await;
    snapshot::done(&pool, SLOT, &progress).await.unwrap();
    assert_eq!(left_out(0x500).await, both("5:5:"));
    let of_the_hold = BTreeSet::from([(ENDPOINTS[0].to_owned(), "5:5:".to_owned())]);
    assert_eq!(
        left_out(0x501).await,
        of_the_hold,
        "all of it has gone by, but for what is held"
    );
    snapshot::end_hold(&pool, holds[0].id).await.unwrap();
    assert_eq!(left_out(0x501).await, BTreeSet::new());
    assert_eq!(
        plan(true).await,
        (SnapshotState::Pending, false),
        "they have been sent changes since"
    );

    // Where it is put off, or not planned, its changes come.
    for put_off in 0..3 {
        database::run(
            &mut session,
            "UPDATE pgstream.snapshot_tables SET state = 'pending'",
        )
        .await;
        snapshot::hold(&pool, SLOT, &[], &fresh, Lsn::ZERO).await.unwrap();
        begin("5:5:").await;
        assert_eq!(
            snapshot::left_out_of(&pool, SLOT, table.oid).await.unwrap().len(),
            2
        );
        match put_off {
            0 => snapshot::waiting(&pool, SLOT, table.oid).await.unwrap(),
            1 => snapshot::set_aside(&pool, SLOT, table.oid).await.unwrap(),
            _ => snapshot::stream_starts(&pool, SLOT, &[]).await.unwrap(),
        }
        assert_eq!(snapshot::left_out_of(&pool, SLOT, table.oid).await.unwrap(), []);
        database::run(&mut session, "DELETE FROM pgstream.snapshot_endpoints").await;
    }
    // A slot that is made anew has everything read anew.
    snapshot::done(&pool, SLOT, &progress).await.unwrap();
    let holds = snapshot::hold(&pool, SLOT, &key, &[], Lsn::new(9)).await.unwrap();
    database::run(
        &mut session,
        &format!(
            "INSERT INTO pgstream.snapshot_held (hold, webhook_id, replay_run, origin, schema_name, table_name, action,
                    table_key, source, epoch, commit_lsn, lsn, payload, attempts)
             VALUES ({}, 'id', 0, 'stream', 's', 't', 'I', 7, 1, 1, '0/1', '0/1', '', 0)",
            holds[0].id
        ),
    )
    .await;
    snapshot::slot_made(&pool, SLOT).await.unwrap();
    let released: Vec<String> =
        database::values(&mut session, "SELECT endpoint FROM pgstream.webhook_backlog").await;
    assert_eq!(released, [ENDPOINTS[0]], "what was held is held no longer");
    assert_eq!(snapshot::holds(&pool, SLOT).await.unwrap(), []);
    assert_eq!(
        plan(false).await,
        (SnapshotState::Pending, false),
        "it was started before"
    );
}
