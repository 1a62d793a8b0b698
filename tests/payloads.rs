//! Suite `payloads`: what a change looks like when it arrives, byte for byte, and which changes arrive at all.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::program::Program;
use crate::support::receiver::{Action, Answer, Receiver, Request};
use crate::support::world::{
    Change, Column, Expected, FAST_RETRIES, Sql, World, member, receiver, webhook_id,
};

/// What every type is tried with: its name in SQL, a literal, its name in the payload, and the value there.
pub(crate) const TYPES: &[(&str, &str, &str, &str)] = &[
    ("smallint", "'-32768'", "smallint", "-32768"),
    ("integer", "'2147483647'", "integer", "2147483647"),
    ("bigint", "'9223372036854775807'", "bigint", "9223372036854775807"),
    (
        "bigint",
        "'-9223372036854775808'",
        "bigint",
        "-9223372036854775808",
    ),
    (
        "numeric",
        "'1234567890123456789012345678901234567890.12345678901234567890'",
        "numeric",
        "1234567890123456789012345678901234567890.12345678901234567890",
    ),
    ("numeric(12,4)", "'-1.5'", "numeric(12,4)", "-1.5000"),
    ("numeric", "'NaN'", "numeric", "null"),
    ("numeric", "'Infinity'", "numeric", "null"),
    ("numeric", "'-Infinity'", "numeric", "null"),
    ("real", "'0.1'", "real", "0.1"),
    ("real", "'1e30'", "real", "1e+30"),
    (
        "double precision",
        "'0.30000000000000004'",
        "double precision",
        "0.30000000000000004",
    ),
    (
        "double precision",
        "'-1.7976931348623157e308'",
        "double precision",
        "-1.7976931348623157e+308",
    ),
    ("double precision", "'NaN'", "double precision", "null"),
    ("double precision", "'Infinity'", "double precision", "null"),
    ("real", "'-Infinity'", "real", "null"),
    ("boolean", "'yes'", "boolean", "true"),
    ("boolean", "'no'", "boolean", "false"),
    ("oid", "'4294967295'", "oid", "4294967295"),
    ("bytea", r"'\x00ff5c22'", "bytea", r#""00ff5c22""#),
    ("bytea", "''", "bytea", r#""""#),
    (
        "text",
        r#"E'q" b\\ s/ \b\f\n\r\t \x01\x1f\x7f é 漢 😀'"#,
        "text",
        "\"q\\\" b\\\\ s/ \\b\\f\\n\\r\\t \\u0001\\u001f\x7f é 漢 😀\"",
    ),
    ("text", "''", "text", r#""""#),
    ("text", "'null'", "text", r#""null""#),
    (
        "character varying(9)",
        "'it''s'",
        "character varying(9)",
        r#""it's""#,
    ),
    ("character(3)", "'a'", "character(3)", r#""a  ""#),
    ("name", "'n'", "name", r#""n""#),
    (
        "json",
        r#"'{"a" : [1, "\u00e9"],  "b":null}'"#,
        "json",
        r#""{\"a\" : [1, \"\\u00e9\"],  \"b\":null}""#,
    ),
    (
        "jsonb",
        r#"'{"b":1.10,"a":"x"}'"#,
        "jsonb",
        r#""{\"a\": \"x\", \"b\": 1.10}""#,
    ),
    ("integer[]", "'{1,NULL,3}'", "integer[]", r#""{1,NULL,3}""#),
    (
        "text[]",
        r#"'{"a b",NULL,"q\"\\"}'"#,
        "text[]",
        r#""{\"a b\",NULL,\"q\\\"\\\\\"}""#,
    ),
    ("pair", r#"'(7,"x y")'"#, "pair", r#""(7,\"x y\")""#),
    ("mood", "'so so'", "mood", r#""so so""#),
    ("elsewhere.mood", "'far'", "elsewhere.mood", r#""far""#),
    ("positive", "'5'", "positive", r#""5""#),
    (
        "interval",
        "'1 year 2 months 3 days 04:05:06.7'",
        "interval",
        r#""1 year 2 mons 3 days 04:05:06.7""#,
    ),
    ("date", "'1999-12-31'", "date", r#""1999-12-31""#),
    ("date", "'infinity'", "date", r#""infinity""#),
    (
        "time",
        "'04:05:06.789'",
        "time without time zone",
        r#""04:05:06.789""#,
    ),
    (
        "timestamp",
        "'1999-12-31 23:59:59.123456'",
        "timestamp without time zone",
        r#""1999-12-31 23:59:59.123456""#,
    ),
    (
        "timestamptz",
        "'1999-12-31 23:59:59+05'",
        "timestamp with time zone",
        r#""1999-12-31 18:59:59+00""#,
    ),
    (
        "uuid",
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
        "uuid",
        r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#,
    ),
    ("inet", "'10.0.0.1/8'", "inet", r#""10.0.0.1/8""#),
    (
        "macaddr",
        "'08:00:2b:01:02:03'",
        "macaddr",
        r#""08:00:2b:01:02:03""#,
    ),
    ("int4range", "'[1,5]'", "int4range", r#""[1,6)""#),
    (
        "tsrange",
        "'[2000-01-01, 2000-01-02)'",
        "tsrange",
        r#""[\"2000-01-01 00:00:00\",\"2000-01-02 00:00:00\")""#,
    ),
    ("point", "'(0.1,-2)'", "point", r#""(0.1,-2)""#),
    ("money", "'12.5'", "money", r#""$12.50""#),
    ("bit(3)", "'101'", "bit(3)", r#""101""#),
    ("tsvector", "'a:1 b:2'", "tsvector", r#""'a':1 'b':2""#),
    ("xml", "'<a b=\"c\"/>'", "xml", r#""<a b=\"c\"/>""#),
];

/// The types that have to be made first.
pub(crate) const OWN_TYPES: &str = "CREATE TYPE public.mood AS ENUM ('sad', 'so so');
    CREATE SCHEMA elsewhere; CREATE TYPE elsewhere.mood AS ENUM ('near', 'far');
    CREATE TYPE public.pair AS (number int, word text);
    CREATE DOMAIN public.positive AS int CHECK (VALUE > 0)";

/// Everything that a role or a database can do to the way in which values are printed.
pub(crate) const HOSTILE: &str = "DO $$ DECLARE target text; setting text; BEGIN
    FOREACH target IN ARRAY ARRAY['ROLE postgres', 'DATABASE postgres', 'ROLE postgres IN DATABASE postgres'] LOOP
        FOREACH setting IN ARRAY ARRAY[
            $a$DateStyle = 'German'$a$, $a$IntervalStyle = 'iso_8601'$a$, $a$TimeZone = 'Asia/Kathmandu'$a$,
            $a$extra_float_digits = -15$a$, $a$bytea_output = 'escape'$a$, $a$search_path = 'elsewhere, pg_catalog'$a$,
            $a$quote_all_identifiers = on$a$, $a$client_encoding = 'LATIN1'$a$, $a$xmlbinary = 'hex'$a$,
            $a$standard_conforming_strings = off$a$, $a$lc_monetary = 'C'$a$] LOOP
            EXECUTE format('ALTER %s SET %s', target, setting);
        END LOOP;
    END LOOP; END $$";

/// A receiver of everything at `path`, subscribed.
fn subscribed(program: &Program) -> Receiver {
    let receiver = receiver();
    program.subscribe(&json!({"url": receiver.url("/all")}));
    receiver
}

/// Waits until everything written is settled; returns what came of users' tables.
fn settled(world: &mut World, receiver: &Receiver) -> Vec<Arc<Request>> {
    world.sql.wait_until_delivered();
    let requests = receiver.requests().into_iter();
    requests
        .filter(|request| request.json()["Data"]["schema"] != "pgstream")
        .collect()
}

/// Makes a table of every type, and in it a row with values and one of NULLs.
pub(crate) fn every_type() -> String {
    let definitions = TYPES
        .iter()
        .enumerate()
        .map(|(number, (sql, ..))| format!("c{number} {sql}"));
    let definitions: Vec<String> = definitions.collect();
    let literals: Vec<&str> = TYPES.iter().map(|(_, literal, ..)| *literal).collect();
    format!(
        "CREATE TABLE public.every (id int PRIMARY KEY, {}, doubled bigint GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO public.every VALUES (1, {});
         INSERT INTO public.every VALUES (2)",
        definitions.join(", "),
        literals.join(", ")
    )
}

/// A row of every type, one of NULLs, and an update, as they arrive.
fn assert_every_type(world: &mut World) {
    let program = world.start(&[]);
    let receiver = subscribed(&program);
    let names: Vec<String> = (0..TYPES.len()).map(|number| format!("c{number}")).collect();
    world.sql.run(&every_type());
    let mut requests = settled(world, &receiver);
    requests.sort_by_key(|request| Change::of(request).key);
    assert_eq!(requests.len(), 2);
    for (id, doubled, is_null, request) in [("1", "2", false, &requests[0]), ("2", "4", true, &requests[1])] {
        let mut columns: Vec<Column<'_>> = vec![("id", "integer", id)];
        columns.extend(
            names
                .iter()
                .zip(TYPES)
                .map(|(name, &(.., type_name, value))| (name.as_str(), type_name, value))
                .map(|(name, type_name, value)| (name, type_name, if is_null { "null" } else { value })),
        );
        columns.push(("doubled", "bigint", doubled));
        insert("public", "every", &columns).assert_is(request);
    }
}

/// What an INSERT is expected to say.
fn insert<'a>(schema: &'a str, table: &'a str, columns: &'a [Column<'a>]) -> Expected<'a> {
    Expected {
        action: "I",
        schema,
        table,
        columns: Some(columns),
        identity: None,
    }
}

#[test]
fn every_type_arrives_exactly() {
    let mut world = World::new(&[]);
    world.sql.run(OWN_TYPES);
    assert_every_type(&mut world);
}

#[test]
fn settings_of_roles_and_databases_change_nothing() {
    let mut world = World::new(&[]);
    world.sql.run(OWN_TYPES);
    world.sql.run(HOSTILE);
    let mut hostile = Sql::open(&world.cluster, "postgres");
    assert_eq!(
        hostile.value::<String>("SELECT (interval '1 day')::text"),
        "P1D",
        "it does reach sessions"
    );
    world.sql.run("ALTER ROLE postgres SET statement_timeout = 1");
    assert_every_type(&mut world);
}

#[test]
fn odd_names_are_matched_exactly_and_arrive_as_they_are() {
    const SCHEMAS: [&str; 3] = ["public", r#"S p.a"q,\'é 😀"#, "select"];
    const TABLES: [&str; 7] = ["table", "Order", "a.b", r#"q"uo'te"#, r"back\slash", "漢 字", "*"];
    const COLUMNS: [&str; 3] = ["user", r#"c "1".\ ü"#, "tab\tnew\nline"];
    let mut world = World::new(&[]);
    let program = world.start(&[]);
    let receiver = receiver();
    let identifier = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let definitions = COLUMNS.map(|name| format!("{} int", identifier(name))).join(", ");
    let mut number = 0;
    for schema in SCHEMAS {
        world
            .sql
            .run(&format!("CREATE SCHEMA IF NOT EXISTS {}", identifier(schema)));
        for table in TABLES {
            let name = format!("{}.{}", identifier(schema), identifier(table));
            world.sql.run(&format!(
                "CREATE TABLE {name} (id int, {definitions}, PRIMARY KEY (id, {}))",
                identifier(COLUMNS[1])
            ));
            program.subscribe(&json!({
                "url": receiver.url(&format!("/{number}")), "schema": schema, "table": table, "event_types": ["I", "D"],
            }));
            world
                .sql
                .run(&format!("INSERT INTO {name} VALUES ({number}, 1, 2, NULL)"));
            world.sql.run(&format!("DELETE FROM {name}"));
            number += 1;
        }
    }
    world.sql.wait_until_delivered();
    let mut requests = receiver.requests();
    requests.sort_by_key(|request| Change::of(request).key);
    assert_eq!(
        requests.len(),
        2 * number,
        "each is matched by its own names and by no other"
    );
    let names = SCHEMAS
        .iter()
        .flat_map(|schema| TABLES.map(|table| (*schema, table)));
    for (number, ((schema, table), pair)) in names.zip(requests.chunks(2)).enumerate() {
        let id = number.to_string();
        let row: Vec<Column<'_>> = [
            ("id", id.as_str()),
            (COLUMNS[0], "1"),
            (COLUMNS[1], "2"),
            (COLUMNS[2], "null"),
        ]
        .map(|(name, value)| (name, "integer", value))
        .to_vec();
        insert(schema, table, &row).assert_is(&pair[0]);
        Expected {
            action: "D",
            schema,
            table,
            columns: None,
            identity: Some(&[row[0], row[2]]),
        }
        .assert_is(&pair[1]);
        assert_eq!(pair[0].path, format!("/{number}"));
    }
}

#[test]
fn an_unchanged_toast_column_is_absent_from_the_new_row() {
    let mut world = World::new(&[]);
    world.sql.run(
        "CREATE TABLE long (id int PRIMARY KEY, n int, doc text);
         ALTER TABLE long ALTER doc SET STORAGE EXTERNAL",
    );
    let program = world.start(&[]);
    let receiver = subscribed(&program);
    world
        .sql
        .run("INSERT INTO long VALUES (1, 1, repeat('x', 100000))");
    world.sql.run("UPDATE long SET n = 2");
    world.sql.run("ALTER TABLE long REPLICA IDENTITY FULL");
    world.sql.run("UPDATE long SET n = 3");
    let requests = settled(&mut world, &receiver);
    assert_eq!(requests.len(), 3);
    let doc = format!("\"{}\"", "x".repeat(100_000));
    let row = |n| {
        [
            ("id", "integer", "1"),
            ("n", "integer", n),
            ("doc", "text", doc.as_str()),
        ]
    };
    insert("public", "long", &row("1")).assert_is(&requests[0]);
    for (request, columns, identity) in [
        (&requests[1], &row("2")[..2], &row("1")[..1]),
        (&requests[2], &row("3")[..2], &row("2")[..]),
    ] {
        Expected {
            action: "U",
            schema: "public",
            table: "long",
            columns: Some(columns),
            identity: Some(identity),
        }
        .assert_is(request);
    }
}

#[test]
fn the_rows_of_one_copy_have_ids_of_their_own() {
    const ROWS: usize = 10_000;
    let mut world = World::new(&[]);
    world.sql.run("CREATE TABLE copied (id int PRIMARY KEY)");
    let program = world.start(&[]);
    let receiver = subscribed(&program);
    world.sql.run("COPY copied FROM PROGRAM 'seq 1 10000'");
    let requests = settled(&mut world, &receiver);
    assert_eq!(requests.len(), ROWS);
    let ids: HashSet<String> = requests.iter().map(|request| webhook_id(request)).collect();
    assert_eq!(ids.len(), ROWS, "no id twice");
    let keys: HashSet<i64> = requests.iter().map(|request| Change::of(request).key).collect();
    assert_eq!(keys.len(), ROWS, "no row twice");
    let lsns: HashSet<String> = requests
        .iter()
        .map(|request| request.header("x-pgstream-lsn").unwrap().to_owned())
        .collect();
    assert!(
        lsns.len() < ROWS / 10,
        "rows of one WAL record share its LSN: {}",
        lsns.len()
    );
}

#[test]
fn each_table_of_a_truncate_is_an_event() {
    let mut world = World::new(&[]);
    world.sql.run(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int)",
    );
    let program = world.start(&[]);
    let receiver = receiver();
    program.subscribe(&json!({"url": receiver.url("/"), "event_types": ["T"]}));
    world.sql.run("INSERT INTO a VALUES (1); TRUNCATE a, b");
    let mut requests = settled(&mut world, &receiver);
    requests.sort_by_key(|request| Change::of(request).table);
    assert_eq!(requests.len(), 2);
    for (table, request) in ["a", "b"].into_iter().zip(&requests) {
        Expected {
            action: "T",
            schema: "public",
            table,
            columns: None,
            identity: None,
        }
        .assert_is(request);
    }
    let lsn = |request: &Request| request.header("x-pgstream-lsn").map(str::to_owned);
    assert_eq!(lsn(&requests[0]), lsn(&requests[1]));
    assert_ne!(webhook_id(&requests[0]), webhook_id(&requests[1]));
}

#[test]
fn a_subscription_to_a_partitioned_table_gets_its_partitions() {
    let mut world = World::new(&[]);
    // Keys of the leaves only, so that a row keeps its key when it moves.
    world.sql.run(
        "CREATE SCHEMA parts;
         CREATE TABLE orders (id int NOT NULL, region text NOT NULL) PARTITION BY LIST (region);
         CREATE TABLE orders_eu PARTITION OF orders (PRIMARY KEY (id)) FOR VALUES IN ('eu');
         CREATE TABLE orders_us PARTITION OF orders FOR VALUES IN ('us', 'ca') PARTITION BY LIST (region);
         CREATE TABLE parts.us PARTITION OF orders_us (PRIMARY KEY (id)) FOR VALUES IN ('us');
         CREATE TABLE other (id int PRIMARY KEY)",
    );
    let program = world.start(&[]);
    // The first answer takes its time: what is not ordered would overtake it.
    let receiver = Receiver::start(|request| {
        Action::Answer(Answer {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
            delay: Duration::from_millis(if request.number % 2 == 0 { 200 } else { 0 }),
        })
    });
    program.subscribe(&json!({"url": receiver.url("/root"), "schema": "public", "table": "orders"}));
    world
        .sql
        .run("INSERT INTO other VALUES (1); INSERT INTO orders VALUES (1, 'eu')");
    world.sql.run("UPDATE orders SET region = 'us' WHERE id = 1");
    world.sql.run("UPDATE orders SET region = 'eu' WHERE id = 1");
    // A partition that is made while the program runs.
    world
        .sql
        .run("CREATE TABLE parts.ca PARTITION OF orders_us (PRIMARY KEY (id)) FOR VALUES IN ('ca')");
    world.sql.run("UPDATE orders SET region = 'ca' WHERE id = 1");
    world.sql.run("TRUNCATE orders");
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    let arrived: Vec<String> = requests
        .iter()
        .map(|request| {
            let body = request.json();
            let text = |name: &str| body["Data"][name].as_str().unwrap().to_owned();
            format!("{} {}.{}", text("action"), text("schema"), text("table"))
        })
        .collect();
    assert_eq!(
        arrived[..7],
        [
            "I public.orders_eu",
            "D public.orders_eu",
            "I parts.us",
            "D parts.us",
            "I public.orders_eu",
            "D public.orders_eu",
            "I parts.ca",
        ]
    );
    let truncated: HashSet<&str> = arrived[7..].iter().map(String::as_str).collect();
    for leaf in ["T public.orders_eu", "T parts.us", "T parts.ca"] {
        assert!(truncated.contains(leaf), "{truncated:?}");
    }
    let columns: [Column<'_>; 2] = [("id", "integer", "1"), ("region", "text", r#""us""#)];
    insert("parts", "us", &columns).assert_is(&requests[2]);
}

#[test]
fn requests_have_the_promised_headers() {
    let mut world = World::new(&[]);
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let program = world.start(&[]);
    let receiver = subscribed(&program);
    world.sql.run("INSERT INTO t VALUES (1)");
    let requests = settled(&mut world, &receiver);
    let request = &requests[0];
    let header = |name: &str| {
        let mut values = request.headers.iter().filter(|(known, _)| known == name);
        let value = values
            .next()
            .unwrap_or_else(|| panic!("no {name}: {:?}", request.headers));
        assert!(values.next().is_none(), "{name} twice");
        value.1.as_str()
    };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/all"));
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(
        header("user-agent"),
        concat!("pgstream/", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(header("idempotency-key"), header("webhook-id"));
    let sent: u64 = header("webhook-timestamp").parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(sent) < 60, "{sent}");
    let body = String::from_utf8(request.body.clone()).unwrap();
    assert_eq!(header("x-pgstream-lsn"), member(&body, "lsn"));
    assert_eq!(header("content-length"), body.len().to_string());
    let system: String = world
        .sql
        .value("SELECT system_identifier::text FROM pg_control_system()");
    assert!(
        header("webhook-id").starts_with(&format!("{system}-1-c-")),
        "{}",
        header("webhook-id")
    );
}

#[test]
fn of_our_own_tables_only_new_entries_of_the_schema_log_arrive() {
    let mut world = World::new(&[]);
    let program = world.start(&[]);
    let receiver = subscribed(&program);
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    world
        .sql
        .run("ALTER TABLE pgstream.schema_log REPLICA IDENTITY FULL");
    world.sql.run("UPDATE pgstream.schema_log SET acked = true");
    world.sql.run("UPDATE pgstream.table_ids SET oid = 0");
    let other = json!({"url": "http://127.0.0.1:9/", "schema": "none"});
    program.subscribe(&other);
    program.unsubscribe(&other);
    world
        .sql
        .run("DELETE FROM pgstream.schema_log; TRUNCATE pgstream.table_ids, pgstream.schema_log");
    world
        .sql
        .run("CREATE TABLE pgstream.own (id int PRIMARY KEY); INSERT INTO pgstream.own VALUES (1)");
    world
        .sql
        .run("CREATE TABLE public.schema_log (id int PRIMARY KEY); UPDATE public.schema_log SET id = 1");
    world.sql.run("INSERT INTO public.schema_log VALUES (7)");
    world.sql.wait_until_delivered();
    // In whatever order: they are changes of different rows.
    let mut arrived: Vec<String> = receiver
        .requests()
        .iter()
        .map(|request| {
            let body = request.json();
            let change = &body["Data"];
            format!("{} {} {}", change["action"], change["schema"], change["table"])
        })
        .collect();
    let entry = r#""I" "pgstream" "schema_log""#;
    arrived.sort();
    assert_eq!(arrived, [entry, entry, r#""I" "public" "schema_log""#]);
}

#[test]
fn a_url_gets_an_event_once_however_many_subscriptions_match() {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE SCHEMA s; CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE s.t (id int PRIMARY KEY)");
    let program = world.start(&[]);
    let receiver = receiver();
    let (many, one) = (receiver.url("/many"), receiver.url("/one"));
    for subscription in [
        json!({"url": many}),
        json!({"url": many, "schema": "public"}),
        json!({"url": many, "table": "t"}),
        json!({"url": many, "schema": "public", "table": "t", "event_types": ["I", "U"]}),
        json!({"url": one, "schema": "s", "event_types": ["I"]}),
    ] {
        program.subscribe(&subscription);
    }
    world
        .sql
        .run("INSERT INTO t VALUES (1); UPDATE t SET id = 1; DELETE FROM t; INSERT INTO s.t VALUES (2)");
    let requests = settled(&mut world, &receiver);
    let mut arrived: BTreeMap<&str, Vec<(String, i64)>> = BTreeMap::new();
    for request in &requests {
        let change = Change::of(request);
        arrived
            .entry(&request.path)
            .or_default()
            .push((change.action, change.key));
    }
    arrived.get_mut("/many").unwrap().sort();
    let expect = |changes: &[(&str, i64)]| -> Vec<(String, i64)> {
        changes
            .iter()
            .map(|(action, key)| ((*action).to_owned(), *key))
            .collect()
    };
    assert_eq!(
        arrived["/many"],
        expect(&[("D", 1), ("I", 1), ("I", 2), ("U", 1)])
    );
    assert_eq!(arrived["/one"], expect(&[("I", 2)]));
}

#[test]
fn changes_without_an_identity_are_reported_once_a_table() {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE TABLE \"no key\" (id int); CREATE TABLE none (id int)");
    let program = world.start(&[]);
    let receiver = subscribed(&program);
    for table in ["\"no key\"", "none"] {
        for _ in 0..3 {
            world.sql.run(&format!(
                "INSERT INTO {table} VALUES (1); UPDATE {table} SET id = 2; DELETE FROM {table}"
            ));
        }
    }
    let requests = settled(&mut world, &receiver);
    assert_eq!(requests.len(), 6, "the inserts only");
    assert!(requests.iter().all(|request| Change::of(request).action == "I"));
    let (status, log) = program.terminate();
    assert!(status.success());
    let warnings: Vec<String> = log
        .iter()
        .filter(|line| line["level"] == "warn")
        .map(ToString::to_string)
        .collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("no key") && warnings[1].contains("none"),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .all(|line| line.contains("`pgstream status` names the statement")),
        "{warnings:?}"
    );
}

/// Answers late, and now and then not well: by the number of the request, so that the test knows which.
fn moody(number: usize) -> (u16, Duration) {
    let random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let status = if random.is_multiple_of(20) { 503 } else { 200 };
    (status, Duration::from_millis((random / 20 % 8) as u64))
}

fn moody_receiver() -> Receiver {
    Receiver::start(|request| {
        let (status, delay) = moody(request.number);
        Action::Answer(Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            delay,
        })
    })
}

#[test]
fn a_row_keeps_its_order_when_its_key_changes() {
    const ROUNDS: i64 = 40;
    let mut world = World::new(&[]);
    world.sql.run("CREATE TABLE t (id bigint PRIMARY KEY, n bigint)");
    let program = world.start(&FAST_RETRIES);
    let receiver = moody_receiver();
    program.subscribe(&json!({"url": receiver.url("/"), "table": "t"}));
    for round in 1..=ROUNDS {
        // Each change has a key in common with the one before it, so all of them are in order.
        world.sql.run(&format!(
            "INSERT INTO t VALUES (1, {round}); UPDATE t SET id = 2; UPDATE t SET n = -{round};
             UPDATE t SET id = 1; DELETE FROM t"
        ));
    }
    world.sql.wait_until_delivered();
    let delivered: Vec<(String, i64)> = receiver
        .requests()
        .iter()
        .filter(|request| moody(request.number).0 == 200)
        .map(|request| Change::of(request))
        .map(|change| (change.action, change.key))
        .collect();
    let expected: Vec<(String, i64)> = (0..ROUNDS)
        .flat_map(|_| [("I", 1), ("U", 2), ("U", 2), ("U", 1), ("D", 1)])
        .map(|(action, key)| (action.to_owned(), key))
        .collect();
    assert_eq!(delivered, expected);
}

#[test]
fn every_row_keeps_its_order_under_retries_and_delays() {
    const ROWS: i64 = 50;
    const UPDATES: i64 = 2_000;
    let mut world = World::new(&[]);
    world.sql.run("CREATE TABLE t (id bigint PRIMARY KEY, n bigint)");
    world.sql.run(&format!(
        "INSERT INTO t SELECT i, 0 FROM generate_series(0, {}) AS i",
        ROWS - 1
    ));
    let program = world.start(&FAST_RETRIES);
    world.sql.wait_until_settled();
    let receiver = moody_receiver();
    program.subscribe(&json!({"url": receiver.url("/"), "table": "t"}));
    // Several transactions, each with several changes of some rows.
    for start in (1..=UPDATES).step_by(100) {
        world.sql.run(&format!(
            "DO $$ BEGIN FOR i IN {start}..{} LOOP UPDATE t SET n = i WHERE id = (i * 7) % {ROWS}; END LOOP; END $$",
            start + 99
        ));
    }
    world.sql.wait_until_delivered();
    let requests = receiver.requests();
    let mut last: BTreeMap<i64, (i64, u16)> = BTreeMap::new();
    let mut delivered = 0;
    for request in &requests {
        let (change, status) = (Change::of(request), moody(request.number).0);
        let (n, before) = last
            .insert(change.key, (change.second, status))
            .unwrap_or((0, 200));
        let goes_on = if before == 200 {
            n < change.second
        } else {
            n == change.second
        };
        assert!(
            goes_on,
            "row {}: {} after {n}, which was answered {before}",
            change.key, change.second
        );
        delivered += i64::from(status == 200);
    }
    assert_eq!(delivered, UPDATES);
    assert!(requests.len() as i64 > UPDATES, "some were tried again");
}
