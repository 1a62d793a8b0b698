//! `init`: what it makes, run once, twice, interrupted, and while others hold transactions open.

use std::time::Duration;

use pgstream::setup::{InitReport, SetupError, init};
use pgstream::store::{self, MigrationSet};
use sqlx::Connection;

use crate::support::database::{
    SLOT, cluster, init_options, init_quietly, initialised, run, session, session_in, url, url_as, value,
    values, wait_until,
};

const UNCHANGED: InitReport = InitReport {
    source_migrations: 0,
    store_migrations: 0,
    slot_created: false,
    schema_log_changed: false,
};

#[tokio::test]
async fn makes_what_the_tutorial_shows_and_nothing_the_second_time() {
    let cluster = cluster(&[]);
    let options = init_options(url(&cluster, "postgres"));
    let report = init_quietly(&options).await.unwrap();
    assert!(report.slot_created && report.source_migrations > 0 && report.store_migrations > 0);
    let mut session = session(&cluster).await;
    let slot: String = value(
        &mut session,
        "SELECT concat_ws(' ', slot_name, plugin, slot_type, database) FROM pg_replication_slots
          WHERE restart_lsn IS NOT NULL AND confirmed_flush_lsn IS NOT NULL AND NOT temporary",
    )
    .await;
    assert_eq!(slot, "pgstream_tutorial_slot wal2json logical postgres");
    let columns: Vec<String> = values(
        &mut session,
        "SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'not null' END,
                          'default ' || pg_get_expr(adbin, adrelid))
           FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
          WHERE attrelid = 'pgstream.schema_log'::regclass AND attnum > 0 ORDER BY attnum",
    )
    .await;
    assert_eq!(
        columns,
        [
            "id pgstream.xid not null default pgstream.xid()",
            "version bigint not null",
            "schema_name text not null",
            "schema jsonb not null",
            "created_at timestamp without time zone not null default now()",
            "acked boolean not null default false",
        ]
    );
    let indexes: Vec<String> = values(
        &mut session,
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index
          WHERE indrelid = 'pgstream.schema_log'::regclass ORDER BY indexrelid",
    )
    .await;
    assert_eq!(
        indexes,
        [
            "CREATE UNIQUE INDEX schema_log_pkey ON pgstream.schema_log USING btree (id)",
            "CREATE UNIQUE INDEX schema_log_version_uniq ON pgstream.schema_log USING btree (schema_name, version)",
            "CREATE INDEX schema_log_name_acked ON pgstream.schema_log USING btree (schema_name, acked, id)",
        ]
    );
    let subscriptions: Vec<String> = values(
        &mut session,
        "SELECT attname::text FROM pg_attribute
          WHERE attrelid = 'pgstream.webhook_subscriptions'::regclass AND attnum > 0 ORDER BY attnum",
    )
    .await;
    assert_eq!(subscriptions, ["url", "schema_name", "table_name", "event_types"]);
    assert_eq!(init_quietly(&options).await.unwrap(), UNCHANGED);
}

#[tokio::test]
async fn completes_what_is_half_done() {
    let cluster = initialised(&[]).await;
    let options = init_options(url(&cluster, "postgres"));
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "SELECT pg_drop_replication_slot('pgstream_tutorial_slot')",
    )
    .await;
    let report = init_quietly(&options).await.unwrap();
    assert_eq!(
        report,
        InitReport {
            slot_created: true,
            ..UNCHANGED
        }
    );
    run(
        &mut session,
        concat!(
            include_str!("../sql/source/0003_schema_log_triggers.down.sql"),
            "DELETE FROM pgstream.source_migrations WHERE version = 3;",
            include_str!("../sql/store/0004_webhook_dead_letters.down.sql"),
            "DELETE FROM pgstream.store_migrations WHERE version = 4;",
        ),
    )
    .await;
    let report = init_quietly(&options).await.unwrap();
    assert_eq!(
        report,
        InitReport {
            source_migrations: 1,
            store_migrations: 1,
            slot_created: false,
            schema_log_changed: false,
        }
    );
    let triggers: i64 = value(
        &mut session,
        "SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'pgstream\\_%'",
    )
    .await;
    assert_eq!(triggers, 2);
    assert_eq!(init_quietly(&options).await.unwrap(), UNCHANGED);
}

#[tokio::test]
async fn another_release_is_told_apart() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "INSERT INTO pgstream.source_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'from the future', true, '', 0)",
    )
    .await;
    let error = init_quietly(&init_options(url(&cluster, "postgres")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("migration 999"), "{error}");
}

#[tokio::test]
async fn a_store_of_its_own_is_migrated_too() {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE DATABASE \"Store-1\"").await;
    let store_url = url(&cluster, "Store-1");
    let mut options = init_options(url(&cluster, "postgres"));
    options.store = Some(store_url.clone());
    let report = init_quietly(&options).await.unwrap();
    assert!(report.source_migrations > 0 && report.store_migrations > 0);
    assert_eq!(init_quietly(&options).await.unwrap(), UNCHANGED);
    const TABLES: &str = "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'pgstream'::regnamespace AND relkind = 'r' ORDER BY relname";
    assert_eq!(
        values::<String>(&mut session, TABLES).await,
        [
            "schema_log",
            "schema_log_applied",
            "schema_log_tables",
            "source_migrations",
            "table_ids"
        ]
    );
    assert_eq!(
        values::<String>(&mut session_in(&store_url).await, TABLES).await,
        [
            "replication_sources",
            "snapshot_endpoints",
            "snapshot_held",
            "snapshot_holds",
            "snapshot_slots",
            "snapshot_tables",
            "store_migrations",
            "webhook_backlog",
            "webhook_backlog_marks",
            "webhook_dead_letters",
            "webhook_endpoint_health",
            "webhook_endpoints",
            "webhook_subscriptions",
            "webhook_terms"
        ]
    );
}

#[tokio::test]
async fn two_at_once_do_not_disturb_each_other() {
    let cluster = cluster(&[]);
    let first = init_options(url(&cluster, "postgres"));
    let mut second = first.clone();
    second.slot = "another_slot".to_owned();
    let (first, second) = tokio::join!(init_quietly(&first), init_quietly(&second));
    assert!(first.unwrap().slot_created && second.unwrap().slot_created);
}

#[tokio::test]
async fn a_migrated_store_asks_for_no_rights() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pgstream TO app;
         GRANT SELECT ON ALL TABLES IN SCHEMA pgstream TO app",
    )
    .await;
    let pool = store::connect(&url_as(&cluster, "app")).await.unwrap();
    assert_eq!(store::migrate(&pool, MigrationSet::Store).await.unwrap(), 0);
}

#[tokio::test]
async fn sessions_are_pinned_against_settings_of_the_role() {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "ALTER ROLE postgres SET synchronous_commit = off;
         ALTER ROLE postgres SET default_transaction_isolation = serializable;
         ALTER ROLE postgres SET default_transaction_read_only = on;
         ALTER ROLE postgres SET statement_timeout = '1ms';
         ALTER ROLE postgres SET search_path = nowhere",
    )
    .await;
    let options = init_options(url(&cluster, "postgres"));
    assert!(init_quietly(&options).await.unwrap().slot_created);
    let pool = store::connect(&options.source).await.unwrap();
    let settings: String = sqlx::query_scalar(
        "SELECT concat_ws(', ', current_setting('synchronous_commit'), current_setting('transaction_isolation'),
                          current_setting('statement_timeout'), current_setting('application_name'))",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(settings, "local, read committed, 0, pgstream");
}

#[tokio::test]
async fn names_whom_the_slot_waits_for_and_gives_up_without_a_trace() {
    let cluster = cluster(&[]);
    let (mut open, mut prepared) = (session(&cluster).await, session(&cluster).await);
    run(&mut open, "CREATE TABLE busy (a int)").await;
    run(&mut open, "BEGIN; INSERT INTO busy VALUES (1)").await;
    let pid: i32 = value(&mut open, "SELECT pg_backend_pid()").await;
    run(
        &mut prepared,
        "BEGIN; INSERT INTO busy VALUES (2); PREPARE TRANSACTION 'left behind'",
    )
    .await;
    let mut options = init_options(url(&cluster, "postgres"));
    options.timeout = Duration::from_secs(6);
    let mut notices = Vec::new();
    let error = init(&options, &mut |notice| notices.push(notice.to_owned()))
        .await
        .unwrap_err();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(matches!(error, SetupError::SlotTimeout { .. }), "{error:?}");
    for text in [&notices[0], &error.to_string()] {
        assert!(
            text.contains(&format!("PID {pid} (database postgres, application \"test\"")),
            "{text}"
        );
        assert!(text.contains("prepared transaction 'left behind'"), "{text}");
    }
    let slots: i64 = value(&mut prepared, "SELECT count(*) FROM pg_replication_slots").await;
    assert_eq!(slots, 0, "no half-built slot");

    // Ended while it waits, they let it go on.
    options.timeout = Duration::from_secs(60);
    let running = tokio::spawn(async move { init_quietly(&options).await });
    wait_until("the slot is being built", async || {
        value::<i64>(
            &mut session(&cluster).await,
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pgstream_tutorial_slot' AND active",
        )
        .await
            == 1
    })
    .await;
    run(&mut open, "COMMIT").await;
    run(&mut prepared, "COMMIT PREPARED 'left behind'").await;
    let report = running.await.unwrap().unwrap();
    assert_eq!(
        report,
        InitReport {
            slot_created: true,
            ..UNCHANGED
        }
    );
}

#[tokio::test]
async fn interrupted_it_leaves_no_half_built_slot() {
    let cluster = cluster(&[]);
    let mut open = session(&cluster).await;
    run(&mut open, "CREATE TABLE busy (a int)").await;
    run(&mut open, "BEGIN; INSERT INTO busy VALUES (1)").await;
    let options = init_options(url(&cluster, "postgres"));
    let running = tokio::spawn(async move { init_quietly(&options).await });
    let mut watcher = session(&cluster).await;
    let count = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{SLOT}'");
    while value::<i64>(&mut watcher, &count).await == 0 {
        assert!(!running.is_finished());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.abort();
    wait_until("the slot is gone", async || {
        value::<i64>(&mut session(&cluster).await, &count).await == 0
    })
    .await;
    open.close().await.unwrap();
}

#[tokio::test]
async fn ids_are_xids_that_sort_by_time_and_never_repeat() {
    let cluster = initialised(&[]).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let mut session = session(&cluster).await;
        sessions.push(tokio::spawn(async move {
            let machine: String = value(&mut session, "SELECT pgstream.machine()::text").await;
            let pid: i32 = value(&mut session, "SELECT pg_backend_pid()").await;
            let ids: Vec<String> = values(
                &mut session,
                "SELECT pgstream.xid()::text FROM generate_series(1, 2000)",
            )
            .await;
            (machine, pid, ids)
        }));
    }
    let mut all = std::collections::HashSet::new();
    for running in sessions {
        let (machine, pid, ids) = running.await.unwrap();
        for id in ids {
            assert_eq!(id.len(), 20, "{id}");
            let bits = bits_of(&id);
            let seconds = u64::from_str_radix(&bits[..32], 2).unwrap();
            let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
            assert!(now - 60 <= seconds && seconds <= now, "{id}");
            assert_eq!(bits[32..56], machine, "{id}");
            let process = i32::from_str_radix(&bits[56..72], 2).unwrap();
            assert_eq!(process, pid & 0xffff, "{id}");
            assert_eq!(bits[96..], *"0000", "{id}");
            assert!(all.insert(id), "twice the same");
        }
    }
    let mut session = session(&cluster).await;
    let earlier: String = value(&mut session, "SELECT pgstream.xid()::text").await;
    run(&mut session, "SELECT pg_sleep(1.01)").await;
    let later: String = value(&mut session, "SELECT pgstream.xid()::text").await;
    assert!(earlier < later, "{earlier} {later}");
    let refused: Result<String, _> = sqlx::query_scalar("SELECT 'CV9AL8QHI0J00I9CHQ80'::pgstream.xid::text")
        .fetch_one(&mut session)
        .await;
    assert!(refused.is_err(), "upper case is no xid");
    let sample: String = value(&mut session, "SELECT 'cv9al8qhi0j00i9chq80'::pgstream.xid::text").await;
    assert_eq!(sample, "cv9al8qhi0j00i9chq80");
}

/// The 100 bits of 20 digits in base32hex.
fn bits_of(id: &str) -> String {
    id.chars()
        .map(|digit| format!("{:05b}", digit.to_digit(32).expect("a digit of base32hex")))
        .collect()
}
