//! Suite `ddl_forms`: which tables each kind of DDL touches, and what its entries hold in either mode.

use pgstream::config::PgUrl;
use pgstream::setup::InitOptions;
use pgstream::store::SchemaLogMode;
use sqlx::PgConnection;

use crate::support::database::{
    cluster, init_options, init_quietly, initialised, run, session, url, value, values,
};

/// A statement, and its entries: the schema, and in brackets the tables touched, those with a minus dropped.
type Form = (&'static str, &'static [&'static str]);

const FORMS: &[Form] = &[
    ("CREATE SCHEMA a", &[]),
    ("CREATE SCHEMA b CREATE TABLE t (x int)", &["b[t]"]),
    (
        "CREATE TABLE a.p (id int PRIMARY KEY, c text) PARTITION BY RANGE (id)",
        &["a[p]"],
    ),
    (
        "CREATE TABLE b.leaf PARTITION OF a.p FOR VALUES FROM (0) TO (9)",
        &["b[leaf]"],
    ),
    ("ALTER TABLE a.p ADD COLUMN d int", &["a[p]", "b[leaf]"]),
    ("ALTER TABLE a.p RENAME COLUMN d TO e", &["a[p]", "b[leaf]"]),
    ("CREATE UNIQUE INDEX ON a.p (id, c)", &["a[p]", "b[leaf]"]),
    ("ALTER TABLE a.p DETACH PARTITION b.leaf", &["a[p]"]),
    (
        "ALTER TABLE a.p ATTACH PARTITION b.leaf FOR VALUES FROM (0) TO (9)",
        &["a[p]", "b[leaf]"],
    ),
    (
        "CREATE TABLE a.t (x int, y int, g int GENERATED ALWAYS AS (x * 2) STORED, i int GENERATED ALWAYS AS IDENTITY)",
        &["a[t]"],
    ),
    ("CREATE INDEX plain ON a.t (y); CREATE VIEW a.v AS SELECT 1", &[]),
    ("CREATE UNIQUE INDEX first ON a.t (y)", &["a[t]"]),
    ("CREATE UNIQUE INDEX CONCURRENTLY second ON a.t (x)", &["a[t]"]),
    ("DROP INDEX a.first", &["a[t]"]),
    ("DROP INDEX CONCURRENTLY a.second", &["a[t]"]),
    ("ALTER TABLE a.t ADD CONSTRAINT u UNIQUE (y)", &["a[t]"]),
    ("ALTER TABLE a.t DROP CONSTRAINT u", &["a[t]"]),
    (
        "ALTER TABLE a.t ALTER y TYPE bigint, ALTER y SET NOT NULL",
        &["a[t]"],
    ),
    ("COMMENT ON COLUMN a.t.x IS 'said'", &["a[t]"]),
    ("COMMENT ON TABLE a.t IS 'said'", &[]),
    ("CREATE TYPE a.mood AS ENUM ('fine')", &[]),
    ("ALTER TABLE a.t ADD COLUMN m a.mood", &["a[t]"]),
    ("DROP TYPE a.mood CASCADE", &["a[t]"]),
    ("CREATE SEQUENCE a.s", &[]),
    ("ALTER TABLE a.t ALTER y SET DEFAULT nextval('a.s')", &["a[t]"]),
    ("DROP SEQUENCE a.s CASCADE", &["a[t]"]),
    ("CREATE TYPE a.pair AS (one int)", &[]),
    ("CREATE TABLE a.typed OF a.pair", &["a[typed]"]),
    ("ALTER TYPE a.pair ADD ATTRIBUTE two int CASCADE", &["a[typed]"]),
    ("CREATE TABLE a.child () INHERITS (a.t)", &["a[child]"]),
    ("ALTER TABLE a.t ADD COLUMN z int", &["a[child t]"]),
    ("ALTER TABLE a.child NO INHERIT a.t", &["a[child]"]),
    ("ALTER TABLE a.child INHERIT a.t", &["a[child]"]),
    ("ALTER SCHEMA a RENAME TO c", &["c[child p t typed]"]),
    ("ALTER TABLE c.t SET SCHEMA b", &[]),
    (
        "ALTER TABLE b.t RENAME TO old; ALTER TABLE c.t SET SCHEMA b",
        &["b[old]", "b[t]"],
    ),
    (
        "DO $$ BEGIN CREATE TABLE c.first (i int); CREATE TABLE b.second (i int); END $$",
        &["c[first]", "b[second]"],
    ),
    ("CREATE TABLE c.copied AS SELECT 1 AS i", &["c[copied]"]),
    ("SELECT 1 AS i INTO c.selected", &["c[selected]"]),
    ("DROP TABLE c.copied, b.second", &["b[-second]", "c[-copied]"]),
    (
        "CREATE TEMPORARY TABLE passing (i int UNIQUE); ALTER TABLE passing ADD j int; DROP TABLE passing",
        &[],
    ),
    ("BEGIN; CREATE TABLE c.never (); ROLLBACK", &[]),
    (
        "DROP SCHEMA c CASCADE",
        &["b[-leaf]", "c[-child -first -p -selected -typed]"],
    ),
];

/// What `init` is told, with this mode.
fn options(source: PgUrl, mode: SchemaLogMode) -> InitOptions {
    InitOptions {
        schema_log: Some(mode),
        ..init_options(source)
    }
}

/// The entries since the last call, as in [`FORMS`], and with the tables that each holds in braces.
async fn entries(session: &mut PgConnection, seen: &mut i64) -> Vec<(String, String)> {
    let query = |what: &str| {
        format!("SELECT {what} FROM pgstream.schema_log AS l WHERE version > {seen} ORDER BY version")
    };
    let touched = query(
        "concat(schema_name, '[', (
             SELECT string_agg(concat(CASE WHEN dropped THEN '-' END, table_name), ' ' ORDER BY table_name)
               FROM pgstream.schema_log_tables AS t
              WHERE t.schema_log_id = l.id AND t.schema_name = l.schema_name), ']')",
    );
    let held = query(
        "coalesce((SELECT string_agg(t ->> 'name', ' ' ORDER BY t ->> 'name')
                     FROM jsonb_array_elements(schema -> 'tables') AS t), '')",
    );
    let (touched, held) = (values(session, &touched).await, values(session, &held).await);
    *seen = value(
        session,
        "SELECT coalesce(max(version), 0) FROM pgstream.schema_log",
    )
    .await;
    touched.into_iter().zip(held).collect()
}

/// Runs all forms. `holds` says what an entry that touched these tables is expected to hold, where that is known.
async fn check(session: &mut PgConnection, holds: impl Fn(&str) -> Option<String>) {
    let mut seen = value(
        session,
        "SELECT coalesce(max(version), 0) FROM pgstream.schema_log",
    )
    .await;
    for (statement, expected) in FORMS {
        // One that fails changes nothing, and is there to show that.
        let _ = sqlx::raw_sql(*statement).execute(&mut *session).await;
        let entries = entries(session, &mut seen).await;
        let touched: Vec<&str> = entries.iter().map(|(touched, _)| touched.as_str()).collect();
        assert_eq!(touched, *expected, "{statement}");
        for (touched, held) in &entries {
            if let Some(expected) = holds(touched) {
                assert_eq!(*held, expected, "{statement}: {touched}");
            }
        }
    }
}

#[tokio::test]
async fn each_entry_says_what_its_command_touched() {
    let cluster = initialised(&[]).await;
    check(&mut session(&cluster).await, |_| None).await;
}

#[tokio::test]
async fn entries_of_what_has_changed_hold_nothing_else() {
    let cluster = cluster(&[]);
    let source = url(&cluster, "postgres");
    let mode = |mode| options(source.clone(), mode);
    let report = init_quietly(&mode(SchemaLogMode::Changed)).await.unwrap();
    assert!(report.schema_log_changed);
    let mut session = session(&cluster).await;
    check(&mut session, |touched| {
        let names = touched.split_once('[')?.1.trim_end_matches(']');
        let kept: Vec<&str> = names.split(' ').filter(|name| !name.starts_with('-')).collect();
        Some(kept.join(" "))
    })
    .await;
    // It is kept, and can be changed.
    assert!(
        init_quietly(&init_options(source.clone()))
            .await
            .unwrap()
            .is_unchanged()
    );
    assert!(
        init_quietly(&mode(SchemaLogMode::Changed))
            .await
            .unwrap()
            .is_unchanged()
    );
    let mut seen = value(&mut session, "SELECT max(version) FROM pgstream.schema_log").await;
    run(&mut session, "CREATE TABLE one (); CREATE TABLE two ()").await;
    let changed = entries(&mut session, &mut seen).await;
    assert_eq!(changed[1], ("public[two]".to_owned(), "two".to_owned()));
    assert!(
        init_quietly(&mode(SchemaLogMode::Full))
            .await
            .unwrap()
            .schema_log_changed
    );
    run(&mut session, "CREATE TABLE three ()").await;
    let full = entries(&mut session, &mut seen).await;
    assert_eq!(full, [("public[three]".to_owned(), "one three two".to_owned())]);
}

#[tokio::test]
async fn a_unique_index_makes_its_column_unique_and_its_end_takes_that_back() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    let unique = "SELECT coalesce(string_agg(c ->> 'name', ' '), '')
                    FROM pgstream.schema_log, jsonb_array_elements(schema #> '{tables,0,columns}') AS c
                   WHERE version = (SELECT max(version) FROM pgstream.schema_log) AND (c ->> 'unique')::boolean";
    run(
        &mut session,
        "CREATE TABLE t (a int, b int, c int, d int UNIQUE, PRIMARY KEY (b, c))",
    )
    .await;
    for (statement, expected) in [
        ("CREATE UNIQUE INDEX whole ON t (a)", "a d"),
        ("CREATE UNIQUE INDEX several ON t (b, d)", "a d"),
        ("CREATE UNIQUE INDEX partial ON t (b) WHERE c > 0", "a d"),
        ("CREATE UNIQUE INDEX computed ON t ((c + 1))", "a d"),
        ("CREATE UNIQUE INDEX covering ON t (c) INCLUDE (b)", "a c d"),
        ("DROP INDEX covering", "a d"),
        ("DROP INDEX whole", "d"),
        ("ALTER TABLE t DROP CONSTRAINT t_d_key", ""),
    ] {
        run(&mut session, statement).await;
        assert_eq!(
            value::<String>(&mut session, unique).await,
            expected,
            "{statement}"
        );
    }
}

#[tokio::test]
async fn what_a_session_does_not_log_is_logged_by_a_refresh() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    let mut seen = 0;
    run(&mut session, "SET pgstream.skip_log = 'TRUE'").await;
    run(
        &mut session,
        "CREATE TABLE one (a int); CREATE TABLE two (); DROP TABLE two",
    )
    .await;
    assert!(entries(&mut session, &mut seen).await.is_empty());
    run(&mut session, "RESET pgstream.skip_log").await;
    let version: i64 = value(&mut session, "SELECT pgstream.refresh_schema('public')").await;
    let logged = entries(&mut session, &mut seen).await;
    assert_eq!(logged, [("public[one]".to_owned(), "one".to_owned())]);
    assert_eq!(version, seen);
    let known: i64 = value(
        &mut session,
        "SELECT count(*) FROM pgstream.table_ids WHERE oid = 'one'::regclass",
    )
    .await;
    assert_eq!(known, 1);
    run(&mut session, "CREATE SCHEMA nothing").await;
    run(&mut session, "SELECT pgstream.refresh_schema('nothing')").await;
    assert_eq!(
        entries(&mut session, &mut seen).await,
        [("nothing[]".to_owned(), String::new())]
    );
    for (call, problem) in [
        (
            "SELECT pgstream.refresh_schema('nope')",
            "there is no schema nope",
        ),
        ("SELECT pgstream.refresh_schema('pgstream')", "is not logged"),
        (
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pgstream.refresh_schema('public')",
            "does not see the present state",
        ),
    ] {
        let error = sqlx::raw_sql(call)
            .execute(&mut session)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(problem), "{error}");
        run(&mut session, "ROLLBACK").await;
    }
}

#[tokio::test]
async fn a_refresh_waits_for_open_changes_and_sees_them() {
    let cluster = initialised(&[]).await;
    let (mut other, mut watcher) = (session(&cluster).await, session(&cluster).await);
    run(&mut other, "CREATE TABLE t (a int)").await;
    run(
        &mut other,
        "BEGIN; ALTER TABLE t RENAME TO renamed; CREATE TABLE new ()",
    )
    .await;
    let refreshing = tokio::spawn({
        let mut session = session(&cluster).await;
        async move { value::<i64>(&mut session, "SELECT pgstream.refresh_schema('public')").await }
    });
    let waits = "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND relation = 't'::regclass";
    while !value::<bool>(&mut watcher, waits).await {
        tokio::task::yield_now().await;
    }
    run(&mut other, "COMMIT").await;
    let version = refreshing.await.unwrap();
    let mut seen = version - 1;
    let logged = entries(&mut watcher, &mut seen).await;
    assert_eq!(
        logged,
        [("public[new renamed]".to_owned(), "new renamed".to_owned())]
    );
}
