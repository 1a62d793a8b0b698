//! Suite `filters`: which tables' changes are taken at all.

use serde_json::json;

use crate::support::program::{Program, pgstream};
use crate::support::receiver::Receiver;
use crate::support::world::{World, receiver};

const TABLES: &str = "CREATE SCHEMA sales; CREATE SCHEMA \"odd.name\";
    CREATE TABLE orders (id int PRIMARY KEY);
    CREATE TABLE tmp_orders (id int PRIMARY KEY);
    CREATE TABLE sales.orders (id int PRIMARY KEY);
    CREATE TABLE sales.secret (id int PRIMARY KEY);
    CREATE TABLE \"odd.name\".\"a, b\" (id int PRIMARY KEY)";

/// Runs a program with these settings and changes every table; returns of which tables changes came, and the program.
fn taken(world: &mut World, settings: &[(&str, &str)]) -> (Vec<String>, Program, Receiver) {
    let receiver = receiver();
    let program = world.start(settings);
    program.subscribe(&json!({"url": receiver.url("/")}));
    world.sql.run(
        "INSERT INTO orders VALUES (1); INSERT INTO tmp_orders VALUES (1); INSERT INTO sales.orders VALUES (1);
         INSERT INTO sales.secret VALUES (1); INSERT INTO \"odd.name\".\"a, b\" VALUES (1);
         ALTER TABLE sales.secret ADD note text",
    );
    world.sql.wait_until_delivered();
    let name = |data: &serde_json::Value| {
        format!(
            "{}.{}",
            data["schema"].as_str().unwrap(),
            data["table"].as_str().unwrap()
        )
    };
    let mut tables: Vec<String> = receiver
        .requests()
        .iter()
        .map(|request| name(&request.json()["Data"]))
        .collect();
    tables.sort();
    tables.dedup();
    (tables, program, receiver)
}

/// The options that the server was given.
fn told(world: &mut World) -> String {
    world
        .sql
        .value("SELECT query FROM pg_stat_activity WHERE query LIKE 'START_REPLICATION%'")
}

#[test]
fn what_the_plugin_can_be_told_is_not_even_sent() {
    let mut world = World::new(&[("track_activity_query_size", "16kB")]);
    world.sql.run(TABLES);
    let url = world.url();
    let (tables, program, receiver) = taken(
        &mut world,
        &[
            (
                "PGSTREAM_FILTER_INCLUDE_TABLES",
                r#"orders, sales.*, "odd.name"."a, b""#,
            ),
            ("PGSTREAM_FILTER_EXCLUDE_TABLES", "sales.secret"),
            ("PGSTREAM_INJECTOR_STORE_POSTGRES_URL", &url),
        ],
    );
    assert_eq!(
        tables,
        [
            "odd.name.a, b",
            "pgstream.schema_log",
            "public.orders",
            "sales.orders"
        ]
    );
    let told = told(&mut world);
    assert!(
        told.contains(r#""add-tables" 'public.orders,sales.*,odd\.name.a\,\ b,pgstream.schema_log,pgstream.schema_log_tables'"#),
        "{told}"
    );
    assert!(told.contains(",sales.secret'"), "{told}");
    // What describes tables is in the stream, whatever is left out of it.
    world
        .sql
        .run("ALTER TABLE sales.orders ADD note text; INSERT INTO sales.orders VALUES (2, 'described')");
    world.sql.wait_until_delivered();
    let changes = receiver.requests();
    let changes = changes.iter().map(|request| request.json()["Data"].clone());
    let described = changes.filter(|change| change["columns"][1]["value"] == "described");
    let tables: Vec<String> = described
        .map(|change| change["metadata"]["table_pgstream_id"].to_string())
        .collect();
    assert!(tables.len() == 1 && tables[0].len() > 2, "{tables:?}");
    drop(program);
}

#[test]
fn the_plugin_is_told_of_tables_by_name_beside_what_follows_from_the_filter() {
    let mut world = World::new(&[("track_activity_query_size", "16kB")]);
    world.sql.run(TABLES);
    let url = world.url();
    let (tables, _program, _receiver) = taken(
        &mut world,
        &[
            (
                "PGSTREAM_POSTGRES_REPLICATION_PLUGIN_ADD_TABLES",
                r"*.orders, sales.secret, odd\.name.a\,\ b",
            ),
            (
                "PGSTREAM_POSTGRES_REPLICATION_PLUGIN_FILTER_TABLES",
                "sales.orders",
            ),
            ("PGSTREAM_POSTGRES_REPLICATION_PLUGIN_INCLUDE_XIDS", "true"),
            ("PGSTREAM_FILTER_EXCLUDE_TABLES", "sales.secret"),
            ("PGSTREAM_INJECTOR_STORE_POSTGRES_URL", &url),
        ],
    );
    // Of what the plugin sends, what the filter excludes is not taken; what describes tables comes in any case.
    assert_eq!(tables, ["odd.name.a, b", "pgstream.schema_log", "public.orders"]);
    let told = told(&mut world);
    let add = r#""add-tables" '*.orders,sales.secret,odd\.name.a\,\ b,pgstream.schema_log,pgstream.schema_log_tables'"#;
    assert!(told.contains(add), "{told}");
    assert!(told.contains(",sales.secret,sales.orders'"), "{told}");
}

const PARTITIONED: &str = "CREATE SCHEMA parts;
    CREATE TABLE logs (id int) PARTITION BY RANGE (id);
    CREATE TABLE parts.logs_1 PARTITION OF logs FOR VALUES FROM (0) TO (9);
    CREATE TABLE parts.logs_2 PARTITION OF logs FOR VALUES FROM (9) TO (99)";

/// What comes of partitions with these settings.
fn of_partitions(include: &str, exclude: &str) -> Vec<String> {
    let mut world = World::new(&[]);
    world.sql.run(PARTITIONED);
    let receiver = receiver();
    let program = world.start(&[
        ("PGSTREAM_FILTER_INCLUDE_TABLES", include),
        ("PGSTREAM_FILTER_EXCLUDE_TABLES", exclude),
    ]);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "logs"}));
    world.sql.run("INSERT INTO logs VALUES (1), (10)");
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    let tables = requests
        .iter()
        .map(|request| request.json()["Data"]["table"].clone());
    let mut tables: Vec<String> = tables.map(|table| table.as_str().unwrap().to_owned()).collect();
    tables.sort();
    assert!(program.terminate().0.success());
    tables
}

#[test]
fn partitions_match_by_their_root_as_well() {
    assert_eq!(of_partitions("logs", ""), ["logs_1", "logs_2"]);
    assert_eq!(of_partitions("logs", "parts.logs_2"), ["logs_1"]);
    assert_eq!(of_partitions("parts.logs_1", ""), ["logs_1"]);
    assert!(of_partitions("parts.*", "logs").is_empty());
}

/// The plugin, which knows no partitions, was told to send the included tables only.
#[test]
fn the_first_partitioned_table_has_the_stream_begin_anew_and_loses_nothing() {
    let mut world = World::new(&[("track_activity_query_size", "16kB")]);
    let receiver = receiver();
    let settings = [("PGSTREAM_FILTER_INCLUDE_TABLES", "logs,other")];
    let mut program = world.start(&settings);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "logs"}));
    assert!(told(&mut world).contains("add-tables"));
    world.sql.run("CREATE TABLE other (id int)");
    world.sql.wait_until_settled();
    world.sql.run(PARTITIONED);
    world.sql.run("INSERT INTO logs VALUES (1), (10)");
    let anew = program.wait_for_log("a new beginning", |line| {
        line["msg"].as_str().is_some_and(|msg| msg.contains("begun anew"))
    });
    assert!(
        anew["error"].as_str().unwrap().contains("a partitioned table"),
        "{anew}"
    );
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pg_replication_slots WHERE active");
    world.sql.wait_until_delivered();
    assert!(!told(&mut world).contains("add-tables"));
    world.sql.wait_until_delivered();
    assert_eq!(receiver.requests().len(), 2);
    assert!(program.terminate().0.success());
}

#[test]
fn what_it_cannot_be_told_is_left_out_here() {
    let mut world = World::new(&[("track_activity_query_size", "16kB")]);
    world.sql.run(TABLES);
    let (tables, program, _receiver) = taken(
        &mut world,
        &[
            ("PGSTREAM_FILTER_INCLUDE_TABLES", "*orders,*.s*"),
            ("PGSTREAM_FILTER_EXCLUDE_TABLES", "tmp*,pgstream.*"),
        ],
    );
    assert_eq!(tables, ["pgstream.schema_log", "public.orders", "sales.secret"]);
    assert!(!told(&mut world).contains("add-tables"));
    drop(program);
}

#[test]
fn what_is_no_pattern_is_refused_with_what_to_write() {
    let wrong = pgstream(&["run", "--pgurl", "postgres://localhost/x"])
        .env("PGSTREAM_FILTER_INCLUDE_TABLES", "a.b.c")
        .env("PGSTREAM_FILTER_EXCLUDE_TABLES", "a.")
        .output()
        .unwrap();
    let problems = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{problems}");
    assert!(
        problems.contains("PGSTREAM_FILTER_INCLUDE_TABLES") && problems.contains("more than two names"),
        "{problems}"
    );
    assert!(
        problems.contains("PGSTREAM_FILTER_EXCLUDE_TABLES") && problems.contains("lacks a name"),
        "{problems}"
    );
}
