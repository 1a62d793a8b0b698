//! Suite `upgrade`: a database that an earlier release initialised is brought up to date where it is.

use std::borrow::Cow;
use std::sync::Arc;

use pgstream::config::keys;
use pgstream::demo::cluster::Cluster;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlSafeStr};

use crate::support::database::{
    SLOT, cluster, init_options, init_quietly, run, session, tear_down_options, url, value, values,
};
use crate::support::program::Program;
use crate::support::receiver::Request;
use crate::support::world::{DEADLINE, Sql, receiver};

/// A migration as it was released, and the first bytes of its checksum, in hexadecimal digits.
type Released = (&'static str, &'static str, &'static str);

macro_rules! released {
    ($set:literal, $name:literal, $checksum:literal) => {
        (
            $name,
            include_str!(concat!("../sql/", $set, "/", $name, ".up.sql")),
            $checksum,
        )
    };
}

/// What the first release made in the source.
const SOURCE: [Released; 3] = [
    released!("source", "0001_ids", "0515ecf91bc3711b"),
    released!("source", "0002_schema_log", "f40b638aca315101"),
    released!("source", "0003_schema_log_triggers", "4b1737f1aaffdd83"),
];
/// What it made in the store.
const STORE: [Released; 1] = [released!(
    "store",
    "0001_webhook_subscriptions",
    "1629d0a946a0f2f2"
)];

/// A database as `init` of the first release left it.
async fn initialised_by_the_first_release() -> Cluster {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    apply(&mut session, "pgstream.source_migrations", &SOURCE).await;
    apply(&mut session, "pgstream.store_migrations", &STORE).await;
    run(
        &mut session,
        &format!("SELECT pg_create_logical_replication_slot('{SLOT}', 'wal2json')"),
    )
    .await;
    cluster
}

async fn apply(session: &mut PgConnection, table: &'static str, released: &[Released]) {
    let steps = released.iter().zip(1..).map(|((name, text, checksum), version)| {
        let name = Cow::Borrowed(*name);
        let step = Migration::new(
            version,
            name,
            MigrationType::ReversibleUp,
            text.into_sql_str(),
            false,
        );
        let first: String = step.checksum[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            first, *checksum,
            "{} was edited after it was released",
            step.description
        );
        step
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    migrator.create_schema("pgstream");
    migrator.dangerous_set_table_name(table);
    migrator.run_direct(None, session, false).await.unwrap();
}

const SUBSCRIPTIONS: &str =
    "SELECT webhook_subscriptions::text FROM pgstream.webhook_subscriptions ORDER BY 1";

#[test]
fn run_upgrades_a_database_in_place_and_keeps_its_subscriptions() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(initialised_by_the_first_release());
    let receiver = receiver();
    let mut sql = Sql::open(&cluster, "postgres");
    sql.run(&format!(
        "CREATE TABLE items (id int PRIMARY KEY);
         INSERT INTO pgstream.webhook_subscriptions (url, schema_name, table_name, event_types)
         VALUES ('{}', 'public', 'items', '{{I,U}}'), ('http://127.0.0.1:9/', '', 'other', '{{}}');
         INSERT INTO items VALUES (1)",
        receiver.url("/"),
    ));
    let before: Vec<String> = sql.values(SUBSCRIPTIONS);
    assert_eq!(before.len(), 2);
    let program = Program::start(&cluster.url("postgres"), SLOT, &[]);
    // What was written before, and what is written now.
    sql.run("INSERT INTO items VALUES (2); DELETE FROM items WHERE id = 1");
    receiver.wait_for(|requests| requests.len() == 2, DEADLINE);
    assert_eq!(sql.values::<String>(SUBSCRIPTIONS), before);
    assert_eq!(
        sql.value::<i64>("SELECT max(version) FROM pgstream.store_migrations"),
        7
    );
    let key = |request: &Arc<Request>| request.json()["Data"]["columns"][0]["value"].as_i64();
    let mut keys: Vec<Option<i64>> = receiver.requests().iter().map(key).collect();
    // Different rows come side by side.
    keys.sort_unstable();
    assert_eq!(keys, [Some(1), Some(2)]);
    assert!(program.terminate().0.success());
}

#[tokio::test]
async fn init_upgrades_a_database_in_place_and_tear_down_takes_all_of_it_out() {
    let cluster = initialised_by_the_first_release().await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "INSERT INTO pgstream.webhook_subscriptions (url, table_name) VALUES ('http://127.0.0.1:9/', 'items')",
    )
    .await;
    let before: Vec<String> = values(&mut session, SUBSCRIPTIONS).await;
    let report = init_quietly(&init_options(url(&cluster, "postgres")))
        .await
        .unwrap();
    assert!(!report.slot_created, "{report:?}");
    assert_eq!(values::<String>(&mut session, SUBSCRIPTIONS).await, before);
    for table in ["webhook_endpoints", "webhook_backlog", "webhook_dead_letters"] {
        let rows: i64 = value(&mut session, &format!("SELECT count(*) FROM pgstream.{table}")).await;
        assert_eq!(rows, 0, "{table}");
    }
    pgstream::setup::tear_down(&tear_down_options(url(&cluster, "postgres")))
        .await
        .unwrap();
    let left: bool = value(&mut session, "SELECT to_regnamespace('pgstream') IS NOT NULL").await;
    assert!(!left);
}

#[test]
fn entries_that_were_logged_before_the_upgrade_describe_their_tables() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(initialised_by_the_first_release());
    let receiver = receiver();
    let mut sql = Sql::open(&cluster, "postgres");
    sql.run(
        "CREATE TABLE a (id int PRIMARY KEY);
         CREATE TABLE b (id int PRIMARY KEY);
         ALTER TABLE a ADD n int;
         INSERT INTO a VALUES (1, 1)",
    );
    let options = init_options(url(&cluster, "postgres"));
    runtime.block_on(init_quietly(&options)).unwrap();
    sql.run("ALTER TABLE a RENAME n TO m; INSERT INTO a VALUES (2, 2); INSERT INTO b VALUES (3)");
    sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions (url, schema_name) VALUES ('{}', 'public')",
        receiver.url("/")
    ));
    let url = cluster.url("postgres");
    let program = Program::start(&url, SLOT, &[(keys::INJECTOR_URL.name, &url)]);
    let mut requests = receiver.wait_for(|requests| requests.len() == 3, DEADLINE);
    requests.sort_by_key(|request| request.json()["Data"]["columns"][0]["value"].as_i64());
    for (request, (table, columns)) in
        requests
            .iter()
            .zip([("a", ["id", "n"].as_slice()), ("a", &["id", "m"]), ("b", &["id"])])
    {
        let id: String = sql.value(&format!("SELECT pgstream.table_id('{table}'::regclass)"));
        let change = &request.json()["Data"];
        assert_eq!(change["metadata"]["table_pgstream_id"], id, "{change}");
        for (column, (name, number)) in change["columns"]
            .as_array()
            .unwrap()
            .iter()
            .zip(columns.iter().zip(1..))
        {
            assert_eq!(column["name"], *name, "{change}");
            assert_eq!(column["id"], format!("{id}-{number}"), "{change}");
        }
    }
    assert!(program.terminate().0.success());
}
