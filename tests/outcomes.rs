//! Suite `outcomes`: what each answer of a receiver means, those included that are none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::engine::{DEADLINE, Engine, limits, no_second_try, with_timeout};
use crate::support::receiver::{Action, Receiver, Request, Step};
use crate::support::world::{self, World};

/// An answer without a body, complete.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// How long the body of an answer is waited for.
const BODY: Duration = Duration::from_secs(1);
/// What a loaded machine may add to that.
const MARGIN: Duration = Duration::from_secs(20);

/// An answer of a receiver, and what it is called in a failed test.
type Case = (&'static str, Action);

/// Endpoints that give such an answer each to their first request, and 200 to all others.
struct Endpoints {
    names: Vec<&'static str>,
    receiver: Receiver,
}

impl Endpoints {
    fn start(cases: Vec<Case>) -> Self {
        let names = cases.iter().map(|(name, _)| *name).collect();
        let first: Mutex<HashMap<String, Action>> = Mutex::new(
            cases
                .into_iter()
                .enumerate()
                .map(|(index, (_, action))| (format!("/{index}"), action))
                .collect(),
        );
        let receiver = Receiver::start(move |request| {
            let action = first.lock().unwrap().remove(&request.path);
            action.unwrap_or_else(|| Action::status(200))
        });
        Self { names, receiver }
    }

    /// Submits so many changes of one row to each endpoint, and waits until all are settled.
    async fn settle(&self, engine: &mut Engine, changes: usize) {
        for index in 0..self.names.len() {
            let outbox = engine.outbox(&self.receiver.url(&format!("/{index}")));
            for _ in 0..changes {
                engine.submit(&outbox, 1);
            }
        }
        engine.wait_until_settled().await;
    }

    /// What came to each endpoint, with its name.
    fn requests(&self) -> Vec<(&'static str, Vec<Arc<Request>>)> {
        let requests = self.receiver.requests();
        let of = |index: usize| {
            let path = format!("/{index}");
            requests.iter().filter(move |request| request.path == path)
        };
        let named = self.names.iter().enumerate();
        named
            .map(|(index, name)| (*name, of(index).cloned().collect()))
            .collect()
    }

    /// One request to each was enough.
    fn assert_delivered(&self) {
        for (name, requests) in self.requests() {
            assert_eq!(requests.len(), 1, "{name}: it was tried again");
        }
    }

    /// Each got the same request twice.
    fn assert_retried(&self) {
        for (name, requests) in self.requests() {
            assert_eq!(requests.len(), 2, "{name}");
            assert_eq!(id(&requests[0]), id(&requests[1]), "{name}");
            assert_eq!(requests[0].body, requests[1].body, "{name}");
        }
    }
}

fn id(request: &Request) -> &str {
    request.header("webhook-id").unwrap()
}

/// A head that promises a body of this length.
fn promises(status: u16, length: usize) -> String {
    format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn two_hundreds_are_delivered() {
    let answers = Endpoints::start(vec![
        ("200", Action::status(200)),
        ("201", Action::status(201)),
        ("202", Action::status(202)),
        ("204", Action::status(204)),
        ("206", Action::status(206)),
        ("299", Action::status(299)),
    ]);
    let mut engine = Engine::start(limits()).await;
    answers.settle(&mut engine, 1).await;
    answers.assert_delivered();
    assert!(engine.dead_letters().await.is_empty());
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let answers = Endpoints::start(vec![
        ("401", Action::status(401)),
        ("402", Action::status(402)),
        ("403", Action::status(403)),
        ("404", Action::status(404)),
        ("405", Action::status(405)),
        ("408", Action::status(408)),
        ("409", Action::status(409)),
        ("418", Action::status(418)),
        ("425", Action::status(425)),
        ("429", Action::status(429)),
        ("500", Action::status(500)),
        ("502", Action::status(502)),
        ("503", Action::status(503)),
        ("504", Action::status(504)),
        ("599", Action::status(599)),
        ("reset", Action::Reset),
        ("closed before an answer", Action::CloseBeforeAnswer),
        ("half a head", Action::HalfAnswer),
    ]);
    let mut engine = Engine::start(limits()).await;
    answers.settle(&mut engine, 1).await;
    answers.assert_retried();
    assert!(engine.dead_letters().await.is_empty());
    assert_eq!(engine.budget.used(), 0);
}

#[tokio::test]
async fn what_is_refused_is_a_dead_letter_and_the_lane_moves_on() {
    let answers = Endpoints::start(vec![
        ("300", Action::status(300)),
        ("301", Action::with_header(301, "location", "/elsewhere")),
        ("304", Action::raw("HTTP/1.1 304 Not Modified\r\n\r\n", [])),
        ("308", Action::with_header(308, "location", "/elsewhere")),
        ("400", Action::status(400)),
        ("413", Action::status(413)),
        ("415", Action::status(415)),
        ("422", Action::status(422)),
        // Its words are no text.
        (
            "422 of bytes",
            Action::raw(promises(422, 4), [Step::Send(vec![0, 0xff, b'x', 0])]),
        ),
        (
            "400 without an end",
            Action::raw(promises(400, 100), [Step::AwaitClose]),
        ),
    ]);
    let mut engine = Engine::start(limits()).await;
    answers.settle(&mut engine, 2).await;
    let dead: HashMap<String, String> = engine.dead_letters().await.into_iter().collect();
    for (name, requests) in answers.requests() {
        assert_eq!(requests.len(), 2, "{name}");
        assert_ne!(id(&requests[0]), id(&requests[1]), "{name}");
        let reason = dead.get(id(&requests[0])).map(String::as_str);
        assert_eq!(reason, Some("refused"), "{name}");
    }
    assert_eq!(dead.len(), answers.names.len());
}

#[tokio::test]
async fn gone_disables_the_endpoint_and_keeps_its_events() {
    let receiver = Receiver::start(|_| Action::status(410));
    let mut engine = Engine::start(limits()).await;
    let outbox = engine.outbox(&receiver.url("/"));
    for _ in 0..3 {
        engine.submit(&outbox, 1);
    }
    // In the backlog is settled.
    engine.wait_until_settled().await;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM pgstream.webhook_backlog")
        .fetch_one(&engine.store)
        .await
        .unwrap();
    assert_eq!((kept, receiver.requests().len()), (3, 1));
    assert!(engine.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_head_that_is_not_complete_in_time_is_a_timeout() {
    const TIMEOUT: Duration = Duration::from_millis(400);
    const PAUSE: Duration = Duration::from_millis(50);
    let endless_continue = vec![Step::Trickle(
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(100).into(),
        PAUSE,
    )];
    let answers = Endpoints::start(vec![
        ("nothing", Action::Hang),
        (
            "byte by byte",
            Action::Steps(vec![Step::Trickle(OK.into(), PAUSE)]),
        ),
        ("100-continue for ever", Action::Steps(endless_continue)),
        (
            "a head without an end",
            Action::raw("HTTP/1.1 200 OK\r\nx: ", [Step::AwaitClose]),
        ),
    ]);
    let mut engine = Engine::start(with_timeout(TIMEOUT)).await;
    answers.settle(&mut engine, 1).await;
    answers.assert_retried();
    for (name, requests) in answers.requests() {
        let end = answers.receiver.wait_for_end(requests[0].connection, DEADLINE);
        let taken = end - requests[0].at;
        assert!(taken < TIMEOUT + MARGIN, "{name}: {taken:?}");
        // On a busy machine the first one is seen late, and so seems to have had less time.
        assert!(requests[1].at - requests[0].at > TIMEOUT / 2, "{name}");
        assert_ne!(requests[0].connection, requests[1].connection, "{name}");
    }
}

#[tokio::test]
async fn trouble_with_a_body_costs_the_connection_and_changes_no_outcome() {
    const PAUSE: Duration = Duration::from_millis(100);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = b"400\r\n".iter().copied().chain([b'x'; 0x400]).chain(*b"\r\n");
    let answers = Endpoints::start(vec![
        (
            "promised and not sent",
            Action::raw(promises(200, 100), [Step::AwaitClose]),
        ),
        (
            "byte by byte",
            Action::raw(promises(200, 1000), [Step::Trickle(vec![b'x'; 1000], PAUSE)]),
        ),
        (
            "cut short",
            Action::raw(promises(200, 100), [Step::Send(b"x".to_vec()), Step::Close]),
        ),
        ("reset", Action::raw(promises(200, 100), [Step::Reset])),
        (
            "endless",
            Action::raw("HTTP/1.1 200 OK\r\n\r\n", [Step::Endless(vec![b'x'; 1 << 16])]),
        ),
        (
            "endless chunks",
            Action::raw(chunked, [Step::Endless(chunk.collect())]),
        ),
        (
            "a chunk that is none",
            Action::raw(chunked, [Step::Send(b"zz\r\n\r\n".to_vec()), Step::AwaitClose]),
        ),
        (
            "a huge length",
            Action::raw(
                "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n",
                [Step::AwaitClose],
            ),
        ),
        (
            "longer than is read",
            Action::raw(promises(200, 100_000), [Step::Send(vec![b'x'; 100_000])]),
        ),
    ]);
    let mut engine = Engine::start(limits()).await;
    answers.settle(&mut engine, 1).await;
    answers.assert_delivered();
    for (name, requests) in answers.requests() {
        let end = answers.receiver.wait_for_end(requests[0].connection, DEADLINE);
        let taken = end - requests[0].at;
        assert!(taken < BODY + MARGIN, "{name}: {taken:?}");
    }
    assert_eq!(engine.budget.used(), 0);
}

#[tokio::test]
async fn a_body_is_waited_for_a_second_and_no_longer() {
    let receiver = Receiver::start(|_| Action::raw(promises(200, 100), [Step::AwaitClose]));
    let mut engine = Engine::start(no_second_try()).await;
    let outbox = engine.outbox(&receiver.url("/"));
    engine.submit(&outbox, 1);
    engine.wait_until_settled().await;
    let taken = receiver.wait_for_end(0, DEADLINE) - receiver.requests()[0].at;
    assert!(taken > BODY * 9 / 10 && taken < BODY + MARGIN, "{taken:?}");
}

#[tokio::test]
async fn more_than_was_promised_is_not_the_answer_to_the_next_request() {
    for surplus in [OK, "and some more", "\r\n\r\n"] {
        let receiver = Receiver::start(move |request| match request.number {
            0 => Action::raw(format!("{}x{surplus}", promises(200, 1)), []),
            1 => Action::status(503),
            _ => Action::status(200),
        });
        let mut engine = Engine::start(limits()).await;
        let outbox = engine.outbox(&receiver.url("/"));
        engine.submit(&outbox, 1);
        engine.submit(&outbox, 1);
        engine.wait_until_settled().await;
        let requests = receiver.wait_for(|requests| requests.len() >= 3, DEADLINE);
        let ids: Vec<&str> = requests.iter().map(|request| id(request)).collect();
        assert_eq!(ids, ["id-1", "id-2", "id-2"], "{surplus:?}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_tried_again() {
    let close = || [Step::Close];
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let answers = Endpoints::start(vec![
        (
            "another protocol",
            Action::raw("SSH-2.0-OpenSSH_9.2\r\n", close()),
        ),
        ("bytes", Action::raw([0, 159, 146, 150, 13, 10, 13, 10], close())),
        ("no version", Action::raw("200 OK\r\n\r\n", close())),
        ("no status", Action::raw("HTTP/1.1 OK\r\n\r\n", close())),
        (
            "too long a status",
            Action::raw("HTTP/1.1 2000 OK\r\n\r\n", close()),
        ),
        (
            "a header without a colon",
            Action::raw("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", close()),
        ),
        (
            "an empty line first, then nothing",
            Action::raw("\r\n\r\n", close()),
        ),
        ("a huge head", Action::raw(huge, close())),
        (
            "a head without bound",
            Action::raw("HTTP/1.1 200 OK\r\nx: ", [Step::Endless(vec![b'x'; 1 << 16])]),
        ),
    ]);
    let mut engine = Engine::start(limits()).await;
    answers.settle(&mut engine, 1).await;
    answers.assert_retried();
    for (name, requests) in answers.requests() {
        assert_ne!(requests[0].connection, requests[1].connection, "{name}");
    }
}

#[tokio::test]
async fn odd_http_is_delivered() {
    let interim = |count: usize| "HTTP/1.1 100 Continue\r\n\r\n".repeat(count) + OK;
    let headers = |count: usize| (0..count).fold(String::new(), |text, n| text + &format!("x-{n}: y\r\n"));
    let hints = format!("HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n{OK}");
    let answers = Endpoints::start(vec![
        ("100-continue first", Action::raw(interim(1), [])),
        ("100-continue many times", Action::raw(interim(500), [])),
        ("early hints", Action::raw(hints, [])),
        ("HTTP/1.0", Action::raw("HTTP/1.0 200 OK\r\n\r\n", [Step::Close])),
        (
            "no length",
            Action::raw("HTTP/1.1 200 OK\r\n\r\nbody", [Step::Close]),
        ),
        (
            "no reason",
            Action::raw("HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", []),
        ),
        (
            "a big head",
            Action::raw(
                format!(
                    "HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n",
                    "x".repeat(15_000)
                ),
                [],
            ),
        ),
        (
            "many headers",
            Action::raw(
                format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", headers(100)),
                [],
            ),
        ),
        ("a packed bomb", Action::raw(bomb(), [])),
    ]);
    let mut engine = Engine::start(limits()).await;
    answers.settle(&mut engine, 1).await;
    answers.assert_delivered();
}

#[tokio::test]
async fn the_connection_is_used_again_after_interim_answers() {
    let receiver = Receiver::start(|_| Action::raw(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"), []));
    let mut engine = Engine::start(no_second_try()).await;
    let outbox = engine.outbox(&receiver.url("/"));
    for _ in 0..10 {
        engine.submit(&outbox, 1);
    }
    engine.wait_until_settled().await;
    assert_eq!((receiver.requests().len(), receiver.connections()), (10, 1));
}

#[tokio::test]
async fn a_connection_that_is_closed_between_requests_is_no_failure() {
    let receiver = Receiver::start(|_| Action::raw(OK, [Step::Close]));
    let mut engine = Engine::start(no_second_try()).await;
    let outbox = engine.outbox(&receiver.url("/"));
    for connection in 0..5 {
        engine.submit(&outbox, 1);
        engine.wait_until_settled().await;
        receiver.wait_for_end(connection, DEADLINE);
    }
    // And where it is closed while the next request is on its way.
    for _ in 0..50 {
        engine.submit(&outbox, 1);
    }
    engine.wait_until_settled().await;
    assert_eq!(receiver.requests().len(), 55);
}

#[tokio::test]
async fn no_answer_is_unpacked_nor_asked_for_packed() {
    let receiver = Receiver::start(|_| Action::raw(bomb(), []));
    let mut engine = Engine::start(no_second_try()).await;
    let outbox = engine.outbox(&receiver.url("/"));
    let begun = Instant::now();
    engine.submit(&outbox, 1);
    engine.wait_until_settled().await;
    assert!(begun.elapsed() < MARGIN);
    assert_eq!(receiver.requests()[0].header("accept-encoding"), None);
}

/// An answer whose body is 4 MiB of gzip that unpack to 634 MiB: one block of fixed codes that says again and again that
/// the last 258 bytes are repeated (RFC 1951, section 3.2.6).
fn bomb() -> Vec<u8> {
    const LENGTH: usize = 4 << 20;
    // A literal zero, then a length of 258 (code 285) at a distance of 1 (code 0), first bit first.
    let start = [1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0];
    let repeat = [1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
    let mut bits = start.into_iter().chain(repeat.into_iter().cycle());
    let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    while body.len() < LENGTH {
        body.push((0..8).fold(0, |byte, place| byte | bits.next().unwrap_or(0) << place));
    }
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {LENGTH}\r\n\r\n").into_bytes();
    answer.append(&mut body);
    answer
}

#[test]
fn proxies_of_the_environment_are_ignored() {
    let mut world = World::new(&[]);
    world.sql.run("CREATE TABLE items (id bigint PRIMARY KEY)");
    let receiver = world::receiver();
    // Nobody is there.
    let proxy = "http://127.0.0.1:1";
    let names = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let settings = names.map(|name| (name, proxy));
    let program = world.start(&settings);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    world.sql.run("INSERT INTO items VALUES (1)");
    receiver.wait_for(|requests| requests.len() == 1, DEADLINE);
    world.sql.wait_until_settled();
    assert!(program.terminate().0.success());
}
