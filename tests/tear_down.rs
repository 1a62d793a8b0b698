//! `tear-down`: everything goes, or what is in the way is named and nothing goes.

use pgstream::demo::cluster::Cluster;
use pgstream::setup::{SetupError, TearDownOptions, TearDownReport, tear_down};
use pgstream::store::known::Undelivered;
use sqlx::PgConnection;

use crate::support::database::{
    SLOT, cluster, init_options, init_quietly, initialised, run, session, session_in, tear_down_options, url,
    value, wait_until,
};

const NOTHING: TearDownReport = TearDownReport {
    source_schema: false,
    store_schema: false,
    slot: false,
    undelivered: Undelivered {
        backlog: 0,
        dead_letters: 0,
    },
};

/// How many things of ours a database has.
async fn remains(session: &mut PgConnection) -> i64 {
    value(
        session,
        "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'pgstream')
              + (SELECT count(*) FROM pg_event_trigger)
              + (SELECT count(*) FROM pg_replication_slots)",
    )
    .await
}

async fn refused(cluster: &Cluster) -> SetupError {
    let error = tear_down(&tear_down_options(url(cluster, "postgres")))
        .await
        .expect_err("tear-down refuses");
    let remains = remains(&mut session(cluster).await).await;
    assert_eq!(
        remains, 4,
        "schema, two event triggers and a slot are still there"
    );
    error
}

#[tokio::test]
async fn removes_everything_and_is_harmless_the_second_time() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE TABLE test (id serial PRIMARY KEY, name text)",
    )
    .await;
    let options = tear_down_options(url(&cluster, "postgres"));
    let report = tear_down(&options).await.unwrap();
    assert_eq!(
        report,
        TearDownReport {
            source_schema: true,
            slot: true,
            ..NOTHING
        }
    );
    assert_eq!(remains(&mut session).await, 0);
    run(&mut session, "ALTER TABLE test ADD COLUMN more int").await;
    assert_eq!(tear_down(&options).await.unwrap(), NOTHING);
    init_quietly(&init_options(url(&cluster, "postgres")))
        .await
        .unwrap();
    assert_eq!(remains(&mut session).await, 4);
}

#[tokio::test]
async fn removes_a_half_done_init_and_a_store_of_its_own() {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE DATABASE store").await;
    let (mut init, mut options) = (
        init_options(url(&cluster, "postgres")),
        tear_down_options(url(&cluster, "postgres")),
    );
    init.store = Some(url(&cluster, "store"));
    options.store = Some(url(&cluster, "store"));
    init_quietly(&init).await.unwrap();
    run(
        &mut session,
        concat!(
            include_str!("../sql/source/0003_schema_log_triggers.down.sql"),
            "DELETE FROM pgstream.source_migrations WHERE version = 3;
             SELECT pg_drop_replication_slot('pgstream_tutorial_slot');"
        ),
    )
    .await;
    let report = tear_down(&options).await.unwrap();
    assert_eq!(
        report,
        TearDownReport {
            source_schema: true,
            store_schema: true,
            ..NOTHING
        }
    );
    assert_eq!(remains(&mut session).await, 0);
    assert_eq!(remains(&mut session_in(&url(&cluster, "store")).await).await, 0);
}

#[tokio::test]
async fn a_slot_in_use_is_named_with_its_pid() {
    let cluster = initialised(&[]).await;
    let (mut open, mut user, mut watcher) = (
        session(&cluster).await,
        session(&cluster).await,
        session(&cluster).await,
    );
    let pid: i32 = value(&mut user, "SELECT pg_backend_pid()").await;
    // A slot is in use while it is being created, and that lasts as long as a transaction is open.
    run(
        &mut open,
        "SELECT pg_drop_replication_slot('pgstream_tutorial_slot')",
    )
    .await;
    run(&mut open, "BEGIN; SELECT txid_current()").await;
    let creation = tokio::spawn(async move {
        run(
            &mut user,
            "SELECT pg_create_logical_replication_slot('pgstream_tutorial_slot', 'wal2json')",
        )
        .await;
    });
    let active = format!("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{SLOT}'");
    wait_until("the slot is active", async || {
        let found: Option<Option<i32>> = sqlx::query_scalar(sqlx::AssertSqlSafe(active.clone()))
            .fetch_optional(&mut session(&cluster).await)
            .await
            .unwrap();
        found == Some(Some(pid))
    })
    .await;
    let error = refused(&cluster).await;
    assert!(
        error.to_string().contains(&format!("in use by PID {pid}")),
        "{error}"
    );
    run(&mut open, "COMMIT").await;
    creation.await.unwrap();
    assert!(
        tear_down(&tear_down_options(url(&cluster, "postgres")))
            .await
            .unwrap()
            .slot
    );
    assert_eq!(remains(&mut watcher).await, 0);
}

#[tokio::test]
async fn what_is_not_delivered_is_counted_and_kept_without_force() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    let letter = "(webhook_id, origin, source, epoch, commit_lsn, lsn, payload, reason)
         SELECT n::text, 'stream', 1, 0, '0/1', '0/1', '', 'unparsable' FROM generate_series(1, 3) n";
    run(
        &mut session,
        &format!("INSERT INTO pgstream.webhook_dead_letters {letter}"),
    )
    .await;
    run(
        &mut session,
        "INSERT INTO pgstream.webhook_backlog
            (endpoint, webhook_id, origin, schema_name, table_name, action, table_key, source, epoch, commit_lsn, lsn,
             payload)
         SELECT 'http://h', n::text, 'stream', 's', 't', 'I', 0, 1, 0, '0/1', '0/1', '' FROM generate_series(1, 2) n",
    )
    .await;
    let error = refused(&cluster).await.to_string();
    assert!(
        error.contains("2 undelivered events in backlogs and 3 dead letters") && error.contains("--force"),
        "{error}"
    );
    let options = TearDownOptions {
        force: true,
        ..tear_down_options(url(&cluster, "postgres"))
    };
    let lost = tear_down(&options).await.unwrap().undelivered;
    assert_eq!((lost.backlog, lost.dead_letters), (2, 3));
    assert_eq!(remains(&mut session).await, 0);
}

#[tokio::test]
async fn a_slot_that_is_not_ours_is_left_alone() {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "SELECT pg_create_logical_replication_slot('pgstream_tutorial_slot', 'test_decoding')",
    )
    .await;
    let error = tear_down(&tear_down_options(url(&cluster, "postgres")))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("output plugin test_decoding"),
        "{error}"
    );
    assert_eq!(remains(&mut session).await, 1);
}

#[tokio::test]
async fn what_is_not_ours_is_never_removed_with_it() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE TABLE mine (a int, ticket pgstream.xid)").await;
    let error = refused(&cluster).await;
    assert!(
        error.to_string().contains("column ticket of table public.mine"),
        "{error}"
    );
    run(
        &mut session,
        "DROP TABLE mine; CREATE TABLE pgstream.mine (a int)",
    )
    .await;
    let error = refused(&cluster).await;
    assert!(error.to_string().contains("table pgstream.mine"), "{error}");
    run(&mut session, "DROP TABLE pgstream.mine").await;
    tear_down(&tear_down_options(url(&cluster, "postgres")))
        .await
        .unwrap();
    assert_eq!(remains(&mut session).await, 0);
}

#[tokio::test]
async fn transactions_in_the_way_are_named() {
    let cluster = initialised(&[]).await;
    let (mut open, mut prepared) = (session(&cluster).await, session(&cluster).await);
    let pid: i32 = value(&mut open, "SELECT pg_backend_pid()").await;
    run(&mut open, "BEGIN; CREATE TABLE one (a int)").await;
    run(
        &mut prepared,
        "BEGIN; CREATE TABLE two (a int); PREPARE TRANSACTION 'left behind'",
    )
    .await;
    let error = refused(&cluster).await.to_string();
    assert!(error.contains(&format!("PID {pid} ")), "{error}");
    assert!(error.contains("prepared transaction 'left behind'"), "{error}");
    run(&mut open, "COMMIT").await;
    run(&mut prepared, "ROLLBACK PREPARED 'left behind'").await;
    tear_down(&tear_down_options(url(&cluster, "postgres")))
        .await
        .unwrap();
}
