//! Suite `stream`: what the whole program makes of a stream, beyond its payloads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::support::database::{SLOT, initialised, run, session, value, values, wait_for};
use crate::support::program::{Program, skip};
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::Change;

/// By when everything that is waited for has to have happened.
const DEADLINE: Duration = Duration::from_secs(30);

/// The tables that these requests are about.
fn tables(requests: &[std::sync::Arc<Request>]) -> Vec<Value> {
    requests
        .iter()
        .map(|request| request.json()["Data"]["table"].clone())
        .collect()
}

/// Waits until everything written so far is confirmed.
async fn wait_until_confirmed(session: &mut PgConnection) {
    let now: String = value(session, "SELECT pg_current_wal_lsn()::text").await;
    let confirmed = format!("SELECT confirmed_flush_lsn >= '{now}' FROM pg_replication_slots");
    let deadline = Instant::now() + DEADLINE;
    while !value::<bool>(session, &confirmed).await {
        assert!(Instant::now() < deadline, "{now} is not confirmed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn in_strict_mode_a_record_that_cannot_be_read_stops_the_stream_after_everything_before_it() {
    const BEFORE: usize = 300;
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    // wal2json takes the quotes around such a type's name for those of JSON, and does not escape what is within.
    run(&mut session, "CREATE TYPE \"a\"\"b\" AS ENUM ('sad')").await;
    run(
        &mut session,
        "CREATE TABLE feelings (id int PRIMARY KEY, mood \"a\"\"b\"); CREATE TABLE t (id int PRIMARY KEY)",
    )
    .await;
    let receiver = Receiver::start(|_| {
        // Slower than the stream is read: most of it waits when the record comes.
        std::thread::sleep(Duration::from_millis(20));
        Action::status(200)
    });
    let url = cluster.url("postgres");
    let strict = [("PGSTREAM_WEBHOOK_NOTIFIER_STRICT_MODE", "true")];
    let mut program = Program::start(&url, SLOT, &strict);
    program.subscribe(&json!({"url": receiver.url("/hook"), "schema": "public"}));
    run(
        &mut session,
        &format!("DO $$BEGIN FOR i IN 1..{BEFORE} LOOP INSERT INTO t VALUES (i); COMMIT; END LOOP; END$$"),
    )
    .await;
    let before: String = value(&mut session, "SELECT pg_current_wal_insert_lsn()::text").await;
    run(&mut session, "INSERT INTO feelings VALUES (1, 'sad')").await;
    run(&mut session, "INSERT INTO t VALUES (0)").await;
    assert_eq!(program.wait().code(), Some(1));
    assert_eq!(
        receiver.requests().len(),
        BEFORE,
        "everything before it, and nothing of or after it"
    );
    let confirmed = format!("SELECT confirmed_flush_lsn <= '{before}' FROM pg_replication_slots");
    assert!(value::<bool>(&mut session, &confirmed).await);
    // The remedy, as it is printed, loses that transaction and no other.
    let line = program.wait_for_log("the reason", |line| line["level"] == "critical");
    let message = line["msg"].as_str().unwrap();
    assert!(message.contains("cannot be read"), "{message}");
    let (_, remedy) = message.split_once("`pgstream skip --to ").expect(message);
    let (end, _) = remedy.split_once('`').expect(message);
    let skipped = skip(&url, &["--to", end, "--yes"]);
    assert!(skipped.status.success(), "{skipped:?}");
    let program = Program::start(&url, SLOT, &[]);
    let requests = receiver.wait_for(|requests| requests.len() > BEFORE, DEADLINE);
    assert_eq!(requests[BEFORE].json()["Data"]["columns"][0]["value"], 0);
    drop(program);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_becomes_a_dead_letter_and_the_stream_goes_on() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE TYPE \"a\"\"b\" AS ENUM ('sad', 'glad')").await;
    run(
        &mut session,
        "CREATE TABLE feelings (id int PRIMARY KEY, mood \"a\"\"b\"); CREATE TABLE t (id int PRIMARY KEY)",
    )
    .await;
    let receiver = Receiver::start(|_| Action::status(200));
    let program = Program::start(&cluster.url("postgres"), SLOT, &[]);
    program.subscribe(&json!({"url": receiver.url("/hook"), "schema": "public"}));
    // Several within a transaction, some of them in one WAL record.
    run(
        &mut session,
        "BEGIN; INSERT INTO t VALUES (1); INSERT INTO feelings VALUES (1, 'sad'), (2, 'glad'); INSERT INTO t VALUES (2); COMMIT",
    )
    .await;
    let requests = receiver.wait_for(|requests| requests.len() == 2, DEADLINE);
    let mut keys: Vec<i64> = requests.iter().map(|request| Change::of(request).key).collect();
    keys.sort_unstable();
    assert_eq!(keys, [1, 2]);
    let confirmed = "SELECT confirmed_flush_lsn >= pg_current_wal_lsn() FROM pg_replication_slots";
    wait_for(&mut session, confirmed).await;
    let letters: Vec<String> = values(
        &mut session,
        "SELECT concat_ws('|', endpoint IS NULL, reason, last_error <> '', convert_from(payload, 'UTF8') LIKE '%\"feelings\"%')
           FROM pgstream.webhook_dead_letters ORDER BY id",
    )
    .await;
    assert_eq!(letters, ["t|unparsable|t|t", "t|unparsable|t|t"]);
    drop(program);
}

#[tokio::test]
async fn a_table_belongs_to_a_root_from_the_moment_it_is_attached() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE TABLE measures (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE measures_may (id int, day date NOT NULL, PRIMARY KEY (id, day))",
    )
    .await;
    let receiver = Receiver::start(|_| Action::status(200));
    let program = Program::start(&cluster.url("postgres"), SLOT, &[]);
    program.subscribe(&json!({"url": receiver.url("/hook"), "schema": "public", "table": "measures"}));
    run(&mut session, "INSERT INTO measures_may VALUES (1, '2025-05-01')").await;
    wait_until_confirmed(&mut session).await;
    run(
        &mut session,
        "ALTER TABLE measures ATTACH PARTITION measures_may FOR VALUES FROM ('2025-05-01') TO ('2025-06-01')",
    )
    .await;
    run(&mut session, "INSERT INTO measures VALUES (2, '2025-05-02')").await;
    let requests = receiver.wait_for(|requests| !requests.is_empty(), DEADLINE);
    assert_eq!(tables(&requests), ["measures_may"]);
    assert_eq!(requests[0].json()["Data"]["columns"][0]["value"], 2);
}

#[tokio::test]
async fn the_proxies_of_the_environment_are_ignored() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    let proxy = Receiver::start(|_| Action::status(502));
    let proxy_url = proxy.url("");
    let receiver = Receiver::start(|_| Action::status(200));
    let names = [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "all_proxy",
        "ALL_PROXY",
    ];
    let settings = names.map(|name| (name, proxy_url.as_str()));
    let program = Program::start(&cluster.url("postgres"), SLOT, &settings);
    program.subscribe(&json!({"url": receiver.url("/hook")}));
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY)").await;
    receiver.wait_for(|requests| !requests.is_empty(), DEADLINE);
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn what_sql_subscribes_and_cannot_be_delivered_to_is_reported_and_harms_nobody() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    let receiver = Receiver::start(|_| Action::status(200));
    let mut program = Program::start(&cluster.url("postgres"), SLOT, &[]);
    run(
        &mut session,
        "INSERT INTO pgstream.webhook_subscriptions VALUES ('ftp://nowhere/', '', '', '{I}')",
    )
    .await;
    program.subscribe(&json!({"url": receiver.url("/hook")}));
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY)").await;
    receiver.wait_for(|requests| !requests.is_empty(), DEADLINE);
    program.wait_for_log("the report", |line| {
        line["level"] == "error" && line["endpoint"] == "ftp://nowhere"
    });
}

#[tokio::test]
async fn without_the_cache_a_transaction_is_matched_against_what_is_in_the_store() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let receiver = Receiver::start(|_| Action::status(200));
    let cache = pgstream::config::keys::CACHE_ENABLED.name;
    let program = Program::start(&cluster.url("postgres"), SLOT, &[(cache, "false")]);
    for id in 0..20 {
        // In SQL and without a NOTIFY that anyone would listen to: only a query for each transaction can see it.
        let url = receiver.url(&format!("/{id}"));
        run(
            &mut session,
            &format!(
                "DELETE FROM pgstream.webhook_subscriptions;
                 INSERT INTO pgstream.webhook_subscriptions VALUES ('{url}', '', 't', '{{I}}')"
            ),
        )
        .await;
        run(&mut session, &format!("INSERT INTO t VALUES ({id})")).await;
        let requests = receiver.wait_for(|requests| requests.len() > id, DEADLINE);
        assert_eq!(requests[id].path, format!("/{id}"));
    }
    drop(program);
}

#[tokio::test]
async fn a_delivery_that_is_refused_is_reported_and_holds_back_only_itself() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let receiver = Receiver::start(|request| {
        let refused = request.json()["Data"]["columns"][0]["value"] == 1;
        Action::status(if refused { 422 } else { 200 })
    });
    let mut program = Program::start(&cluster.url("postgres"), SLOT, &[]);
    program.subscribe(&json!({"url": receiver.url("/hook"), "table": "t"}));
    run(&mut session, "INSERT INTO t VALUES (1), (2), (3)").await;
    let requests = receiver.wait_for(|requests| requests.len() >= 3, DEADLINE);
    let line = program.wait_for_log("the report", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|text| text.starts_with("an event becomes a dead letter"))
    });
    let refused = requests
        .iter()
        .find(|request| request.json()["Data"]["columns"][0]["value"] == 1)
        .unwrap();
    assert_eq!(line["webhook_id"].as_str(), refused.header("webhook-id"));
    assert_eq!(line["error"], "answered 422: refused");
    let confirmed = "SELECT confirmed_flush_lsn >= pg_current_wal_lsn() FROM pg_replication_slots";
    wait_for(&mut session, confirmed).await;
    let kept: String = value(
        &mut session,
        "SELECT concat_ws('|', webhook_id, endpoint, reason, table_name, attempts) FROM pgstream.webhook_dead_letters",
    )
    .await;
    let id = refused.header("webhook-id").unwrap();
    assert_eq!(kept, format!("{id}|{}|refused|t|1", receiver.url("/hook")));
}
