//! Suite `metrics`: what `/metrics` gives is valid, exact, bounded and documented.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use pgstream::config::keys;
use serde_json::{Value, json};

use crate::support::database::SLOT;
use crate::support::exposition::Exposition;
use crate::support::program::{Program, pgstream};
use crate::support::receiver::{Action, Receiver};
use crate::support::world::{FAST_RETRIES, World, receiver};

/// What the program counts is of the source alone: nothing of its own bookkeeping, and no statistics of the server.
struct Account {
    world: World,
    store: String,
}

impl Account {
    fn new() -> Self {
        let mut world = World::new(&[("autovacuum", "off")]);
        world.sql.run("CREATE DATABASE store");
        world
            .sql
            .run("CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL)");
        let store = world.cluster.url("store");
        Self { world, store }
    }

    fn start(&self, settings: &[(&str, &str)]) -> Program {
        let store = [(keys::STORE_URL.name, self.store.as_str())];
        self.world.start(&[&FAST_RETRIES[..], &store, settings].concat())
    }
}

fn subscribe(program: &Program, url: &str) {
    program.subscribe(&json!({"url": url, "schema": "public", "table": "items"}));
}

/// How much each of these has grown.
fn growth(before: &Exposition, after: &Exposition, names: &[&'static str]) -> BTreeMap<&'static str, f64> {
    let grown = names
        .iter()
        .map(|name| (*name, after.value(name) - before.value(name)));
    grown.collect()
}

/// What an endpoint is called, by its port: its URL has a path that is not shown.
fn only_label(metrics: &Exposition, condition: impl Fn(f64) -> bool) -> String {
    let rows = metrics.by("pgstream_backlog_rows", "endpoint");
    let found: Vec<&String> = rows
        .iter()
        .filter(|(_, rows)| condition(**rows))
        .map(|(label, _)| label)
        .collect();
    assert_eq!(found.len(), 1, "{rows:?}");
    found[0].clone()
}

#[test]
fn counters_tell_exactly_what_has_happened() {
    let mut account = Account::new();
    let failures = AtomicUsize::new(2);
    let receiver = Receiver::start(move |request| match request.path.as_str() {
        "/refuses" => Action::status(400),
        "/fails-twice" => {
            let left = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            Action::status(if left.is_ok() { 503 } else { 200 })
        }
        _ => Action::status(200),
    });
    let program = account.start(&[]);
    for path in ["/takes", "/refuses", "/fails-twice", "/paused"] {
        subscribe(&program, &receiver.url(path));
    }
    let paused = receiver.url("/paused");
    let pause = json!({"url": paused, "reason": "a test"}).to_string();
    assert_eq!(program.post("/webhooks/endpoints/pause", &pause).0, 200);
    account.world.sql.wait_until_settled();
    let before = program.metrics();
    account
        .world
        .sql
        .run("INSERT INTO items SELECT n, 1 FROM generate_series(1, 3) n");
    account.world.sql.wait_until_settled();
    let after = program.wait_for_metrics(|metrics| metrics.value("pgstream_dead_letters") == 3.0);

    let grown = growth(
        &before,
        &after,
        &[
            "pgstream_records_received_total",
            "pgstream_records_parsed_total",
            "pgstream_records_unparsable_total",
            "pgstream_records_matched_total",
            "pgstream_transactions_received_total",
            "pgstream_deliveries_delivered_total",
            "pgstream_delivery_attempts_failed_total",
            "pgstream_deliveries_dead_lettered_total",
            "pgstream_deliveries_discarded_total",
            "pgstream_deliveries_appended_to_backlog_total",
            "pgstream_exchange_duration_seconds_count",
            "pgstream_commit_to_delivery_seconds_count",
            "pgstream_reconnects_total",
        ],
    );
    let expected = BTreeMap::from([
        // Begin, three changes, commit.
        ("pgstream_records_received_total", 5.0),
        ("pgstream_records_parsed_total", 5.0),
        ("pgstream_records_unparsable_total", 0.0),
        ("pgstream_records_matched_total", 3.0),
        ("pgstream_transactions_received_total", 1.0),
        ("pgstream_deliveries_delivered_total", 6.0),
        // Two that were tried again, three that were refused.
        ("pgstream_delivery_attempts_failed_total", 5.0),
        ("pgstream_deliveries_dead_lettered_total", 3.0),
        ("pgstream_deliveries_discarded_total", 0.0),
        ("pgstream_deliveries_appended_to_backlog_total", 3.0),
        ("pgstream_exchange_duration_seconds_count", 11.0),
        ("pgstream_commit_to_delivery_seconds_count", 6.0),
        ("pgstream_reconnects_total", 0.0),
    ]);
    assert_eq!(grown, expected);
    assert!(after.value("pgstream_confirmed_lsn_bytes") > before.value("pgstream_confirmed_lsn_bytes"));
    assert!(after.value("pgstream_received_bytes_total") > before.value("pgstream_received_bytes_total"));
    let took = after.value("pgstream_commit_to_delivery_seconds_sum");
    assert!(took > 0.0 && took < 600.0, "{took}");
    assert_eq!(after.labelled("pgstream_endpoints", &[("state", "paused")]), 1.0);
    let label = only_label(&after, |rows| rows == 3.0);
    assert_eq!(
        after.labelled("pgstream_endpoint_up", &[("endpoint", &label)]),
        0.0
    );

    program.unsubscribe(&json!({"url": paused, "schema": "public", "table": "items"}));
    let swept = program.wait_for_metrics(|metrics| {
        metrics.value("pgstream_deliveries_discarded_total")
            > after.value("pgstream_deliveries_discarded_total")
    });
    assert_eq!(
        growth(&after, &swept, &["pgstream_deliveries_discarded_total"])
            .values()
            .sum::<f64>(),
        3.0
    );
    assert_eq!(
        swept.labelled("pgstream_backlog_rows", &[("endpoint", &label)]),
        0.0
    );
}

#[test]
fn the_backlog_of_an_endpoint_that_is_down_is_shown_until_it_is_drained() {
    let mut account = Account::new();
    let status = Arc::new(AtomicU16::new(503));
    let answer = Arc::clone(&status);
    let down = Receiver::start(move |_| Action::status(answer.load(Ordering::SeqCst)));
    let up = receiver();
    let program = account.start(&[]);
    let with_secrets = down
        .url("/secret?token=secret")
        .replace("http://", "http://user:secret@");
    for url in [with_secrets, up.url("/")] {
        subscribe(&program, &url);
    }
    account
        .world
        .sql
        .run("INSERT INTO items SELECT n, 1 FROM generate_series(1, 7) n");
    account.world.sql.wait_until_settled();
    let rows = |metrics: &Exposition| {
        metrics
            .by("pgstream_backlog_rows", "endpoint")
            .values()
            .sum::<f64>()
    };
    program.wait_for_metrics(|metrics| rows(metrics) == 7.0);
    let aged = program.wait_for_metrics(|metrics| {
        metrics
            .by("pgstream_backlog_age_seconds", "endpoint")
            .values()
            .any(|age| *age > 0.0)
    });
    let label = only_label(&aged, |rows| rows == 7.0);
    assert!(
        !label.contains("secret") && label.contains(&down.port().to_string()),
        "{label}"
    );
    let of_it = |name: &str| aged.labelled(name, &[("endpoint", &label)]);
    assert!(of_it("pgstream_backlog_bytes") > 7.0 * 100.0);
    assert!(of_it("pgstream_backlog_age_seconds") > 0.0);
    assert_eq!(of_it("pgstream_endpoint_up"), 0.0);
    assert_eq!(aged.labelled("pgstream_endpoints", &[("state", "healthy")]), 1.0);

    status.store(200, Ordering::SeqCst);
    let drained = program.wait_for_metrics(|metrics| {
        rows(metrics) == 0.0 && metrics.labelled("pgstream_endpoints", &[("state", "healthy")]) == 2.0
    });
    assert_eq!(
        drained.labelled("pgstream_backlog_age_seconds", &[("endpoint", &label)]),
        0.0
    );
    assert_eq!(drained.value("pgstream_deliveries_delivered_total"), 14.0);
}

#[test]
fn many_endpoints_have_as_many_series_as_are_allowed() {
    const ENDPOINTS: usize = 120;
    let mut account = Account::new();
    let receiver = receiver();
    let program = account.start(&[]);
    for endpoint in 0..ENDPOINTS {
        subscribe(&program, &receiver.url(&format!("/{endpoint}")));
    }
    account.world.sql.run("INSERT INTO items VALUES (1, 1)");
    let metrics = program
        .wait_for_metrics(|metrics| metrics.by("pgstream_endpoints", "state").values().sum::<f64>() == 120.0);
    for name in [
        "pgstream_backlog_rows",
        "pgstream_endpoint_up",
        "pgstream_backlog_age_seconds",
    ] {
        let series = metrics.by(name, "endpoint");
        assert_eq!(series.len(), pgstream::monitoring::MAX_ENDPOINTS + 1);
        assert!(series.contains_key(pgstream::monitoring::OTHERS));
    }
    assert_eq!(metrics.value("pgstream_subscriptions"), 120.0);
}

#[test]
fn warnings_of_the_server_are_counted() {
    let mut account = Account::new();
    let program = account.start(&[]);
    account
        .world
        .sql
        .run("CREATE TABLE bare (v int); INSERT INTO bare VALUES (1), (2)");
    account.world.sql.run("UPDATE bare SET v = 0");
    account
        .world
        .sql
        .run("DELETE FROM bare WHERE false; DELETE FROM bare");
    account.world.sql.wait_until_settled();
    let of_kind =
        |metrics: &Exposition, kind| metrics.labelled("pgstream_server_notices_total", &[("kind", kind)]);
    let metrics = program.wait_for_metrics(|metrics| of_kind(metrics, "missing_identity") == 4.0);
    assert_eq!(of_kind(&metrics, "other"), 0.0);
    let told = program.log();
    let told = told
        .iter()
        .filter(|line| line["event"] == "missing_replica_identity");
    assert_eq!(told.count(), 1, "once a table");
}

#[test]
fn metrics_may_have_an_address_of_their_own() {
    let account = Account::new();
    let mut program = account.start(&[(keys::METRICS_ADDRESS.name, "127.0.0.1:0")]);
    let line = program.wait_for_log("the metrics", |line| line["msg"] == "metrics server listening");
    let address = line["address"].as_str().unwrap();
    // The stream is begun before anything is there to deliver its changes.
    program.wait_until_ready();
    let metrics = Exposition::of(&program.ask_at(address, "GET", "/metrics"));
    assert_eq!(
        metrics.labelled("pgstream_connection_state", &[("state", "streaming")]),
        1.0
    );
    for (server, path, method, status) in [
        (Some(address), "/readyz", "GET", 200),
        (Some(address), "/healthz", "GET", 200),
        (Some(address), "/metrics", "POST", 405),
        (Some(address), "/webhooks/subscriptions", "GET", 404),
        (None, "/metrics", "GET", 404),
        (None, "/readyz", "GET", 200),
        (None, "/healthz", "GET", 200),
    ] {
        let answered = match server {
            Some(address) => program.ask_at(address, method, path),
            None => program.ask(method, path),
        };
        assert_eq!(
            answered.status, status,
            "{method} {path} at {server:?}: {answered:?}"
        );
    }
}

#[test]
fn an_address_of_metrics_that_is_taken_ends_the_program() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = pgstream(&["run"])
        .env(
            keys::LISTENER_URL.name,
            "postgres://postgres@127.0.0.1:1/postgres",
        )
        .env(keys::SLOT_NAME.name, SLOT)
        .env(keys::SERVER_ADDRESS.name, "127.0.0.1:0")
        .env(keys::METRICS_ADDRESS.name, &address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    for part in [
        "PGSTREAM_METRICS_ADDRESS",
        &address,
        "is in use by another program",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// What is documented and is not given in every state: the slot is looked at now and then only.
const SOMETIMES: [&str; 1] = ["pgstream_slot_lag_bytes"];

#[test]
fn what_is_given_is_documented_and_what_the_dashboard_shows_is_given() {
    let mut account = Account::new();
    let receiver = receiver();
    account.world.sql.run("INSERT INTO items VALUES (1, 1)");
    let program = account.start(&[(keys::SNAPSHOT_TABLES.name, "items")]);
    subscribe(&program, &receiver.url("/"));
    let metrics = program.wait_for_metrics(|metrics| {
        metrics
            .by("pgstream_snapshot_tables", "state")
            .contains_key("done")
            && metrics.value("pgstream_snapshot_rows_total") == 1.0
    });
    let given: BTreeMap<String, (String, String)> = metrics
        .families()
        .iter()
        .map(|(name, family)| {
            let labels: Vec<String> = family.labels().iter().map(|label| format!("`{label}`")).collect();
            (name.clone(), (family.kind.clone(), labels.join(", ")))
        })
        .collect();
    let mut documented = documented();
    for name in SOMETIMES.iter().filter(|name| !given.contains_key(**name)) {
        assert!(documented.remove(*name).is_some(), "{name} is not documented");
    }
    assert_eq!(documented, given);
    let shown = shown();
    assert!(shown.len() > 20, "{shown:?}");
    for name in shown {
        assert!(
            given.contains_key(&name) || SOMETIMES.contains(&name.as_str()),
            "nobody gives {name}"
        );
    }
}

fn document(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path)).unwrap()
}

/// Type and labels of each metric in the table of docs/metrics.md.
fn documented() -> BTreeMap<String, (String, String)> {
    let text = document("metrics.md");
    let section = text
        .split("\n## Metrics\n")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next());
    let rows = section
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("| `"));
    let cells = |row: &str| {
        row.split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    rows.map(|row| {
        let cells = cells(row);
        assert_eq!(cells.len(), 6, "{row}");
        assert!(cells[4].ends_with('.'), "{row}");
        let name = cells[1].trim_matches('`').to_owned();
        (name, (cells[2].clone(), cells[3].clone()))
    })
    .collect()
}

/// The metrics that the dashboard's expressions name.
fn shown() -> BTreeSet<String> {
    fn expressions(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(text) if name == "expr" || name == "definition" => found.push(text.to_owned()),
                        _ => expressions(member, found),
                    }
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| expressions(element, found)),
            _ => {}
        }
    }
    let dashboard: Value = serde_json::from_str(&document("grafana-dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|variable| variable["type"] == "datasource"));
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let names = found.iter().flat_map(|expression| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        expression
            .split(move |c| !is_part(c))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let metrics = names.filter(|name| name.starts_with("pgstream_") || name.starts_with("process_"));
    let base = |name: String| {
        let of_histogram = name.contains("_seconds_");
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        base.filter(|_| of_histogram).map_or(name.clone(), str::to_owned)
    };
    metrics.map(base).collect()
}
