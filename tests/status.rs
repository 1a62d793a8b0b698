//! Suite `status`: what `pgstream status` says in each state that something can be in, for people and for programs.

use std::net::TcpListener;

use pgstream::config::keys;
use pgstream::demo::cluster::StopMode;
use serde_json::{Value, json};

use crate::support::database::SLOT;
use crate::support::look::{Looked, look, look_with};
use crate::support::program::pgstream;
use crate::support::world::{Sql, World, receiver};

const URL: &str = "http://127.0.0.1:1/hook";

/// Looks at the world's database and slot.
fn status(world: &World) -> Looked {
    look("status", &["--pgurl", &world.url(), "--replication-slot", SLOT])
}

/// Subscribes a URL to these types of all changes.
fn subscribe(sql: &mut Sql, types: &str) {
    sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions VALUES ('{URL}', '', '', '{{{types}}}')"
    ));
}

#[test]
fn a_database_that_is_not_initialised() {
    let world = World::uninitialised(&[]);
    let found = status(&world);
    assert_eq!(found.code, 1);
    assert_eq!(
        found.problems(),
        ["not_initialised", "not_initialised", "slot_missing"]
    );
    assert_eq!(found.problem("not_initialised").1, "run pgstream init");
    let initialisation = &found.json["initialisation"];
    assert_eq!(initialisation["schema_exists"], false);
    assert_eq!(initialisation["schema_log_exists"], false);
    assert_eq!(initialisation["source_migration"]["version"], Value::Null);
    assert_eq!(found.json["slot"], Value::Null);
    assert_eq!(found.json["source"]["reachable"], true);
    assert!(found.missing().is_empty(), "{:#}", found.json);
    assert!(
        found.text.contains(" - Pgstream schema exists: false\n"),
        "{}",
        found.text
    );
    assert!(
        found.text.contains(" - Migration current version: none\n"),
        "{}",
        found.text
    );
}

#[test]
fn a_healthy_one_reads_as_it_is_known() {
    let world = World::new(&[]);
    let found = status(&world);
    assert_eq!((found.code, found.problems()), (0, vec![]), "{:#}", found.json);
    assert_eq!(found.hints(), ["slot_inactive"]);
    let version = &found.json["initialisation"]["source_migration"]["version"];
    let begin = format!(
        "SUCCESS  pgstream status check encountered no issues\n\
         Initialisation status:\n - Pgstream schema exists: true\n - Pgstream schema_log table exists: true\n \
         - Migration current version: {version}\n - Migration status: success\n"
    );
    assert!(found.text.starts_with(&begin), "{}", found.text);
    for line in [
        " - Replication slot name: pgstream_tutorial_slot\n",
        " - Replication slot plugin: wal2json\n",
        " - Replication slot database: postgres\n",
        "Config status:\n - Valid: true\n",
        "Source status:\n - Reachable: true\n",
        " - Encoding: UTF8\n",
        " - max_slot_wal_keep_size: unlimited\n",
        " - Backlog events: 0\n",
    ] {
        assert!(found.text.contains(line), "{line} is not in {}", found.text);
    }
    let slot = &found.json["slot"];
    assert_eq!(slot["name"], SLOT);
    assert_eq!(slot["active"], false);
    assert_eq!(slot["wal_status"], "reserved");
    assert!(slot["lag_bytes"].as_u64().is_some(), "{slot}");
    assert_eq!(found.json["source"]["synchronous_standby"], false);
}

#[test]
fn a_slot_that_is_missing_or_another_one() {
    let mut world = World::new(&[]);
    world
        .sql
        .run(&format!("SELECT pg_drop_replication_slot('{SLOT}')"));
    let found = status(&world);
    assert_eq!((found.code, found.problems()), (1, vec!["slot_missing"]));
    world.sql.run(&format!(
        "SELECT pg_create_logical_replication_slot('{SLOT}', 'test_decoding')"
    ));
    let found = status(&world);
    assert_eq!((found.code, found.problems()), (1, vec!["slot_conflict"]));
    assert!(
        found
            .problem("slot_conflict")
            .0
            .contains("output plugin test_decoding")
    );
    assert_eq!(found.json["slot"]["plugin"], "test_decoding");
    assert!(found.text.contains(" - Replication slot plugin: test_decoding\n"));
    world.sql.run(&format!(
        "SELECT pg_drop_replication_slot('{SLOT}'); SELECT pg_create_physical_replication_slot('{SLOT}')"
    ));
    assert!(
        status(&world)
            .problem("slot_conflict")
            .0
            .contains("a physical slot")
    );
}

#[test]
fn a_slot_that_is_streamed_from() {
    let mut world = World::new(&[("max_wal_senders", "1")]);
    let _program = world.start(&[]);
    let found = status(&world);
    assert_eq!((found.code, found.hints()), (0, vec![]), "{:#}", found.json);
    let pid: i32 = world.sql.value("SELECT active_pid FROM pg_replication_slots");
    let slot = &found.json["slot"];
    assert_eq!(
        (&slot["active"], &slot["active_pid"]),
        (&json!(true), &json!(pid))
    );
    assert_eq!(slot["sync_state"], "async");
    assert!(
        found.text.contains(&format!(" - Active: true\n - PID: {pid}\n")),
        "{}",
        found.text
    );
    // Who may not see what the sessions of others are sees that this one is there.
    world.sql.run("CREATE ROLE repli LOGIN REPLICATION");
    let found = look("check", &["--pgurl", &world.cluster.url_as("repli", "postgres")]);
    assert!(
        found.problems().contains(&"no_free_walsender"),
        "{:#}",
        found.json
    );
}

#[test]
fn a_slot_that_is_about_to_be_lost_and_one_that_is() {
    let mut world = World::new(&[("max_slot_wal_keep_size", "1MB")]);
    world.sql.run("CREATE TABLE t (n int)");
    for _ in 0..4 {
        world.sql.run("INSERT INTO t VALUES (1)");
        world.sql.run("SELECT pg_switch_wal()");
    }
    let found = status(&world);
    assert_eq!(found.problems(), ["slot_unreserved"], "{:#}", found.json);
    assert_eq!(found.json["slot"]["max_slot_wal_keep_size"], 1 << 20);
    assert!(found.json["slot"]["safe_wal_size"].as_i64().unwrap() <= 0);
    assert!(
        found
            .problem("slot_unreserved")
            .1
            .contains("ALTER SYSTEM SET max_slot_wal_keep_size")
    );
    world.sql.run("CHECKPOINT");
    world
        .sql
        .wait_for("SELECT wal_status = 'lost' FROM pg_replication_slots");
    let found = status(&world);
    assert_eq!((found.code, found.problems()), (1, vec!["slot_lost"]));
    let slot = &found.json["slot"];
    assert_eq!(
        (&slot["wal_status"], &slot["retained_bytes"]),
        (&json!("lost"), &Value::Null)
    );
    assert!(
        found
            .problem("slot_lost")
            .1
            .contains("then pgstream init, then pgstream run --accept-gap")
    );
}

#[test]
fn tables_whose_updates_name_no_row() {
    let mut world = World::new(&[]);
    world.sql.run(
        "CREATE SCHEMA \"S\"; CREATE TABLE \"S\".\"no \"\"key\" (n int);
         CREATE TABLE indexed (n int NOT NULL, m int); CREATE UNIQUE INDEX of_n ON indexed (n);
         CREATE UNIQUE INDEX of_m ON indexed (m); CREATE UNIQUE INDEX partly ON indexed (n) WHERE n > 0;
         CREATE TABLE switched_off (n int PRIMARY KEY); ALTER TABLE switched_off REPLICA IDENTITY NOTHING;
         CREATE TABLE deferred (n int PRIMARY KEY DEFERRABLE);
         CREATE TABLE index_lost (n int NOT NULL); CREATE UNIQUE INDEX lost ON index_lost (n);
         ALTER TABLE index_lost REPLICA IDENTITY USING INDEX lost; DROP INDEX lost;
         CREATE TABLE parts (n int) PARTITION BY LIST (n); CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
         CREATE TABLE good (n int PRIMARY KEY); CREATE TABLE full_row (n int); CREATE UNLOGGED TABLE unlogged (n int);
         ALTER TABLE full_row REPLICA IDENTITY FULL",
    );
    assert_eq!(status(&world).code, 0, "nobody is subscribed");
    subscribe(&mut world.sql, "I,T");
    assert_eq!(status(&world).code, 0, "inserts need no identity");
    world.sql.run("DELETE FROM pgstream.webhook_subscriptions");
    subscribe(&mut world.sql, "U");
    let found = status(&world);
    let tables = found.json["tables_without_replica_identity"]
        .as_array()
        .unwrap()
        .clone();
    let remedies: Vec<&str> = tables
        .iter()
        .map(|table| table["remedy"].as_str().unwrap())
        .collect();
    assert_eq!(
        remedies,
        [
            r#"ALTER TABLE "S"."no ""key" REPLICA IDENTITY FULL"#,
            r#"ALTER TABLE "public"."deferred" REPLICA IDENTITY FULL"#,
            r#"ALTER TABLE "public"."index_lost" REPLICA IDENTITY FULL"#,
            r#"ALTER TABLE "public"."indexed" REPLICA IDENTITY USING INDEX "of_n""#,
            r#"ALTER TABLE "public"."part_1" REPLICA IDENTITY FULL"#,
            r#"ALTER TABLE "public"."switched_off" REPLICA IDENTITY DEFAULT"#,
        ]
    );
    assert_eq!(found.problems(), ["no_replica_identity"; 6]);
    // What the configuration excludes needs none either.
    let excluded = look_with(
        "status",
        &["--pgurl", &world.url(), "--replication-slot", SLOT],
        &[(keys::EXCLUDE_TABLES.name, "public.*")],
    );
    assert_eq!(excluded.problems(), ["no_replica_identity"]);
    // And what the plugin is told to leave out.
    let left_out = look_with(
        "status",
        &["--pgurl", &world.url(), "--replication-slot", SLOT],
        &[(keys::PLUGIN_FILTER_TABLES.name, "public.*")],
    );
    assert_eq!(left_out.problems(), ["no_replica_identity"]);
    for remedy in remedies {
        world.sql.run(remedy);
    }
    assert_eq!(status(&world).code, 0);
}

#[test]
fn what_waits_and_what_was_given_up() {
    let mut world = World::new(&[]);
    subscribe(&mut world.sql, "I");
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_backlog
                (endpoint, webhook_id, origin, schema_name, table_name, action, table_key, source, epoch, commit_lsn, lsn, payload)
         SELECT '{URL}', n::text, 'stream', 's', 't', 'I', 1, 1, 0, '0/1', '0/1', 'abc' FROM generate_series(1, 3) n"
    ));
    let found = status(&world);
    assert_eq!(
        found.code, 0,
        "that something waits is no problem by itself: {:#}",
        found.json
    );
    let backlog = &found.json["backlog"];
    assert_eq!((&backlog["rows"], &backlog["bytes"]), (&json!(3), &json!(9)));
    assert!(backlog["oldest"].as_str().unwrap().ends_with('Z'));
    assert!(found.text.contains(" - Backlog events: 3\n"), "{}", found.text);
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_dead_letters (endpoint, webhook_id, origin, source, epoch, commit_lsn, lsn, payload, reason)
         VALUES ('{URL}', 'a', 'stream', 1, 0, '0/1', '0/1', '', 'refused'), ('{URL}', 'b', 'stream', 1, 0, '0/1', '0/1', '', 'x');
         INSERT INTO pgstream.webhook_dead_letters (webhook_id, origin, source, epoch, commit_lsn, lsn, payload, reason, last_error)
         VALUES ('c', 'stream', 1, 0, '0/1', '0/AB', '', 'unparsable', E'expected a colon\\n')"
    ));
    let found = status(&world);
    assert_eq!(
        (found.code, found.problems()),
        (1, vec!["dead_letters", "unparsable_records"])
    );
    let letters = &found.json["dead_letters"];
    assert_eq!(
        (&letters["undelivered"], &letters["without_endpoint"]),
        (&json!(2), &json!(1))
    );
    let record = &letters["records"][0];
    assert_eq!(
        (&record["reason"], &record["lsn"]),
        (&json!("unparsable"), &json!("0/AB"))
    );
    assert!(
        found.text.contains(" - Unparsable records: 1\n"),
        "{}",
        found.text
    );
    // What came from outside moves nobody's cursor.
    assert!(found.text.contains("expected a colon\\n\n"), "{}", found.text);
    let id = record["id"].to_string();
    let discard = ["deadletters", "discard", "--id", &id, "--pgurl", &world.url()].map(str::to_owned);
    let arguments: Vec<&str> = discard.iter().map(String::as_str).collect();
    assert!(pgstream(&arguments).output().unwrap().status.success());
    assert_eq!(status(&world).problems(), ["dead_letters"]);
}

#[test]
fn endpoints_in_trouble() {
    let mut world = World::new(&[]);
    subscribe(&mut world.sql, "I");
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_endpoint_health (url, health, since, reason)
         VALUES ('{URL}', 'outage', '2026-01-02 03:04:05+00', 'connection refused'), ('http://nobody', 'failing', now(), NULL)"
    ));
    let found = status(&world);
    assert_eq!((found.code, found.problems()), (1, vec!["endpoint_in_trouble"]));
    let expected = json!([{
        "url": URL, "state": "outage", "since": "2026-01-02T03:04:05.000Z", "reason": "connection refused"
    }]);
    assert_eq!(found.json["endpoints_in_trouble"], expected);
    let line = format!(" - {URL}: outage since 2026-01-02T03:04:05.000Z: connection refused\n");
    assert!(found.text.contains(&line), "{}", found.text);
    for (step, state, remedy) in [
        ("pause", "paused", "endpoints resume"),
        ("disable", "disabled", "endpoints enable"),
    ] {
        let step = pgstream(&[
            "endpoints",
            step,
            URL,
            "--reason",
            "maintenance",
            "--pgurl",
            &world.url(),
        ])
        .output();
        assert!(step.unwrap().status.success());
        let found = status(&world);
        let endpoints = &found.json["endpoints_in_trouble"];
        assert_eq!(endpoints.as_array().unwrap().len(), 1, "{endpoints}");
        assert_eq!(
            (&endpoints[0]["state"], &endpoints[0]["reason"]),
            (&json!(state), &json!("maintenance"))
        );
        assert!(found.problem("endpoint_in_trouble").1.contains(remedy));
    }
    world.sql.run(&format!(
        "UPDATE pgstream.webhook_endpoints SET standing = 'active';
         UPDATE pgstream.webhook_endpoint_health SET health = 'draining' WHERE url = '{URL}'"
    ));
    let found = status(&world);
    assert_eq!(found.code, 0, "it takes what it gets: {:#}", found.json);
    assert_eq!(found.json["endpoints_in_trouble"][0]["state"], "draining");
}

#[test]
fn rows_that_are_read_or_wait_to_be() {
    let mut world = World::new(&[]);
    world.sql.run(&format!(
        "INSERT INTO pgstream.snapshot_tables
                (slot, backfill, oid, endpoint, schema_name, table_name, state, fresh, run, estimated_rows, total_bytes, read_rows, problem)
         VALUES ('{SLOT}', 0, 1, NULL, 's', 'later', 'waiting', true, 1, 9, 9, 0, NULL),
                ('{SLOT}', 0, 2, NULL, 's', 'now', 'reading', true, 1, 10, 9, 4, NULL),
                ('other', 0, 3, NULL, 's', 'elsewhere', 'waiting', true, 1, 10, 9, 4, NULL),
                ('{SLOT}', 7, 4, '{URL}', 's', 'again', 'failed', true, 1, 10, 9, 5, 'permission denied');
         INSERT INTO pgstream.snapshot_holds (slot, endpoint, table_key, from_lsn) VALUES ('{SLOT}', '{URL}', 1, '0/1');
         INSERT INTO pgstream.snapshot_held (hold, webhook_id, replay_run, origin, schema_name, table_name, action, table_key,
                                             source, epoch, commit_lsn, lsn, payload, attempts)
         SELECT id, 'a', 0, 'stream', 's', 't', 'I', 1, 1, 0, '0/1', '0/1', 'four', 0 FROM pgstream.snapshot_holds"
    ));
    let found = status(&world);
    assert_eq!((found.code, found.problems()), (1, vec!["backfill_failed"]));
    assert!(found.problem("backfill_failed").0.contains("permission denied"));
    assert!(found.hints().contains(&"table_waiting"), "{:?}", found.hints());
    let snapshot = &found.json["snapshot"];
    let tables = snapshot["tables"].as_array().unwrap();
    let states: Vec<&Value> = tables.iter().map(|table| &table["state"]).collect();
    assert_eq!(states, ["waiting", "reading"]);
    assert_eq!(snapshot["held"], json!({"holds": 1, "changes": 1, "bytes": 4}));
    assert_eq!(snapshot["backfills"][0]["state"], "failed");
    for line in [
        " - s.later: waiting, 0 of about 9 rows\n",
        " - s.now: reading, 4 of about 10 rows\n",
        " - Held changes: 1\n",
        &format!(" - Backfill 7 for {URL}: failed, 5 of about 10 rows\n"),
    ] {
        assert!(found.text.contains(line), "{line} is not in {}", found.text);
    }
}

#[test]
fn commits_that_wait_for_webhooks() {
    let mut world = World::new(&[]);
    let program = world.start(&[]);
    let receiver = receiver();
    program.subscribe(&json!({"url": receiver.url("/")}));
    world.sql.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
    world.sql.run("SELECT pg_reload_conf()");
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
    let found = status(&world);
    assert_eq!((found.code, found.problems()), (1, vec!["synchronous_standby"]));
    let (message, remedy) = found.problem("synchronous_standby");
    assert!(message.contains("sync_state is sync"), "{message}");
    assert_eq!(found.json["source"]["synchronous_standby"], true);
    assert_eq!(found.json["source"]["synchronous_standby_names"], "*");
    let statement = "ALTER SYSTEM SET synchronous_standby_names = ''";
    assert!(remedy.contains(statement), "{remedy}");
    world.sql.run(statement);
    world.sql.run("SELECT pg_reload_conf()");
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'async'");
    assert_eq!(status(&world).code, 0);
}

#[test]
fn databases_that_are_down_hide_nothing_of_the_others() {
    let (mut source, mut store) = (World::new(&[]), World::new(&[]));
    store
        .sql
        .run(&format!("SELECT pg_drop_replication_slot('{SLOT}')"));
    subscribe(&mut store.sql, "I");
    let (source_url, store_url) = (source.url(), store.url());
    let arguments = [
        "--pgurl",
        &source_url,
        "--store-url",
        &store_url,
        "--replication-slot",
        SLOT,
    ];
    assert_eq!(look("status", &arguments).code, 0);
    drop(source.sql);
    source.cluster.stop(StopMode::Immediate).unwrap();
    let found = look("status", &arguments);
    assert_eq!((found.code, found.problems()), (1, vec!["source_unreachable"]));
    assert_eq!(found.json["source"]["reachable"], false);
    assert!(
        found.json["source"]["error"]
            .as_str()
            .unwrap()
            .contains("refused")
    );
    assert_eq!(
        (&found.json["slot"], &found.json["backlog"]["rows"]),
        (&Value::Null, &json!(0))
    );
    assert!(
        found.text.contains("Source status:\n - Reachable: false\n"),
        "{}",
        found.text
    );
    assert!(
        found.text.contains(" - Pgstream schema exists: unknown\n"),
        "{}",
        found.text
    );
    source.cluster.restart().unwrap();
    store.cluster.stop(StopMode::Immediate).unwrap();
    let found = look("status", &arguments);
    assert_eq!((found.code, found.problems()), (1, vec!["store_unreachable"]));
    assert_eq!(found.json["store"]["reachable"], false);
    assert_eq!(
        (&found.json["slot"]["name"], &found.json["backlog"]),
        (&json!(SLOT), &Value::Null)
    );
    assert!(
        found.text.contains(" - Backlog events: unknown\n"),
        "{}",
        found.text
    );
    source.cluster.stop(StopMode::Immediate).unwrap();
    let found = look("status", &arguments);
    assert_eq!(
        (found.code, found.problems()),
        (2, vec!["source_unreachable", "store_unreachable"])
    );
}

#[test]
fn servers_that_accept_and_say_nothing_are_not_waited_for() {
    let world = World::new(&[]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!(
        "postgres://u@127.0.0.1:{}/d?sslmode=disable&connect_timeout=60",
        silent.local_addr().unwrap().port()
    );
    let found = look("status", &["--pgurl", &silent]);
    assert_eq!((found.code, found.problems()), (2, vec!["source_unreachable"]));
    let url = world.url();
    let found = look(
        "status",
        &[
            "--pgurl",
            &url,
            "--store-url",
            &silent,
            "--replication-slot",
            SLOT,
        ],
    );
    assert_eq!((found.code, found.problems()), (1, vec!["store_unreachable"]));
    assert_eq!(found.json["slot"]["name"], SLOT);
    let found = look(
        "status",
        &[
            "--pgurl",
            &silent,
            "--store-url",
            &url,
            "--replication-slot",
            SLOT,
        ],
    );
    assert_eq!((found.code, found.problems()), (1, vec!["source_unreachable"]));
    assert_eq!(found.json["backlog"]["rows"], 0);
}

#[test]
fn locks_on_our_tables_hide_only_what_is_in_them() {
    let mut world = World::new(&[]);
    let mut other = Sql::open(&world.cluster, "postgres");
    other.run("BEGIN");
    other.run("LOCK TABLE pgstream.webhook_backlog, pgstream.snapshot_tables IN ACCESS EXCLUSIVE MODE");
    let found = status(&world);
    assert_eq!(found.code, 1);
    assert_eq!(found.missing(), ["endpoints_in_trouble", "backlog", "snapshot"]);
    assert_eq!(found.problems(), ["not_looked_at"; 3]);
    assert!(found.problem("not_looked_at").1.contains("pg_blocking_pids"));
    assert_eq!(
        (&found.json["slot"]["name"], &found.json["backlog"]),
        (&json!(SLOT), &Value::Null)
    );
    assert_eq!(found.json["dead_letters"]["undelivered"], 0);
    assert!(
        found.text.contains(" - Backlog events: unknown\n"),
        "{}",
        found.text
    );
    // Nor does whoever asked wait for the lock any longer.
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    other.run("ROLLBACK");
    assert_eq!(status(&world).code, 0);
}

#[test]
fn a_role_that_may_see_little_is_told_what_it_cannot_see() {
    let mut world = World::new(&[]);
    world.sql.run("CREATE ROLE nobody LOGIN");
    let url = world.cluster.url_as("nobody", "postgres");
    let found = look("status", &["--pgurl", &url, "--replication-slot", SLOT]);
    assert_eq!(found.code, 1);
    assert!(found.missing().contains(&"source_migration"), "{:#}", found.json);
    assert!(
        found.text.contains("permission denied for schema pgstream"),
        "{}",
        found.text
    );
    assert_eq!(found.json["initialisation"]["schema_log_exists"], true);
    assert_eq!(found.json["slot"]["name"], SLOT);
}

#[test]
fn a_configuration_that_is_wrong() {
    let world = World::new(&[]);
    let url = world.url();
    let found = look_with(
        "status",
        &["--pgurl", &url, "--replication-slot", SLOT],
        &[(keys::WORKER_COUNT.name, "many"), (keys::MODE.name, "nonsense")],
    );
    assert_eq!(
        (found.code, found.problems()),
        (1, vec!["config_invalid", "config_invalid"])
    );
    assert_eq!(found.json["config"]["valid"], false);
    assert!(
        found.json["config"]["errors"]
            .to_string()
            .contains(keys::MODE.name)
    );
    assert!(
        found.text.contains("Config status:\n - Valid: false\n"),
        "{}",
        found.text
    );
    assert_eq!(
        found.json["slot"]["name"], SLOT,
        "the rest is looked at all the same"
    );
    let found = look("status", &[]);
    assert_eq!((found.code, found.problems()), (2, vec!["config_invalid"]));
    assert!(
        found
            .problem("config_invalid")
            .0
            .contains("PGSTREAM_POSTGRES_LISTENER_URL")
    );
    let found = look("status", &["--pgurl", "postgres://u:secret@h?nonsense=1"]);
    assert_eq!(found.code, 2);
    assert!(!found.text.contains("secret") && !found.json.to_string().contains("secret"));
}

#[test]
fn migrations_that_are_not_this_releases() {
    let mut world = World::new(&[]);
    world
        .sql
        .run("DELETE FROM pgstream.store_migrations WHERE version > 4");
    let found = status(&world);
    assert_eq!(found.problems(), ["migrations_pending"]);
    assert_eq!(
        found.json["initialisation"]["store_migration"]["state"],
        "pending"
    );
    world
        .sql
        .run("UPDATE pgstream.source_migrations SET success = false WHERE version = 2");
    let found = status(&world);
    assert_eq!(found.problems(), ["migration_failed", "migrations_pending"]);
    assert!(
        found.text.contains(" - Migration status: failed\n"),
        "{}",
        found.text
    );
    world
        .sql
        .run("UPDATE pgstream.source_migrations SET checksum = '', success = true");
    let found = status(&world);
    assert_eq!(found.problems(), ["other_release", "migrations_pending"]);
}
