//! Suite `delivery`: the delivery engine against real sockets, without PostgreSQL in front of it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgstream::delivery::Limits;
use pgstream::event::LaneKeys;
use pgstream_proto::Lsn;

use crate::support::engine::{DEADLINE, Engine, NEVER, exponential, limits, no_second_try, with_timeout};
use crate::support::receiver::{Action, Answer, Receiver, Request};

fn ids(requests: &[Arc<Request>]) -> Vec<&str> {
    requests
        .iter()
        .map(|request| request.header("webhook-id").unwrap())
        .collect()
}

#[tokio::test]
async fn user_and_password_of_the_url_are_sent_in_a_header() {
    let receiver = Receiver::start(|_| Action::status(200));
    let url = receiver.url("/hook").replace("http://", "http://user:pass@");
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&url);
    engine.submit(&outbox, 1);
    engine.wait_until_settled().await;
    let requests = receiver.requests();
    assert_eq!(requests[0].path, "/hook");
    assert_eq!(requests[0].header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start(|_| Action::status(200));
    let location = elsewhere.url("/stolen");
    let receiver = Receiver::start(move |request| match request.number {
        0 => Action::with_header(307, "location", &location),
        _ => Action::status(200),
    });
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    engine.submit(&outbox, 1);
    engine.wait_until_settled().await;
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_used_connection_that_broke_is_no_failure_of_the_endpoint() {
    for broken in [Action::CloseBeforeAnswer, Action::Reset] {
        let receiver = Receiver::start({
            let broken = broken.clone();
            move |request| {
                if request.number == 1 {
                    broken.clone()
                } else {
                    Action::status(200)
                }
            }
        });
        let mut engine = Engine::start(no_second_try()).await;
        let outbox = engine.outbox(&receiver.url("/hook"));
        engine.submit(&outbox, 1);
        engine.wait_until_settled().await;
        engine.submit(&outbox, 1);
        engine.wait_until_settled().await;
        let requests = receiver.requests();
        assert_eq!(ids(&requests), ["id-1", "id-2", "id-2"], "{broken:?}");
        let connections: Vec<usize> = requests.iter().map(|request| request.connection).collect();
        assert_eq!(connections, [0, 0, 1], "{broken:?}");
    }
}

#[tokio::test]
async fn half_an_answer_on_a_used_connection_is_a_failure() {
    let receiver = Receiver::start(|request| {
        if request.number == 1 {
            Action::HalfAnswer
        } else {
            Action::status(200)
        }
    });
    let mut engine = Engine::start(no_second_try()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    engine.submit(&outbox, 1);
    engine.wait_until_settled().await;
    engine.submit(&outbox, 1);
    engine.submit(&outbox, 2);
    receiver.wait_for(|requests| requests.len() == 3, DEADLINE);
    assert_eq!(engine.stop(DEADLINE).await, (0, 1));
    assert_eq!(receiver.requests().len(), 3);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let receiver = Receiver::start(|request| match request.number {
        0 => Action::Answer(Answer {
            status: 429,
            headers: vec![("retry-after".to_owned(), "1".to_owned())],
            body: b"slow down".to_vec(),
            delay: Duration::ZERO,
        }),
        _ => Action::status(200),
    });
    let retry = exponential(Duration::from_millis(1), Duration::from_secs(30));
    let mut engine = Engine::start(Limits { retry, ..limits() }).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    engine.submit(&outbox, 1);
    engine.wait_until_settled().await;
    let requests = receiver.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(990));
    assert_eq!(
        receiver.connections(),
        1,
        "the answer's body was read, so its connection was used again"
    );
}

#[tokio::test]
async fn connections_are_used_again() {
    let receiver = Receiver::start(|_| Action::status(200));
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    for _ in 0..100 {
        engine.submit(&outbox, 1);
    }
    engine.wait_until_settled().await;
    assert_eq!(receiver.requests().len(), 100);
    assert_eq!(
        receiver.connections(),
        1,
        "one row is one lane: one request at a time"
    );
}

#[tokio::test]
async fn rows_are_delivered_side_by_side_and_each_row_in_order() {
    const ROWS: u64 = 40;
    const CHANGES: u64 = 25;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let receiver = Receiver::start({
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(fastrand::u64(0..8)));
            now.fetch_sub(1, Ordering::SeqCst);
            Action::status(if fastrand::u8(..10) == 0 { 503 } else { 200 })
        }
    });
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    for number in 0..ROWS * CHANGES {
        engine.submit(&outbox, number % ROWS);
    }
    engine.wait_until_settled().await;
    let mut newest: HashMap<u64, u64> = HashMap::new();
    for request in receiver.requests() {
        let number = request.json()["Data"]["number"].as_u64().unwrap();
        let row = (number - 1) % ROWS;
        let before = newest.insert(row, number).unwrap_or(0);
        assert!(number >= before, "row {row}: {number} after {before}");
    }
    assert_eq!(newest.len() as u64, ROWS);
    let most = most.load(Ordering::SeqCst);
    assert!(most > 8, "at most {most} requests at one time");
}

#[tokio::test]
async fn a_failing_row_holds_back_itself_only() {
    let receiver = Receiver::start(|request| {
        Action::status(if request.header("webhook-id") == Some("id-1") {
            500
        } else {
            200
        })
    });
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    for key in [1, 1, 2, 3] {
        engine.submit(&outbox, key);
    }
    let requests = receiver.wait_for(
        |requests| {
            let seen: HashSet<&str> = ids(requests).into_iter().collect();
            seen.contains("id-3") && seen.contains("id-4") && requests.len() > 10
        },
        DEADLINE,
    );
    assert!(!ids(&requests).contains(&"id-2"));
    assert_eq!(
        engine.ledger.confirmed(),
        Lsn::ZERO,
        "nothing is confirmed past what is not delivered"
    );
    assert_eq!(engine.stop(DEADLINE).await.1, 2);
}

#[tokio::test]
async fn endpoints_that_hang_do_not_delay_the_others() {
    let hanging: Vec<Receiver> = (0..20).map(|_| Receiver::start(|_| Action::Hang)).collect();
    let healthy = Receiver::start(|_| Action::status(200));
    let mut engine = Engine::start(Limits {
        workers: 16,
        ..with_timeout(Duration::from_millis(500))
    })
    .await;
    for receiver in &hanging {
        let outbox = engine.outbox(&receiver.url("/hook"));
        for key in 0..50 {
            engine.submit(&outbox, key);
        }
    }
    // Its second request says that a hanging endpoint has failed once: they share a quarter of the workers by now.
    for receiver in &hanging {
        receiver.wait_for(|requests| requests.len() > 1, DEADLINE);
    }
    let outbox = engine.outbox(&healthy.url("/hook"));
    let begun = Instant::now();
    for key in 0..500 {
        engine.submit(&outbox, key);
    }
    healthy.wait_for(|requests| requests.len() == 500, DEADLINE);
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(5), "{taken:?}");
    engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_change_of_the_whole_table_stands_between_what_was_before_and_what_is_after() {
    let open = Arc::new(Mutex::new(HashSet::new()));
    let receiver = Receiver::start({
        let open = Arc::clone(&open);
        move |request| {
            let number = request.json()["Data"]["number"].as_u64().unwrap();
            open.lock().unwrap().insert(number);
            std::thread::sleep(Duration::from_millis(fastrand::u64(0..10)));
            open.lock().unwrap().remove(&number);
            Action::status(200)
        }
    });
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    for key in 0..10 {
        engine.submit(&outbox, key);
    }
    engine.submit_at(&outbox, LaneKeys::Table);
    for key in 0..10 {
        engine.submit(&outbox, key);
    }
    engine.wait_until_settled().await;
    let requests = receiver.requests();
    let order: Vec<u64> = requests
        .iter()
        .map(|request| request.json()["Data"]["number"].as_u64().unwrap())
        .collect();
    assert_eq!(order[10], 11, "{order:?}");
}

#[tokio::test]
async fn the_end_waits_for_what_is_in_flight_and_starts_nothing_more() {
    let receiver = Receiver::start(|_| Action::delayed(200, Duration::from_millis(300)));
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    engine.submit(&outbox, 1);
    engine.submit(&outbox, 1);
    receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
    assert_eq!(engine.stop(DEADLINE).await, (0, 1));
    assert_eq!(engine.ledger.confirmed(), Lsn::new(1));
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn the_end_breaks_off_what_takes_longer_than_the_grace() {
    let receiver = Receiver::start(|_| Action::Hang);
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    engine.submit(&outbox, 1);
    receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
    let begun = Instant::now();
    assert_eq!(engine.stop(Duration::from_millis(100)).await, (1, 1));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(engine.ledger.confirmed(), Lsn::ZERO);
}

#[tokio::test]
async fn a_receiver_that_was_away_gets_everything_when_it_is_back() {
    let receiver = Receiver::start(|_| Action::status(200));
    let port = receiver.port();
    let url = receiver.url("/hook");
    drop(receiver);
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&url);
    for key in 0..20 {
        engine.submit(&outbox, key);
    }
    let receiver = Receiver::start_at(port, |_| Action::status(200));
    engine.wait_until_settled().await;
    let requests = receiver.requests();
    let seen: HashSet<&str> = ids(&requests).into_iter().collect();
    assert_eq!(seen.len(), 20);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_not_asked_for_each_of_its_rows() {
    const ROWS: u64 = 2_000;
    let down = Arc::new(AtomicBool::new(true));
    let receiver = Receiver::start({
        let down = Arc::clone(&down);
        move |_| Action::status(if down.load(Ordering::SeqCst) { 503 } else { 200 })
    });
    let retry = exponential(Duration::from_millis(20), Duration::from_millis(100));
    let mut engine = Engine::start(Limits { retry, ..limits() }).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    for key in 0..ROWS {
        engine.submit(&outbox, key);
    }
    // Enough to have asked for a good part of the rows several times, if each asked on its own.
    let begun = Instant::now();
    receiver.wait_for(|_| begun.elapsed() > Duration::from_secs(2), DEADLINE);
    let asked = receiver.requests().len();
    assert!(asked < 400, "{asked} requests");
    down.store(false, Ordering::SeqCst);
    engine.wait_until_settled().await;
    let requests = receiver.requests();
    assert_eq!(
        ids(&requests).into_iter().collect::<HashSet<_>>().len() as u64,
        ROWS
    );
}

#[tokio::test]
async fn a_short_outage_with_many_requests_in_flight_is_followed_by_a_short_rest() {
    // All that fit the window are in flight when it begins, and fail together; then so do a few probes.
    let receiver = Receiver::start(|request| match request.number {
        500..564 => Action::delayed(503, Duration::from_millis(300)),
        564..567 => Action::status(503),
        _ => Action::status(200),
    });
    // A rest as long as that many failures in a row would ask for could not be waited for.
    let retry = exponential(Duration::from_millis(20), NEVER);
    let mut engine = Engine::start(Limits { retry, ..limits() }).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    for key in 0..2_000 {
        engine.submit(&outbox, key);
    }
    engine.wait_until_settled().await;
}

#[tokio::test]
async fn rows_that_are_refused_do_not_hold_back_the_others() {
    let receiver = Receiver::start(|request| {
        let refused = request.json()["Data"]["number"].as_u64().unwrap() <= 50;
        Action::status(if refused { 422 } else { 200 })
    });
    let mut engine = Engine::start(no_second_try()).await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    for key in 0..150 {
        engine.submit(&outbox, key);
    }
    engine.wait_until_settled().await;
    assert_eq!(receiver.requests().len(), 150);
    assert_eq!(engine.dead_letters().await.len(), 50);
}

#[tokio::test]
async fn a_receiver_that_asks_to_be_left_alone_gets_no_other_row_meanwhile() {
    let receiver = Receiver::start(|request| match request.number {
        0 => Action::with_header(429, "retry-after", "1"),
        _ => Action::status(200),
    });
    let retry = exponential(Duration::from_millis(1), Duration::from_secs(30));
    let mut engine = Engine::start(Limits {
        retry,
        workers: 1,
        ..limits()
    })
    .await;
    let outbox = engine.outbox(&receiver.url("/hook"));
    for key in 0..20 {
        engine.submit(&outbox, key);
    }
    engine.wait_until_settled().await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), 21);
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(990));
}

#[tokio::test]
async fn a_host_without_an_address_is_tried_again() {
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox("http://does-not-exist.invalid/hook");
    engine.submit(&outbox, 1);
    assert_eq!(engine.stop(Duration::from_secs(5)).await.1, 1);
}
