//! The schema log: what each kind of DDL writes, and that no one's DDL fails or waits because of it.

use pgstream::demo::cluster::Cluster;
use sqlx::PgConnection;

use crate::support::database::{initialised, run, session, session_in, url, url_as, value, values, wait_for};

/// What a session's settings say when a statement would wait for another's transaction: it fails.
const NO_WAITING: &str = "SET lock_timeout = '1s'; SET statement_timeout = '30s'";

/// The log entries since the last call, as "schema: table(column, ...) ...".
async fn logged(session: &mut PgConnection, seen: &mut i64) -> Vec<String> {
    let entries = values(
        session,
        &format!(
            "SELECT concat(schema_name, ':', (
                        SELECT string_agg(concat(' ', t ->> 'name', '(', (
                                   SELECT string_agg(c ->> 'name', ',' ORDER BY position)
                                     FROM jsonb_array_elements(t -> 'columns') WITH ORDINALITY AS c(c, position)
                               ), ')'), '' ORDER BY position)
                          FROM jsonb_array_elements(schema -> 'tables') WITH ORDINALITY AS t(t, position)))
               FROM pgstream.schema_log WHERE version > {seen} ORDER BY version"
        ),
    )
    .await;
    *seen = value(
        session,
        "SELECT coalesce(max(version), 0) FROM pgstream.schema_log",
    )
    .await;
    entries
}

#[tokio::test]
async fn the_tutorials_table_gives_the_tutorials_json() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE TABLE test(id SERIAL PRIMARY KEY, name TEXT)",
    )
    .await;
    let oid: String = value(&mut session, "SELECT 'test'::regclass::oid::text").await;
    let id: String = value(&mut session, "SELECT pgstream.table_id('test'::regclass)").await;
    let known: String = value(
        &mut session,
        "SELECT concat(id, ' ', oid) FROM pgstream.table_ids",
    )
    .await;
    assert_eq!(known, format!("{id} {oid}"));
    let entry: String = value(
        &mut session,
        "SELECT concat_ws(' ', version, schema_name, acked, schema) FROM pgstream.schema_log",
    )
    .await;
    assert_eq!(
        entry,
        format!(
            r#"1 public f {{"tables": [{{"oid": "{oid}", "name": "test", "columns": [{{"name": "id", "type": "integer", "unique": true, "default": "nextval('public.test_id_seq'::regclass)", "metadata": null, "nullable": false, "pgstream_id": "{id}-1"}}, {{"name": "name", "type": "text", "unique": false, "default": null, "metadata": null, "nullable": true, "pgstream_id": "{id}-2"}}], "pgstream_id": "{id}", "primary_key_columns": ["id"]}}]}}"#
        )
    );
    run(&mut session, "ALTER TABLE test RENAME TO tutorial_test").await;
    let renamed: String = value(
        &mut session,
        "SELECT concat_ws(' ', schema #>> '{tables,0,name}', schema #>> '{tables,0,pgstream_id}')
           FROM pgstream.schema_log ORDER BY version DESC LIMIT 1",
    )
    .await;
    assert_eq!(
        renamed,
        format!("tutorial_test {id}"),
        "the id outlives a renaming"
    );
}

#[tokio::test]
async fn one_entry_for_each_schema_and_command() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    let mut seen = 0;
    let cases: &[(&str, &[&str])] = &[
        ("CREATE SCHEMA a", &[]),
        ("CREATE SCHEMA b CREATE TABLE t (x int)", &["b: t(x)"]),
        (
            "CREATE TABLE a.p (id int, gone int, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
            &["a: p(id,gone)"],
        ),
        (
            "CREATE TABLE b.leaf PARTITION OF a.p FOR VALUES FROM (0) TO (9)",
            &["b: leaf(id,gone) t(x)"],
        ),
        (
            "ALTER TABLE a.p ADD COLUMN more text",
            &["a: p(id,gone,more)", "b: leaf(id,gone,more) t(x)"],
        ),
        (
            "ALTER TABLE a.p DROP COLUMN gone",
            &["a: p(id,more)", "b: leaf(id,more) t(x)"],
        ),
        (
            "ALTER TABLE a.p RENAME COLUMN more TO other",
            &["a: p(id,other)", "b: leaf(id,other) t(x)"],
        ),
        ("ALTER TABLE b.t RENAME TO u", &["b: leaf(id,other) u(x)"]),
        ("ALTER TABLE b.u SET SCHEMA a", &["a: p(id,other) u(x)"]),
        ("CREATE TABLE IF NOT EXISTS a.u (other int)", &[]),
        (
            "CREATE TABLE a.copied AS SELECT 1 AS one",
            &["a: copied(one) p(id,other) u(x)"],
        ),
        ("DROP TABLE a.copied, b.leaf", &["a: p(id,other) u(x)", "b:"]),
        ("SELECT 1 AS two INTO b.selected", &["b: selected(two)"]),
        ("COMMENT ON COLUMN b.selected.two IS 'two'", &["b: selected(two)"]),
        (
            "CREATE INDEX ON b.selected (two); CREATE VIEW b.v AS SELECT 1; GRANT USAGE ON SCHEMA b TO PUBLIC",
            &[],
        ),
        ("ALTER SCHEMA b RENAME TO c", &["c: selected(two)"]),
        ("CREATE TYPE a.mood AS ENUM ('fine')", &[]),
        (
            "CREATE TABLE c.felt (m a.mood, x int)",
            &["c: felt(m,x) selected(two)"],
        ),
        ("DROP TYPE a.mood CASCADE", &["c: felt(x) selected(two)"]),
        ("DROP SCHEMA a, c CASCADE", &["a:", "c:"]),
        ("BEGIN; CREATE TABLE never (); ROLLBACK", &[]),
        ("CREATE TEMPORARY TABLE t (a int)", &[]),
        ("ALTER TABLE t ADD COLUMN b int", &[]),
        ("DROP TABLE t", &[]),
        ("CREATE TABLE pgstream.ours (a int)", &[]),
        (
            "ALTER TABLE pgstream.ours ADD COLUMN b int; DROP TABLE pgstream.ours",
            &[],
        ),
        (
            "CREATE TABLE \"Odd \"\"name\"\". ✓\" (\" \" int, \"\\\" int)",
            &["public: Odd \"name\". ✓( ,\\)"],
        ),
    ];
    for (statement, expected) in cases {
        run(&mut session, statement).await;
        assert_eq!(logged(&mut session, &mut seen).await, *expected, "{statement}");
    }
}

#[tokio::test]
async fn columns_are_described_whatever_the_sessions_settings() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'Asia/Tokyo';
         SET quote_all_identifiers = on; SET extra_float_digits = -15; SET bytea_output = 'escape';
         SET standard_conforming_strings = off; SET search_path = pg_catalog",
    )
    .await;
    run(
        &mut session,
        "CREATE DOMAIN public.filled AS text NOT NULL;
         CREATE TABLE public.described (
             a int GENERATED ALWAYS AS IDENTITY,
             b numeric(10,2) NOT NULL DEFAULT 1.5,
             c timestamptz DEFAULT '2020-01-02 03:04:05+00',
             d interval DEFAULT '1 day 02:00',
             e bytea DEFAULT '\\\\x00ff',
             f public.filled,
             g int GENERATED ALWAYS AS (h * 2) STORED,
             h int UNIQUE,
             i text[] DEFAULT '{\"a\\\\\\\\b\"}',
             PRIMARY KEY (h, b),
             UNIQUE (a, b));
         COMMENT ON COLUMN public.described.a IS 'say \"hi\"'",
    )
    .await;
    let columns: Vec<String> = values(
        &mut session,
        "SELECT concat_ws(' | ', c ->> 'name', c ->> 'type', c ->> 'unique', c ->> 'nullable',
                          coalesce(c ->> 'default', 'null'), c ->> 'metadata')
           FROM pgstream.schema_log, jsonb_array_elements(schema #> '{tables,0,columns}') AS c
          WHERE version = (SELECT max(version) FROM pgstream.schema_log)",
    )
    .await;
    assert_eq!(
        columns,
        [
            "a | integer | false | false | null | say \"hi\"",
            "b | numeric(10,2) | false | false | 1.5",
            "c | timestamp with time zone | false | true | '2020-01-02 03:04:05+00'::timestamp with time zone",
            "d | interval | false | true | '1 day 02:00:00'::interval",
            r"e | bytea | false | true | '\x00ff'::bytea",
            "f | public.filled | false | false | null",
            "g | integer | false | true | (h * 2)",
            "h | integer | true | false | null",
            r#"i | text[] | false | true | '{"a\\b"}'::text[]"#,
        ]
    );
    let key: String = value(
        &mut session,
        "SELECT schema #>> '{tables,0,primary_key_columns}' FROM pgstream.schema_log ORDER BY version DESC LIMIT 1",
    )
    .await;
    assert_eq!(key, r#"["h", "b"]"#, "in the order of the key");
}

#[tokio::test]
async fn a_role_without_any_right_on_the_schema_can_do_its_ddl() {
    let cluster = initialised(&[]).await;
    let mut owner = session(&cluster).await;
    run(
        &mut owner,
        "CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app",
    )
    .await;
    let mut session = session_in(&url_as(&cluster, "app")).await;
    run(&mut session, "SET search_path = app").await;
    for statement in [
        "CREATE TABLE t (id serial PRIMARY KEY)",
        "ALTER TABLE t ADD COLUMN name text",
        "DROP TABLE t",
    ] {
        run(&mut session, statement).await;
    }
    assert!(
        sqlx::query("SELECT * FROM pgstream.schema_log")
            .fetch_all(&mut session)
            .await
            .is_err(),
        "the role may not read it"
    );
    let entries = logged(&mut owner, &mut 0).await;
    assert_eq!(entries, ["app: t(id)", "app: t(id,name)", "app:"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_a_warning_and_costs_no_one_his_statement() {
    let cluster = initialised(&[]).await;
    let (mut locker, mut session) = (session(&cluster).await, session(&cluster).await);
    run(&mut session, NO_WAITING).await;
    run(
        &mut locker,
        "BEGIN; LOCK TABLE pgstream.schema_log IN ACCESS EXCLUSIVE MODE",
    )
    .await;
    run(&mut session, "CREATE TABLE t (a int)").await;
    run(&mut locker, "ROLLBACK").await;
    assert!(
        cluster
            .log()
            .contains("WARNING:  pgstream could not log this schema change")
    );
    run(&mut session, "ALTER TABLE t ADD COLUMN b int").await;
    assert_eq!(logged(&mut session, &mut 0).await, ["public: t(a,b)"]);
}

/// As logical replication and restores set it: they alter tables like others.
#[tokio::test]
async fn a_session_with_the_role_of_a_replica_is_logged_too() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "SET session_replication_role = 'replica'; CREATE TABLE t (a int); DROP TABLE t",
    )
    .await;
    assert_eq!(logged(&mut session, &mut 0).await, ["public: t(a)", "public:"]);
}

/// VACUUM FULL of a catalog, for one: the statement itself would have to wait for it sooner or later.
#[tokio::test]
async fn a_locked_catalog_is_waited_for_and_the_entry_is_not_lost() {
    let cluster = initialised(&[]).await;
    let (mut locker, mut watcher) = (session(&cluster).await, session(&cluster).await);
    let mut session = session(&cluster).await;
    run(
        &mut locker,
        "BEGIN; LOCK TABLE pg_description IN ACCESS EXCLUSIVE MODE",
    )
    .await;
    let waiting = tokio::spawn(async move {
        run(&mut session, "SET lock_timeout = '100ms'; CREATE TABLE t (a int)").await;
        session
    });
    wait_for(
        &mut watcher,
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                           AND clock_timestamp() - query_start > interval '200 ms')",
    )
    .await;
    run(&mut locker, "COMMIT").await;
    let mut session = waiting.await.unwrap();
    assert_eq!(logged(&mut session, &mut 0).await, ["public: t(a)"]);
}

/// What a transaction with an old snapshot says of a table that others have altered since would be wrong: it says nothing,
/// and that it has touched the table.
#[tokio::test]
async fn an_old_snapshot_describes_no_table_that_was_altered_since() {
    for (level, others, own, shown) in [
        // A column under its old name with a new number, and others.
        (
            "REPEATABLE READ",
            "ALTER TABLE t DROP a; ALTER TABLE t ADD a int",
            "ALTER TABLE t ADD c int",
            "",
        ),
        (
            "SERIALIZABLE",
            "ALTER TABLE t ADD d int",
            "COMMENT ON COLUMN t.a IS 'x'",
            "",
        ),
        (
            "REPEATABLE READ",
            "ALTER TABLE t RENAME TO u",
            "ALTER TABLE u RENAME a TO x",
            "",
        ),
        (
            "REPEATABLE READ",
            "CREATE TABLE \"New T\" (a int)",
            "ALTER TABLE \"New T\" RENAME a TO x",
            "",
        ),
        // Nothing has happened to this one.
        ("SERIALIZABLE", "SELECT 1", "ALTER TABLE t ADD c int", " t(a,b,c)"),
        ("REPEATABLE READ", "SELECT 1", "CREATE TABLE u (a int)", " u(a)"),
    ] {
        let cluster = initialised(&[]).await;
        let (mut session, mut other) = (session(&cluster).await, session(&cluster).await);
        run(&mut other, "CREATE TABLE t (a int, b int)").await;
        run(&mut session, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        run(&mut session, "SELECT 1").await;
        run(&mut other, others).await;
        let seen: i64 = value(&mut other, "SELECT max(version) FROM pgstream.schema_log").await;
        run(&mut session, own).await;
        run(&mut session, "COMMIT").await;
        assert!(!cluster.log().contains("could not log"), "{}", cluster.log());
        let touched: i64 = value(
            &mut other,
            &format!(
                "SELECT count(*) FROM pgstream.schema_log AS l JOIN pgstream.schema_log_tables AS t ON t.schema_log_id = l.id
                  WHERE l.version > {seen} AND t.schema_name = 'public' AND t.table_name IN ('t', 'u', 'New T')"
            ),
        )
        .await;
        assert_eq!(touched, 1, "{own}");
        let entries = logged(&mut other, &mut { seen }).await;
        let [entry] = &entries[..] else {
            panic!("{own}: {entries:?}")
        };
        // In the full form untouched tables come beside it.
        assert_eq!(entry.replace(" t(a,b)", ""), format!("public:{shown}"), "{own}");
    }
}

/// Its lock is gone when its entry is written: whoever has altered the table meanwhile describes it.
#[tokio::test]
async fn an_index_that_is_built_concurrently_waits_for_no_one() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a + 1) STORED)",
    )
    .await;
    let mut seen = value(&mut session, "SELECT max(version) FROM pgstream.schema_log").await;
    run(&mut session, "CREATE UNIQUE INDEX CONCURRENTLY ON t (a)").await;
    let unique: String = value(
        &mut session,
        "SELECT schema #>> '{tables,0,columns,0,unique}' FROM pgstream.schema_log ORDER BY version DESC LIMIT 1",
    )
    .await;
    assert_eq!(unique, "true");
    assert_eq!(logged(&mut session, &mut seen).await, ["public: t(a,b)"]);
    assert!(!cluster.log().contains("could not log"), "{}", cluster.log());
}

#[tokio::test]
async fn open_changes_of_other_tables_are_not_waited_for() {
    let cluster = initialised(&[]).await;
    let (mut other, mut session) = (session(&cluster).await, session(&cluster).await);
    run(
        &mut session,
        "CREATE TABLE locked (a int DEFAULT 7, b int GENERATED ALWAYS AS (a + 1) STORED)",
    )
    .await;
    run(&mut session, NO_WAITING).await;
    run(&mut other, "BEGIN; ALTER TABLE locked ADD COLUMN c int").await;
    let mut seen = value(&mut session, "SELECT max(version) FROM pgstream.schema_log").await;
    run(&mut session, "CREATE TABLE mine (a int)").await;
    assert_eq!(
        logged(&mut session, &mut seen).await,
        ["public: locked(a,b) mine(a)"]
    );
    run(&mut other, "COMMIT").await;
}

/// One session of the storm: creates, alters and drops tables of its own in the schema that all share.
async fn storm(cluster_url: pgstream::config::PgUrl, number: usize) -> usize {
    const ROUNDS: usize = 12;
    let mut session = session_in(&cluster_url).await;
    run(&mut session, NO_WAITING).await;
    run(&mut session, "SET search_path = storm").await;
    let mut committed = 0;
    for round in 0..ROUNDS {
        let (begin, end) = match (number + round) % 4 {
            0 => ("BEGIN", "COMMIT"),
            1 => ("BEGIN ISOLATION LEVEL SERIALIZABLE", "COMMIT"),
            2 => ("BEGIN", "ROLLBACK"),
            _ => ("BEGIN ISOLATION LEVEL REPEATABLE READ", "COMMIT"),
        };
        let statements = [
            format!("CREATE TABLE t_{number}_{round} (id serial PRIMARY KEY, a int DEFAULT 1)"),
            format!("ALTER TABLE t_{number}_{round} ADD COLUMN b text, DROP COLUMN a"),
            format!("ALTER TABLE t_{number}_{round} RENAME TO r_{number}_{round}"),
            format!("DROP TABLE r_{number}_{round}"),
        ];
        // Some end with the table in place.
        let kept = if round % 3 == 0 { 3 } else { 4 };
        run(&mut session, begin).await;
        for statement in &statements[..kept] {
            run(&mut session, statement).await;
        }
        run(&mut session, end).await;
        if end == "COMMIT" {
            committed += kept;
        }
    }
    committed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_sessions_at_once_neither_fail_nor_wait() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE SCHEMA storm").await;
    run(
        &mut session,
        "BEGIN; CREATE TABLE storm.prepared (id serial PRIMARY KEY); ALTER TABLE storm.prepared ADD COLUMN a int;
         PREPARE TRANSACTION 'left behind'",
    )
    .await;
    let sessions: Vec<_> = (0..8)
        .map(|number| tokio::spawn(storm(url(&cluster, "postgres"), number)))
        .collect();
    let mut expected = 0;
    for session in sessions {
        expected += session.await.unwrap();
    }
    assert_logged(&cluster, &mut session, expected).await;
    run(&mut session, "COMMIT PREPARED 'left behind'").await;
    assert_logged(&cluster, &mut session, expected + 2).await;
}

async fn assert_logged(cluster: &Cluster, session: &mut PgConnection, expected: usize) {
    assert!(!cluster.log().contains("WARNING:"), "{}", cluster.log());
    let entries: i64 = value(
        session,
        "SELECT count(DISTINCT version) FROM pgstream.schema_log WHERE schema_name = 'storm'",
    )
    .await;
    assert_eq!(
        usize::try_from(entries).expect("a count is not negative"),
        expected,
        "every statement has its own version"
    );
    let backwards: i64 = value(
        session,
        "SELECT count(*) FROM (
             SELECT version < lag(version) OVER (PARTITION BY xmin::text ORDER BY ctid) AS lower
               FROM pgstream.schema_log) AS entries WHERE lower",
    )
    .await;
    assert_eq!(backwards, 0, "versions of one transaction rise");
}
