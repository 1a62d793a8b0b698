//! Suite `retention`: how long what cannot be delivered is kept, and what becomes of it then.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use pgstream::config::keys;
use pgstream::delivery::retry::{Retries, RetryPolicy};
use pgstream::delivery::{Limits, Retention};
use serde_json::json;

use crate::support::engine::{DEADLINE, Engine, exponential, limits};
use crate::support::program::{Program, pgstream};
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{Change, World, webhook_id};

/// Retries come fast.
const FAST: [(&str, &str); 2] = [
    (keys::EXP_BACKOFF_INITIAL_INTERVAL.name, "10ms"),
    (keys::EXP_BACKOFF_MAX_INTERVAL.name, "100ms"),
];
const STRICT: (&str, &str) = (keys::STRICT_MODE.name, "true");
const BACKLOG: &str = "SELECT count(*) FROM pgstream.webhook_backlog";
const DEAD: &str = "SELECT count(*) FROM pgstream.webhook_dead_letters";

/// The program with these settings and those of [`FAST`].
fn start(world: &World, settings: &[(&str, &str)]) -> Program {
    world.start(&[&FAST[..], settings].concat())
}

fn world() -> World {
    let mut world = World::new(&[]);
    world
        .sql
        .run("CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL, filler text NOT NULL DEFAULT '')");
    world
}

fn subscribe(program: &Program, receiver: &Receiver) {
    program.subscribe(&json!({"url": receiver.url("/"), "schema": "public", "table": "items"}));
}

fn pause(world: &mut World, receiver: &Receiver) {
    world.sql.run(&format!(
        "INSERT INTO pgstream.webhook_endpoints (url, standing) VALUES ('{}', 'paused')
             ON CONFLICT (url) DO UPDATE SET standing = 'paused'",
        receiver.url("/")
    ));
}

fn resume(world: &mut World) {
    world
        .sql
        .run("UPDATE pgstream.webhook_endpoints SET standing = 'active'");
}

/// A receiver that answers with a status that the test changes.
fn switched(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let answer = Arc::new(AtomicU16::new(status));
    let switch = Arc::clone(&answer);
    (
        Receiver::start(move |_| Action::status(switch.load(Ordering::SeqCst))),
        answer,
    )
}

fn insert(world: &mut World, ids: std::ops::RangeInclusive<i64>) {
    let (from, to) = ids.into_inner();
    world.sql.run(&format!(
        "INSERT INTO items SELECT n, 1 FROM generate_series({from}, {to}) n"
    ));
}

/// The keys of the rows in these payloads of a table of ours, in the order of this column.
fn keys_in(world: &mut World, table: &str, order: &str) -> Vec<i64> {
    world.sql.values(&format!(
        "SELECT (convert_from(payload, 'UTF8')::jsonb #>> '{{Data,columns,0,value}}')::bigint
           FROM pgstream.{table} ORDER BY {order}"
    ))
}

/// The keys of the rows that came, each once.
fn keys_of(requests: &[Arc<Request>]) -> BTreeSet<i64> {
    requests.iter().map(|request| Change::of(request).key).collect()
}

fn reasons(world: &mut World) -> Vec<String> {
    world
        .sql
        .values("SELECT DISTINCT reason FROM pgstream.webhook_dead_letters ORDER BY 1")
}

#[test]
fn beyond_the_bound_of_rows_the_oldest_become_dead_letters() {
    let mut world = world();
    let (receiver, _) = switched(200);
    pause(&mut world, &receiver);
    let mut program = start(&world, &[(keys::BACKLOG_MAX_ROWS.name, "20")]);
    subscribe(&program, &receiver);
    insert(&mut world, 1..=1_000);
    world.sql.wait_until_settled();
    world
        .sql
        .wait_for("SELECT count(*) = 980 FROM pgstream.webhook_dead_letters");
    // Soon after it was passed, and not more than that.
    insert(&mut world, 1_001..=1_010);
    world
        .sql
        .wait_for("SELECT count(*) = 990 FROM pgstream.webhook_dead_letters");
    assert_eq!(
        keys_in(&mut world, "webhook_backlog", "seq"),
        (991..=1_010).collect::<Vec<_>>()
    );
    let dead: BTreeSet<i64> = keys_in(&mut world, "webhook_dead_letters", "id")
        .into_iter()
        .collect();
    assert_eq!(dead, (1..=990).collect());
    assert_eq!(reasons(&mut world), ["retention"]);
    program.wait_for_log("the report", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.contains("beyond its bounds"))
    });
    resume(&mut world);
    world.sql.wait_until_delivered();
    assert_eq!(keys_of(&receiver.requests()), (991..=1_010).collect());
    assert!(program.terminate().0.success());
}

#[test]
fn beyond_the_bound_of_bytes_no_more_die_than_have_to() {
    const BOUND: i64 = 100 * 1_024;
    let mut world = world();
    let (receiver, _) = switched(200);
    pause(&mut world, &receiver);
    let program = start(&world, &[(keys::BACKLOG_MAX_BYTES.name, "100KiB")]);
    subscribe(&program, &receiver);
    world
        .sql
        .run("INSERT INTO items SELECT n, 1, repeat('x', 3000) FROM generate_series(1, 100) n");
    world.sql.wait_until_settled();
    world.sql.wait_for(&format!(
        "SELECT coalesce(sum(bytes), 0) <= {BOUND} FROM pgstream.webhook_backlog"
    ));
    let kept = keys_in(&mut world, "webhook_backlog", "seq");
    let bytes: i64 = world
        .sql
        .value("SELECT sum(bytes)::bigint FROM pgstream.webhook_backlog");
    let newest_dead: i64 = world
        .sql
        .value("SELECT bytes FROM pgstream.webhook_dead_letters ORDER BY lsn DESC, id DESC LIMIT 1");
    assert!(
        bytes + newest_dead > BOUND,
        "{} rows of {bytes} bytes are kept",
        kept.len()
    );
    assert_eq!(kept.last(), Some(&100));
    assert_eq!(kept.len() as i64 + world.sql.value::<i64>(DEAD), 100);
    assert!(
        kept.is_sorted_by(|one, next| one + 1 == *next),
        "the newest: {kept:?}"
    );
    assert!(program.terminate().0.success());
}

#[test]
fn the_newest_are_kept_for_an_endpoint_that_is_down() {
    let mut world = world();
    let (receiver, status) = switched(503);
    let mut program = start(&world, &[(keys::BACKLOG_MAX_ROWS.name, "20")]);
    subscribe(&program, &receiver);
    insert(&mut world, 1..=60);
    program.wait_for_log("the outage", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.starts_with("endpoint is down"))
    });
    world.sql.wait_until_settled();
    // Some may be in flight, and with them in memory.
    world
        .sql
        .wait_for("SELECT count(*) <= 21 FROM pgstream.webhook_backlog");
    for batch in 0..5 {
        insert(&mut world, 61 + 10 * batch..=70 + 10 * batch);
        world.sql.wait_until_settled();
        world
            .sql
            .wait_for("SELECT count(*) <= 21 FROM pgstream.webhook_backlog");
    }
    let kept = keys_in(&mut world, "webhook_backlog", "seq");
    // But for what was in flight, which is tried again before the next look.
    let old = kept.iter().filter(|key| **key <= 90).count();
    assert!(old <= 1, "{kept:?}");
    let dead: BTreeSet<i64> = keys_in(&mut world, "webhook_dead_letters", "id")
        .into_iter()
        .collect();
    let all: BTreeSet<i64> = dead.into_iter().chain(kept).collect();
    assert_eq!(all, (1..=110).collect());
    status.store(200, Ordering::SeqCst);
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
}

#[test]
fn what_is_too_old_becomes_a_dead_letter_wherever_it_is() {
    let mut world = world();
    let (receiver, status) = switched(503);
    let program = start(&world, &[(keys::BACKLOG_MAX_AGE.name, "3s")]);
    subscribe(&program, &receiver);
    insert(&mut world, 1..=200);
    world
        .sql
        .wait_for("SELECT count(*) = 200 FROM pgstream.webhook_dead_letters");
    assert_eq!(world.sql.value::<i64>(BACKLOG), 0);
    assert_eq!(reasons(&mut world), ["retention"]);
    let untold: i64 = world.sql.value(
        "SELECT count(*) FROM pgstream.webhook_dead_letters WHERE first_attempt_at IS NULL AND attempts > 0",
    );
    assert_eq!(untold, 0);
    world.sql.wait_until_settled();
    status.store(200, Ordering::SeqCst);
    let failed = receiver.requests().len();
    insert(&mut world, 201..=210);
    world.sql.wait_until_delivered();
    let delivered = receiver.requests()[failed..].to_vec();
    assert!(keys_of(&delivered).contains(&210));
    assert!(program.terminate().0.success());
}

#[test]
fn a_paused_endpoint_does_not_age() {
    let mut world = world();
    let (receiver, _) = switched(200);
    pause(&mut world, &receiver);
    let settings = [(keys::BACKLOG_MAX_AGE.name, "2s")];
    let program = start(&world, &settings);
    subscribe(&program, &receiver);
    insert(&mut world, 1..=50);
    world.sql.wait_until_settled();
    world
        .sql
        .wait_for("SELECT min(clock_timestamp() - appended_at) > '5 s' FROM pgstream.webhook_backlog");
    // Another program finds it as it is.
    assert!(program.terminate().0.success());
    let program = start(&world, &settings);
    insert(&mut world, 51..=51);
    world.sql.wait_until_settled();
    assert_eq!(world.sql.value::<i64>(BACKLOG), 51);
    // And one that was not there when it was resumed looks at its age before it delivers anything.
    assert!(program.terminate().0.success());
    let mut command = pgstream(&["endpoints", "resume", &receiver.url("/")]);
    let resumed = command
        .env(keys::LISTENER_URL.name, world.url())
        .output()
        .unwrap();
    assert!(resumed.status.success(), "{resumed:?}");
    let program = start(&world, &settings);
    world.sql.wait_until_delivered();
    assert_eq!(world.sql.value::<i64>(DEAD), 0);
    assert_eq!(keys_of(&receiver.requests()), (1..=51).collect());
    assert!(program.terminate().0.success());
}

/// Waits until the program has ended with an error that says this.
fn assert_stops(program: &mut Program, words: &[&str]) {
    assert_eq!(program.wait().code(), Some(1));
    let log = program.log();
    let last = log
        .iter()
        .rev()
        .find(|line| line["level"] == "critical")
        .expect("the reason is logged");
    let message = last["msg"].as_str().unwrap();
    for word in [&["strict mode"][..], words].concat() {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

#[test]
fn strict_mode_stops_at_a_refused_event_and_loses_nothing() {
    let mut world = world();
    let receiver =
        Receiver::start(|request| Action::status(if Change::of(request).key == 3 { 422 } else { 200 }));
    let mut program = start(&world, &[STRICT]);
    subscribe(&program, &receiver);
    insert(&mut world, 1..=5);
    assert_stops(
        &mut program,
        &["refused", "answered 422", &receiver.port().to_string()],
    );
    assert_eq!(world.sql.value::<i64>(DEAD), 0);
    insert(&mut world, 6..=9);
    // It stops again as long as nothing is done about it.
    let mut program = Program::spawn(
        &world.url(),
        crate::support::database::SLOT,
        &[&FAST[..], &[STRICT]].concat(),
    );
    assert_stops(&mut program, &["refused"]);
    let program = start(&world, &[]);
    world.sql.wait_until_settled();
    world.sql.wait_until_delivered();
    assert_eq!(keys_in(&mut world, "webhook_dead_letters", "id"), [3]);
    assert_eq!(keys_of(&receiver.requests()), (1..=9).collect());
    assert!(program.terminate().0.success());
}

#[test]
fn strict_mode_stops_at_exhausted_retries_and_loses_nothing() {
    let mut world = world();
    let receiver =
        Receiver::start(|request| Action::status(if Change::of(request).key == 1 { 500 } else { 200 }));
    let retries = (keys::EXP_BACKOFF_MAX_RETRIES.name, "2");
    let mut program = start(&world, &[STRICT, retries]);
    subscribe(&program, &receiver);
    insert(&mut world, 1..=1);
    // As long as nothing else is delivered, it is tried again and again.
    receiver.wait_for(|requests| requests.len() > 5, DEADLINE);
    insert(&mut world, 2..=9);
    assert_stops(&mut program, &["retries", "answered 500"]);
    assert_eq!(world.sql.value::<i64>(DEAD), 0);
    let program = start(&world, &[retries]);
    receiver.wait_for(|requests| keys_of(requests).len() == 9, DEADLINE);
    insert(&mut world, 10..=10);
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pgstream.webhook_dead_letters");
    world.sql.wait_until_delivered();
    assert_eq!(keys_in(&mut world, "webhook_dead_letters", "id"), [1]);
    assert_eq!(reasons(&mut world), ["retries"]);
    assert_eq!(keys_of(&receiver.requests()), (1..=10).collect());
    assert!(program.terminate().0.success());
}

#[test]
fn strict_mode_stops_at_the_bound_of_a_backlog_and_loses_nothing() {
    for bound in [
        (keys::BACKLOG_MAX_ROWS.name, "5"),
        (keys::BACKLOG_MAX_BYTES.name, "1KiB"),
    ] {
        let mut world = world();
        let (receiver, _) = switched(200);
        pause(&mut world, &receiver);
        let mut program = start(&world, &[STRICT, bound]);
        subscribe(&program, &receiver);
        insert(&mut world, 1..=50);
        assert_stops(&mut program, &["backlog", "bounds", &receiver.port().to_string()]);
        assert_eq!(world.sql.value::<i64>(DEAD), 0);
        let program = start(&world, &[STRICT]);
        insert(&mut world, 51..=60);
        resume(&mut world);
        world.sql.wait_until_delivered();
        assert_eq!(keys_of(&receiver.requests()), (1..=60).collect(), "{bound:?}");
        assert!(program.terminate().0.success());
    }
}

#[test]
fn without_retries_each_failure_is_a_dead_letter_at_once() {
    let mut world = world();
    let receiver = Receiver::start(|request| match Change::of(request).key % 4 {
        0 => Action::status(503),
        1 => Action::CloseBeforeAnswer,
        2 => Action::Hang,
        _ => Action::status(200),
    });
    let program = start(
        &world,
        &[
            (keys::DISABLE_RETRIES.name, "true"),
            (keys::CLIENT_TIMEOUT.name, "300ms"),
        ],
    );
    subscribe(&program, &receiver);
    insert(&mut world, 1..=20);
    world.sql.wait_until_delivered();
    let mut tried: HashMap<i64, usize> = HashMap::new();
    for request in receiver.requests() {
        *tried.entry(Change::of(&request).key).or_default() += 1;
    }
    // What a used connection broke at is tried once more at once, on a fresh one.
    assert!(
        tried.iter().all(|(key, count)| *count == 1 || key % 4 == 1),
        "{tried:?}"
    );
    let dead: BTreeSet<i64> = keys_in(&mut world, "webhook_dead_letters", "id")
        .into_iter()
        .collect();
    assert_eq!(dead, (1..=20).filter(|key| key % 4 != 3).collect());
    let attempts: Vec<i32> = world
        .sql
        .values("SELECT DISTINCT attempts FROM pgstream.webhook_dead_letters");
    assert_eq!(attempts, [1]);
    let errors: Vec<String> = world
        .sql
        .values("SELECT DISTINCT first_error FROM pgstream.webhook_dead_letters ORDER BY 1");
    assert!(
        errors.contains(&"answered 503".to_owned()) && errors.len() == 3,
        "{errors:?}"
    );
    let letters: Vec<String> = world
        .sql
        .values("SELECT webhook_id FROM pgstream.webhook_dead_letters");
    let sent: BTreeSet<String> = receiver
        .requests()
        .iter()
        .map(|request| webhook_id(request))
        .collect();
    assert!(letters.iter().all(|id| sent.contains(id)));
    assert!(program.terminate().0.success());
}

/// Limits with so many retries, which come fast.
fn with_retries(retries: Retries) -> Limits {
    let retry = exponential(Duration::from_millis(1), Duration::from_millis(5));
    Limits {
        retry: RetryPolicy { retries, ..retry },
        ..limits()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_all_of_a_batch_that_failed_dies_at_once() {
    let receiver = Receiver::start(|request| Action::status(if request.number == 0 { 503 } else { 200 }));
    let mut limits = with_retries(Retries::Disabled);
    limits.defaults.batch.size = 8;
    limits.defaults.batch.wait = DEADLINE;
    let mut engine = Engine::start(limits).await;
    let outbox = engine.outbox(&receiver.url("/"));
    for key in 0..16 {
        engine.submit(&outbox, key);
        if key == 7 {
            engine.wait_until_settled().await;
        }
    }
    engine.wait_until_settled().await;
    let dead = engine.dead_letters().await;
    let expected: Vec<(String, String)> = (1..=8)
        .map(|n| (format!("id-{n}"), "retries".to_owned()))
        .collect();
    assert_eq!(dead, expected);
    assert_eq!(receiver.requests().len(), 2, "each was tried once");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_end_only_where_others_are_delivered() {
    const RETRIES: u32 = 3;
    let receiver = Receiver::start(|request| {
        Action::status(if request.header("webhook-id") == Some("id-1") {
            503
        } else {
            200
        })
    });
    let mut engine = Engine::start(with_retries(Retries::AtMost(RETRIES))).await;
    let outbox = engine.outbox(&receiver.url("/"));
    engine.submit(&outbox, 1);
    receiver.wait_for(|requests| requests.len() > 2 * RETRIES as usize, DEADLINE);
    assert!(engine.dead_letters().await.is_empty());
    engine.submit(&outbox, 2);
    engine.wait_until_settled().await;
    assert_eq!(
        engine.dead_letters().await,
        [("id-1".to_owned(), "retries".to_owned())]
    );
    let tries = receiver
        .requests()
        .iter()
        .filter(|request| request.header("webhook-id") == Some("id-1"))
        .count();
    let (attempts, words): (i32, String) = sqlx::query_as(
        "SELECT attempts, concat_ws('|', first_error, last_error) FROM pgstream.webhook_dead_letters",
    )
    .fetch_one(&engine.store)
    .await
    .unwrap();
    assert_eq!(usize::try_from(attempts).unwrap(), tries);
    assert_eq!(words, "answered 503|answered 503");
    // From then on so many tries are enough.
    let receiver = Receiver::start(|request| {
        Action::status(if request.header("webhook-id") == Some("id-3") {
            503
        } else {
            200
        })
    });
    let outbox = engine.outbox(&receiver.url("/"));
    engine.submit(&outbox, 1);
    let others = AtomicBool::new(true);
    while others.load(Ordering::SeqCst) {
        engine.submit(&outbox, 2);
        receiver.wait_for(|requests| !requests.is_empty(), DEADLINE);
        others.store(engine.dead_letters().await.len() < 2, Ordering::SeqCst);
    }
    engine.wait_until_settled().await;
    let dead = receiver
        .requests()
        .iter()
        .filter(|request| request.header("webhook-id") == Some("id-3"))
        .count();
    assert_eq!(dead, RETRIES as usize + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured_as_seconds_and_as_a_date_up_to_the_maximum() {
    /// What the header says, and the milliseconds that may pass until the next try.
    type Case = (&'static str, fn() -> String, u64, u64);
    let cases: [Case; 5] = [
        ("seconds", || "1".to_owned(), 990, 30_000),
        // A date has whole seconds.
        (
            "a date",
            || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2)),
            990,
            30_000,
        ),
        ("beyond the maximum", || "3600".to_owned(), 2_990, 30_000),
        (
            "a date that is over",
            || httpdate::fmt_http_date(SystemTime::UNIX_EPOCH),
            0,
            2_900,
        ),
        ("nonsense", || "soon".to_owned(), 0, 2_900),
    ];
    let retry = exponential(Duration::from_millis(1), Duration::from_secs(3));
    let mut engine = Engine::start(Limits { retry, ..limits() }).await;
    for (name, value, at_least, at_most) in cases {
        for status in [429, 503] {
            let receiver = Receiver::start(move |request| match request.number {
                0 => Action::with_header(status, "retry-after", &value()),
                _ => Action::status(200),
            });
            let outbox = engine.outbox(&receiver.url("/"));
            engine.submit(&outbox, 1);
            engine.wait_until_settled().await;
            let requests = receiver.requests();
            assert_eq!(requests.len(), 2, "{name}");
            let waited = requests[1].at - requests[0].at;
            let allowed = Duration::from_millis(at_least)..Duration::from_millis(at_most);
            assert!(allowed.contains(&waited), "{name}, {status}: {waited:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_next_try_is_too_old_at_some_time_as_well() {
    let receiver = Receiver::start(|_| Action::status(503));
    let retention = Retention {
        age: Duration::from_secs(1),
        ..limits().retention
    };
    let mut engine = Engine::start(Limits {
        retention,
        ..limits()
    })
    .await;
    let outbox = engine.outbox(&receiver.url("/"));
    for key in 0..3 {
        engine.submit(&outbox, key);
    }
    engine.wait_until_settled().await;
    let mut dead = engine.dead_letters().await;
    dead.sort();
    let expected = [1, 2, 3].map(|n| (format!("id-{n}"), "retention".to_owned()));
    assert_eq!(dead, expected);
}
