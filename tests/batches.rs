//! Suite `batches`: endpoints that ask for several events in one request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pgstream::demo::cluster::Cluster;
use pgstream::event::{LaneKey, LaneKeys};
use pgstream::store::{self, MigrationSet};
use sqlx::AssertSqlSafe;

use crate::support::database;
use crate::support::engine::{DEADLINE, Engine, limits, no_second_try};
use crate::support::receiver::{Action, Receiver, Request};

/// An engine for one endpoint that is configured like this: column and value.
struct Batches {
    engine: Engine,
    // After the engine: the server waits for its sessions to end.
    _cluster: Cluster,
}

impl Batches {
    async fn start(
        limits: pgstream::delivery::Limits,
        receiver: &Receiver,
        settings: &[(&str, &str)],
    ) -> Self {
        let cluster = database::cluster(&[]);
        let pool = store::connect(&database::url(&cluster, "postgres"))
            .await
            .unwrap();
        store::migrate(&pool, MigrationSet::Store).await.unwrap();
        let (columns, values): (Vec<&str>, Vec<&str>) = settings.iter().copied().unzip();
        let text = format!(
            "INSERT INTO pgstream.webhook_endpoints (url, {}) VALUES ('{}', {})",
            columns.join(", "),
            receiver.url("/hook"),
            values.join(", ")
        );
        sqlx::query(AssertSqlSafe(text)).execute(&pool).await.unwrap();
        Self {
            engine: Engine::on(pool, limits, u64::MAX).await,
            _cluster: cluster,
        }
    }

    async fn backlog(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM pgstream.webhook_backlog")
            .fetch_one(&self.engine.store)
            .await
            .unwrap()
    }
}

/// Holds the first request until it is opened, so that what is submitted meanwhile waits.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let open = self.open.lock().unwrap();
        let waited = self.changed.wait_timeout_while(open, DEADLINE, |open| !*open);
        drop(waited.unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// A receiver that answers its first request when the gate is opened, and the others as the script says.
fn gated(script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> (Receiver, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let receiver = Receiver::start(move |request| {
        if request.number == 0 {
            held.pass();
            return Action::status(200);
        }
        script(request)
    });
    (receiver, gate)
}

/// The numbers of the events in a request, which is a batch.
fn numbers(request: &Request) -> Vec<u64> {
    let body = request.json();
    let changes = body["Data"].as_array().expect("the body of a batch has an array");
    let numbers: Vec<u64> = changes
        .iter()
        .map(|change| change["number"].as_u64().unwrap())
        .collect();
    let size = numbers.len().to_string();
    assert_eq!(request.header("x-pgstream-batch-size"), Some(size.as_str()));
    numbers
}

fn id(request: &Request) -> &str {
    request.header("webhook-id").unwrap()
}

/// Requests that are sent one after the other, as large as they can be.
const ONE_AFTER_THE_OTHER: (&str, &str) = ("in_flight", "1");

#[tokio::test]
async fn a_full_batch_goes_at_once_and_has_its_events_in_order() {
    let receiver = Receiver::start(|_| Action::status(200));
    let settings = [("batch_size", "10"), ("batch_wait_ms", "3600000")];
    let mut batches = Batches::start(limits(), &receiver, &settings).await;
    let outbox = batches.engine.outbox(&receiver.url("/hook"));
    for key in 0..30 {
        batches.engine.submit(&outbox, key);
    }
    batches.engine.wait_until_settled().await;
    let mut requests = receiver.requests();
    requests.sort_by_key(|request| numbers(request)[0]);
    let sent: Vec<Vec<u64>> = requests.iter().map(|request| numbers(request)).collect();
    let tens = |from: u64| (from..from + 10).collect::<Vec<_>>();
    assert_eq!(sent, [tens(1), tens(11), tens(21)]);
    let first = &requests[0];
    let changes: Vec<String> = (1..=10)
        .map(|number| format!(r#"{{"number":{number},"keys":"Row(LaneKey({}))"}}"#, number - 1))
        .collect();
    let body = format!(r#"{{"Data":[{}]}}"#, changes.join(","));
    assert_eq!(String::from_utf8_lossy(&first.body), body);
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("idempotency-key"), Some(id(first)));
    assert_eq!(first.header("x-pgstream-lsn"), Some("0/A"), "the last change's");
    assert_eq!(first.header("webhook-replay"), None);
    let ids: std::collections::HashSet<&str> = requests.iter().map(|request| id(request)).collect();
    assert_eq!(ids.len(), 3, "other content, another id");
}

#[tokio::test]
async fn what_does_not_fill_a_batch_waits_for_more_and_no_longer_than_it_may() {
    const WAIT: Duration = Duration::from_millis(600);
    let receiver = Receiver::start(|_| Action::status(200));
    let settings = [("batch_size", "10"), ("batch_wait_ms", "600")];
    let mut batches = Batches::start(limits(), &receiver, &settings).await;
    let outbox = batches.engine.outbox(&receiver.url("/hook"));
    for round in 0..2 {
        let begun = Instant::now();
        // Another row each, but for the last: what is behind a row's change may go with it.
        for key in [1, 2, 2] {
            batches.engine.submit(&outbox, key);
        }
        batches.engine.wait_until_settled().await;
        let requests = receiver.requests();
        assert_eq!(requests.len(), round + 1);
        let request = &requests[round];
        let first = round as u64 * 3 + 1;
        assert_eq!(numbers(request), [first, first + 1, first + 2]);
        assert!(request.at - begun >= WAIT, "{:?}", request.at - begun);
    }
    // One alone is a batch too.
    batches.engine.submit(&outbox, 1);
    batches.engine.wait_until_settled().await;
    let last = receiver.requests().pop().unwrap();
    assert_eq!(numbers(&last), [7]);
    assert!(id(&last).starts_with("batch-"));
}

#[tokio::test]
async fn a_batch_has_no_more_bytes_than_it_may_but_for_one_larger_event() {
    let one = br#"{"Data":{"number":2,"keys":"Row(LaneKey(2))"}}"#.len();
    for (bytes, expected) in [
        (3 * one, vec![vec![2, 3, 4], vec![5, 6], vec![7], vec![8]]),
        (
            one + 1,
            vec![vec![2], vec![3], vec![4], vec![5], vec![6], vec![7], vec![8]],
        ),
        (1 << 20, vec![(2..=8).collect()]),
    ] {
        let (receiver, gate) = gated(|_| Action::status(200));
        let bytes = bytes.to_string();
        let settings = [
            ("batch_size", "1000"),
            ("batch_bytes", &bytes),
            ONE_AFTER_THE_OTHER,
        ];
        let mut batches = Batches::start(limits(), &receiver, &settings).await;
        let outbox = batches.engine.outbox(&receiver.url("/hook"));
        batches.engine.submit(&outbox, 1);
        receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
        for key in 2..=6 {
            batches.engine.submit(&outbox, key);
        }
        // Two that are twice as long.
        for key in [u64::MAX, u64::MAX - 1] {
            batches
                .engine
                .submit_at(&outbox, LaneKeys::Moved(LaneKey(key), LaneKey(key - 100)));
        }
        gate.open();
        batches.engine.wait_until_settled().await;
        let requests = receiver.requests();
        let sent: Vec<Vec<u64>> = requests[1..].iter().map(|request| numbers(request)).collect();
        assert_eq!(sent, expected, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_batch_that_fails_is_sent_again_as_it_was() {
    let (receiver, gate) = gated(|request| Action::status(if request.number < 4 { 503 } else { 200 }));
    let settings = [("batch_size", "5"), ("ordering", "'serial'")];
    let mut batches = Batches::start(limits(), &receiver, &settings).await;
    let outbox = batches.engine.outbox(&receiver.url("/hook"));
    batches.engine.submit(&outbox, 1);
    receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
    for key in 0..7 {
        batches.engine.submit(&outbox, key);
    }
    gate.open();
    // More comes while it fails, and must not join it.
    receiver.wait_for(|requests| requests.len() > 1, DEADLINE);
    for key in 0..3 {
        batches.engine.submit(&outbox, key);
    }
    batches.engine.wait_until_settled().await;
    let requests = receiver.requests();
    let tries = &requests[1..=4];
    for request in tries {
        assert_eq!(numbers(request), [2, 3, 4, 5, 6]);
        assert_eq!((id(request), &request.body), (id(&tries[0]), &tries[0].body));
    }
    let after: Vec<u64> = requests[5..]
        .iter()
        .flat_map(|request| numbers(request))
        .collect();
    assert_eq!(after, (7..=11).collect::<Vec<_>>());
    assert!(requests[5..].iter().all(|request| id(request) != id(&tries[0])));
}

#[tokio::test]
async fn the_changes_of_one_row_stay_in_order_and_may_share_a_batch() {
    const ROWS: u64 = 7;
    let receiver = Receiver::start(|_| Action::status(if fastrand::u8(..5) == 0 { 503 } else { 200 }));
    let mut batches = Batches::start(limits(), &receiver, &[("batch_size", "20")]).await;
    let outbox = batches.engine.outbox(&receiver.url("/hook"));
    for number in 0..1_000 {
        batches.engine.submit(&outbox, number % ROWS);
    }
    batches.engine.wait_until_settled().await;
    let mut newest: HashMap<u64, u64> = HashMap::new();
    let mut shared = false;
    for request in receiver.requests() {
        let numbers = numbers(&request);
        assert!(numbers.len() <= 20 && numbers.is_sorted());
        let mut rows: Vec<u64> = numbers.iter().map(|number| (number - 1) % ROWS).collect();
        rows.sort_unstable();
        rows.dedup();
        shared |= rows.len() < numbers.len();
        // Sent again is what failed and nothing older.
        for number in numbers {
            let before = newest.entry((number - 1) % ROWS).or_default();
            assert!(number <= *before + ROWS, "{number} after {before}");
            *before = number.max(*before);
        }
    }
    assert!(shared, "two changes of a row in one batch");
    assert!(newest.values().all(|number| *number > 1_000 - ROWS));
}

/// What was delivered, and in which order: the events of the requests that were not refused.
fn delivered(requests: &[Arc<Request>], is_poisoned: impl Fn(u64) -> bool) -> Vec<u64> {
    let taken = requests
        .iter()
        .map(|request| numbers(request))
        .filter(|numbers| !numbers.iter().any(|number| is_poisoned(*number)));
    taken.flatten().collect()
}

#[tokio::test]
async fn of_a_batch_that_is_refused_only_what_is_poisoned_dies() {
    for (status, order) in [
        (301, "'serial'"),
        (400, "'key'"),
        (413, "'serial'"),
        (415, "'none'"),
        (422, "'serial'"),
    ] {
        // Alone, side by side, and the last.
        let is_poisoned = |number: u64| [5, 17, 18, 50].contains(&number);
        let (receiver, gate) = gated(move |request| {
            let refused = numbers(request).into_iter().any(is_poisoned);
            Action::status(if refused { status } else { 200 })
        });
        let settings = [("batch_size", "64"), ("ordering", order), ONE_AFTER_THE_OTHER];
        let mut batches = Batches::start(no_second_try(), &receiver, &settings).await;
        let outbox = batches.engine.outbox(&receiver.url("/hook"));
        batches.engine.submit(&outbox, 1);
        receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
        for number in 2..=50 {
            batches.engine.submit(&outbox, number % 10);
        }
        gate.open();
        batches.engine.wait_until_settled().await;
        let requests = receiver.requests();
        let healthy: Vec<u64> = (1..=50).filter(|number| !is_poisoned(*number)).collect();
        assert_eq!(
            delivered(&requests, is_poisoned),
            healthy,
            "{status}: each once and in order"
        );
        let dead = batches.engine.dead_letters().await;
        let expected = [5, 17, 18, 50].map(|number| (format!("id-{number}"), "refused".to_owned()));
        assert_eq!(dead, expected, "{status}");
        // Four searches in 49 events, each of which halves what is left, again after each half that was taken.
        assert!(
            requests.len() <= 1 + 4 * 25,
            "{status}: {} requests",
            requests.len()
        );
        assert_eq!(batches.engine.budget.used(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_drained_in_batches_of_which_the_poisoned_event_dies() {
    const EVENTS: u64 = 1_000;
    let is_poisoned = |number: u64| number == 333;
    let settled = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::start({
        let settled = Arc::clone(&settled);
        move |request| {
            assert!(
                settled.load(Ordering::SeqCst),
                "nothing is sent while it is paused"
            );
            let refused = numbers(request).into_iter().any(is_poisoned);
            Action::status(if refused { 422 } else { 200 })
        }
    });
    let settings = [
        ("batch_size", "100"),
        ("ordering", "'serial'"),
        ("standing", "'paused'"),
    ];
    let mut batches = Batches::start(limits(), &receiver, &settings).await;
    let outbox = batches.engine.outbox(&receiver.url("/hook"));
    for key in 0..EVENTS {
        batches.engine.submit(&outbox, key);
    }
    batches.engine.wait_until_settled().await;
    assert_eq!(batches.backlog().await, EVENTS.cast_signed());
    settled.store(true, Ordering::SeqCst);
    sqlx::query("UPDATE pgstream.webhook_endpoints SET standing = 'active'")
        .execute(&batches.engine.store)
        .await
        .unwrap();
    // And more while it drains.
    receiver.wait_for(|requests| !requests.is_empty(), DEADLINE);
    for key in 0..100 {
        batches.engine.submit(&outbox, key);
    }
    batches.engine.wait_until_settled().await;
    database::wait_until("the backlog is drained", async || batches.backlog().await == 0).await;
    let requests = receiver.wait_for(
        |requests| delivered(requests, is_poisoned).last() == Some(&(EVENTS + 100)),
        DEADLINE,
    );
    let healthy: Vec<u64> = (1..=EVENTS + 100)
        .filter(|number| !is_poisoned(*number))
        .collect();
    assert_eq!(delivered(&requests, is_poisoned), healthy);
    let dead = batches.engine.dead_letters().await;
    assert_eq!(dead, [("id-333".to_owned(), "refused".to_owned())]);
    assert!(requests.iter().all(|request| numbers(request).len() <= 100));
    // Eleven for all of it, some for what came one by one, and the search.
    assert!(requests.len() <= 100, "{} requests", requests.len());
}
