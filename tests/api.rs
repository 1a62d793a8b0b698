//! Suite `api`: the subscription server, and the set it puts in use, on a real store.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgstream::api::{self, Server};
use pgstream::config::PgUrl;
use pgstream::demo::cluster::{Cluster, Installation, StopMode};
use pgstream::filter::TableFilter;
use pgstream::http_server::Limits;
use pgstream::snapshot::Asking;
use pgstream::store::{self, MigrationSet, PgPool};
use pgstream::subscription::{CacheMode, EventType, RefreshTasks, SubscriptionSet, Subscriptions};
use serde_json::{Value, json};
use slog::{Discard, Logger, o};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// By when everything that is waited for has to have happened.
const DEADLINE: Duration = Duration::from_secs(20);

/// A refresh that no test can wait for, so that whatever is seen was not its doing.
const NEVER: CacheMode = CacheMode::Refreshed {
    interval: Duration::from_secs(3_600),
};

/// A store, the set in use, and the server.
struct World {
    cluster: Cluster,
    store: PgPool,
    subscriptions: Subscriptions,
    address: SocketAddr,
    shutdown: CancellationToken,
    tasks: RefreshTasks,
    serving: JoinHandle<()>,
}

impl World {
    async fn start(mode: CacheMode, limits: Limits) -> Self {
        let installation = Installation::find().expect("an installed PostgreSQL");
        let cluster = Cluster::start(&installation, &[]).expect("a throwaway cluster");
        let url = PgUrl::parse(&cluster.url("postgres")).expect("the cluster's own URL");
        let store = store::connect(&url).await.expect("a connection to the store");
        store::migrate(&store, MigrationSet::Store)
            .await
            .expect("the store's tables");
        let shutdown = CancellationToken::new();
        let log = Logger::root(Discard, o!());
        let (subscriptions, tasks) = Subscriptions::load(store.clone(), mode, log.clone(), shutdown.clone())
            .await
            .expect("a first set");
        let server = Server::bind(([127, 0, 0, 1], 0).into())
            .await
            .expect("a free port");
        let address = server.address();
        let state = api::State {
            store: store.clone(),
            subscriptions: subscriptions.clone(),
            shown: None,
            failures: Arc::default(),
            asking: Asking {
                source: store.clone(),
                store: store.clone(),
                slot: "unused".to_owned(),
                filter: TableFilter::default(),
                log: log.clone(),
            },
            log,
        };
        let serving = tokio::spawn(server.serve(state, limits, shutdown.clone()));
        Self {
            cluster,
            store,
            subscriptions,
            address,
            shutdown,
            tasks,
            serving,
        }
    }

    /// Ends everything, and says how long that took.
    async fn stop(self) -> Duration {
        let begin = Instant::now();
        self.shutdown.cancel();
        self.serving.await.expect("the server does not panic");
        self.tasks.join().await;
        begin.elapsed()
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.send(request.into_bytes()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").into_bytes())
            .await
    }

    async fn send(&self, request: Vec<u8>) -> Answer {
        let address = self.address;
        tokio::task::spawn_blocking(move || exchange(address, &request))
            .await
            .expect("an answer")
    }

    async fn sql(&self, statement: &'static str) {
        sqlx::query(statement)
            .execute(&self.store)
            .await
            .expect(statement);
    }

    /// Waits for the set in use to fulfil the condition.
    async fn wait_for_set(&self, condition: impl Fn(&SubscriptionSet) -> bool) {
        let begin = Instant::now();
        while !condition(&self.subscriptions.current()) {
            assert!(
                begin.elapsed() < DEADLINE,
                "the set in use stays {:?}",
                self.subscriptions.current()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A client that opens a connection, sends this and reads until the server closes it.
fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).expect("the server takes the request");
    Answer::parse(&read_to_end(&mut stream))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    stream
}

/// Everything until the end of the connection, however it ends.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    if let Err(error) = end {
        assert_ne!(
            error.kind(),
            io::ErrorKind::WouldBlock,
            "the server neither answers nor closes"
        );
    }
    String::from_utf8(bytes).expect("answers are text")
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status line");
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).expect("JSON")
        };
        Self {
            status,
            head: head.to_ascii_lowercase(),
            body,
        }
    }

    #[track_caller]
    fn expect_error(&self, status: u16, code: &str, field: Option<&str>) {
        let error = &self.body["error"];
        let found = (self.status, error["code"].as_str(), error["field"].as_str());
        assert_eq!(found, (status, Some(code), field), "{self:?}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{self:?}"
        );
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
    }
}

fn receivers(set: &SubscriptionSet, table: &str, event: EventType) -> Vec<String> {
    set.receivers("public", table, None, event)
        .into_iter()
        .map(ToString::to_string)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_hold_when_the_answer_is_there() {
    let world = World::start(NEVER, api::LIMITS).await;
    let hook = "http://localhost:9910/webhook";

    // As the tutorial writes it.
    let answer = world
        .post("/webhooks/subscribe", &json!({"url": hook, "event_types": ["I"]}))
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(
        answer.body,
        json!({"url": hook, "schema": "", "table": "", "event_types": ["I"]})
    );
    let set = world.subscriptions.current();
    assert_eq!(receivers(&set, "test", EventType::Insert), [hook]);
    assert!(receivers(&set, "test", EventType::Update).is_empty());

    let table = json!({"url": hook, "schema": "public", "table": "test"});
    assert_eq!(world.post("/webhooks/subscribe", &table).await.status, 201);
    let set = world.subscriptions.current();
    assert_eq!(receivers(&set, "test", EventType::Truncate), [hook]);
    assert!(receivers(&set, "other", EventType::Truncate).is_empty());

    // The same key again replaces the event types.
    let more = json!({"url": hook, "event_types": ["D", "U", "I", "I"]});
    assert_eq!(world.post("/webhooks/subscribe", &more).await.status, 201);
    assert_eq!(
        receivers(&world.subscriptions.current(), "other", EventType::Delete),
        [hook]
    );
    let listed = world.get("/webhooks/subscriptions").await;
    assert_eq!(listed.status, 200);
    assert_eq!(
        listed.body,
        json!([
            {"url": hook, "schema": "", "table": "", "event_types": ["I", "U", "D"]},
            {"url": hook, "schema": "public", "table": "test", "event_types": ["I", "U", "D", "T"]},
        ])
    );
    let stored: Vec<(String, String, String, Vec<String>)> =
        sqlx::query_as("SELECT * FROM pgstream.webhook_subscriptions ORDER BY table_name")
            .fetch_all(&world.store)
            .await
            .expect("the tutorial's query");
    let letters = |letters: &[&str]| letters.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        stored[0],
        (
            hook.to_owned(),
            String::new(),
            String::new(),
            letters(&["I", "U", "D"])
        )
    );

    let answer = world.post("/webhooks/unsubscribe", &more).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["table"], "");
    assert!(receivers(&world.subscriptions.current(), "other", EventType::Insert).is_empty());
    world
        .post("/webhooks/unsubscribe", &more)
        .await
        .expect_error(404, "not_subscribed", None);
    assert_eq!(world.post("/webhooks/unsubscribe", &table).await.status, 200);
    assert!(world.subscriptions.current().subscriptions().is_empty());
    assert_eq!(world.get("/webhooks/subscriptions").await.body, json!([]));
    assert!(world.stop().await < DEADLINE);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_in_json() {
    let world = World::start(NEVER, api::LIMITS).await;
    let subscribe = |headers: &str, body: &str| {
        format!("POST /webhooks/subscribe HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}\r\n{body}")
            .into_bytes()
    };
    for path in ["/webhooks/subscribe", "/webhooks/unsubscribe"] {
        for (body, code, field) in [
            (
                json!({"url": "http://h", "urls": 1}),
                "invalid_field",
                Some("urls"),
            ),
            (json!({"schema": "public"}), "invalid_field", Some("url")),
            (json!({"url": "localhost:9910"}), "invalid_field", Some("url")),
            (json!({"url": "http://h/#part"}), "invalid_field", Some("url")),
            (
                json!({"url": "http://h", "table": 7}),
                "invalid_field",
                Some("table"),
            ),
            (
                json!({"url": "http://h", "event_types": ["X"]}),
                "invalid_field",
                Some("event_types"),
            ),
            (json!(["http://h"]), "invalid_body", None),
        ] {
            world.post(path, &body).await.expect_error(400, code, field);
        }
        let answer = world.get(path).await;
        answer.expect_error(405, "method_not_allowed", None);
        assert!(answer.head.contains("\r\nallow: post"), "{answer:?}");
    }
    let json = "content-type: application/json\r\n";
    let answer = world
        .send(subscribe(&format!("{json}content-length: 3\r\n"), "{,}"))
        .await;
    answer.expect_error(400, "invalid_body", None);

    world.get("/webhooks").await.expect_error(404, "not_found", None);
    world.get("/").await.expect_error(404, "not_found", None);
    let answer = world.post("/webhooks/subscriptions", &json!({})).await;
    answer.expect_error(405, "method_not_allowed", None);
    assert!(answer.head.contains("\r\nallow: get, head"), "{answer:?}");

    let body = r#"{"url":"http://h"}"#;
    for content_type in [
        "",
        "content-type: text/plain\r\n",
        "content-type: application/jsonp\r\n",
    ] {
        let request = subscribe(&format!("{content_type}content-length: {}\r\n", body.len()), body);
        world
            .send(request)
            .await
            .expect_error(415, "unsupported_media_type", None);
    }
    let charset = format!(
        "content-type: Application/JSON; charset=utf-8\r\ncontent-length: {}\r\n",
        body.len()
    );
    assert_eq!(world.send(subscribe(&charset, body)).await.status, 201);

    // The limit is on what comes, not on what is announced.
    let large = format!("{{\"url\":\"http://h\"{}}}", " ".repeat(64 * 1024));
    let announced = subscribe(&format!("{json}content-length: {}\r\n", large.len()), &large);
    world
        .send(announced)
        .await
        .expect_error(413, "body_too_large", None);
    let chunked: String = large
        .as_bytes()
        .chunks(1_000)
        .map(|part| format!("{:x}\r\n{}\r\n", part.len(), text(part)))
        .collect();
    let chunked = subscribe(
        &format!("{json}transfer-encoding: chunked\r\n"),
        &format!("{chunked}0\r\n\r\n"),
    );
    world
        .send(chunked)
        .await
        .expect_error(413, "body_too_large", None);
    let fits = subscribe(
        &format!("{json}transfer-encoding: chunked\r\n"),
        &format!("12\r\n{body}\r\n0\r\n\r\n"),
    );
    assert_eq!(world.send(fits).await.status, 201);
    world.stop().await;
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("ASCII")
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_meet_deadlines() {
    let limits = api::limits(Duration::from_millis(300), Duration::from_millis(300));
    let world = World::start(NEVER, limits).await;
    let head = "POST /webhooks/subscribe HTTP/1.1\r\nhost: h\r\n";
    let unfinished_body = format!("{head}content-type: application/json\r\ncontent-length: 10\r\n\r\n{{");
    let address = world.address;
    let clients = tokio::task::spawn_blocking(move || {
        let mut streams: Vec<TcpStream> = ["", head, &unfinished_body]
            .iter()
            .map(|sent| {
                let mut stream = connect(address);
                stream.write_all(sent.as_bytes()).expect("the server accepts");
                stream
            })
            .collect();
        streams.iter_mut().map(read_to_end).collect::<Vec<_>>()
    });
    let ends = clients.await.expect("every client comes to its end");
    assert_eq!(ends[..2], ["", ""]);
    Answer::parse(&ends[2]).expect_error(408, "body_too_slow", None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_clients_do_not_hold_up_the_end() {
    let world = World::start(NEVER, api::LIMITS).await;
    let head =
        "POST /webhooks/subscribe HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    let mut stuck: Vec<TcpStream> = ["", "POST /web", head]
        .iter()
        .map(|sent| {
            let mut stream = connect(world.address);
            stream.write_all(sent.as_bytes()).expect("the server accepts");
            stream
        })
        .collect();
    // Connections are accepted in their order, so the stuck ones are being served now.
    assert_eq!(world.get("/webhooks/subscriptions").await.status, 200);
    let address = world.address;
    let took = world.stop().await;
    assert!(
        took < api::LIMITS.grace + Duration::from_secs(5),
        "the end took {took:?}"
    );
    for stream in &mut stuck {
        assert_eq!(read_to_end(stream), "");
    }
    assert!(TcpStream::connect(address).is_err(), "nothing listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound address");
    let error = Server::bind(address).await.expect_err("the port is in use");
    assert!(
        error
            .to_string()
            .contains("PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_ADDRESS"),
        "{error}"
    );
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(
        source.contains(&address.to_string()) && source.contains("in use"),
        "{source}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_sql_are_heard_of() {
    let mut world = World::start(NEVER, api::LIMITS).await;
    world
        .sql("INSERT INTO pgstream.webhook_subscriptions (url) VALUES ('http://one')")
        .await;
    world
        .wait_for_set(|set| receivers(set, "t", EventType::Truncate) == ["http://one"])
        .await;
    let same = world.subscriptions.refresh().await.expect("the store answers");
    assert_eq!(same.generation(), world.subscriptions.current().generation());
    world
        .sql("UPDATE pgstream.webhook_subscriptions SET event_types = '{U}'")
        .await;
    world
        .wait_for_set(|set| receivers(set, "t", EventType::Truncate).is_empty())
        .await;

    // What is missed while the connection is lost is caught up with: changed by hand, without a trigger.
    world
        .sql("ALTER TABLE pgstream.webhook_subscriptions DISABLE TRIGGER USER")
        .await;
    world
        .sql("INSERT INTO pgstream.webhook_subscriptions (url) VALUES ('http://two')")
        .await;
    assert_eq!(world.subscriptions.current().urls().len(), 1);
    world.cluster.stop(StopMode::Fast).expect("the store stops");
    world.cluster.restart().expect("the store comes back");
    world.wait_for_set(|set| set.urls().len() == 2).await;
    world.sql("DELETE FROM pgstream.webhook_subscriptions").await;
    world
        .sql("ALTER TABLE pgstream.webhook_subscriptions ENABLE TRIGGER USER")
        .await;
    world.sql("TRUNCATE pgstream.webhook_subscriptions").await;
    world.wait_for_set(|set| set.urls().is_empty()).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interval_finds_what_nobody_told_of() {
    let mode = CacheMode::Refreshed {
        interval: Duration::from_millis(50),
    };
    let world = World::start(mode, api::LIMITS).await;
    world
        .sql("ALTER TABLE pgstream.webhook_subscriptions DISABLE TRIGGER USER")
        .await;
    world
        .sql("INSERT INTO pgstream.webhook_subscriptions (url) VALUES ('http://one')")
        .await;
    world.wait_for_set(|set| set.urls().len() == 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_a_lost_store_is_waited_for() {
    let mut world = World::start(CacheMode::OnDemand, api::LIMITS).await;
    world
        .sql("INSERT INTO pgstream.webhook_subscriptions (url) VALUES ('http://one')")
        .await;
    assert!(world.subscriptions.current().urls().is_empty(), "nobody asked");
    let ticket = world.subscriptions.request_fresh();
    let set = world
        .subscriptions
        .fresh(ticket)
        .await
        .expect("the store answers");
    assert_eq!(set.urls().len(), 1);

    world
        .sql("INSERT INTO pgstream.webhook_subscriptions (url) VALUES ('http://two')")
        .await;
    world.cluster.stop(StopMode::Fast).expect("the store stops");
    let ticket = world.subscriptions.request_fresh();
    // Dropped and awaited again, as a reader does that has other things to look after.
    for _ in 0..20 {
        let waited = tokio::time::timeout(Duration::from_millis(10), world.subscriptions.fresh(ticket)).await;
        assert!(waited.is_err(), "no answer, and certainly no empty set");
    }
    assert_eq!(
        world.subscriptions.current().urls().len(),
        1,
        "the last set stays in use"
    );
    let answer = world
        .post("/webhooks/subscribe", &json!({"url": "http://three"}))
        .await;
    answer.expect_error(503, "store_unavailable", None);
    world
        .get("/webhooks/subscriptions")
        .await
        .expect_error(503, "store_unavailable", None);

    world.cluster.restart().expect("the store comes back");
    let set = tokio::time::timeout(DEADLINE, world.subscriptions.fresh(ticket))
        .await
        .expect("in time");
    assert_eq!(set.expect("the store answers").urls().len(), 2);
    let subscriptions = world.subscriptions.clone();
    world.stop().await;
    let ticket = subscriptions.request_fresh();
    subscriptions
        .fresh(ticket)
        .await
        .expect_err("nobody reads any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_changes_are_all_in_use() {
    let world = World::start(CacheMode::OnDemand, api::LIMITS).await;
    let posts = (0..20).map(|number| {
        let (world, url) = (&world, format!("http://h/{number}"));
        async move {
            assert_eq!(
                world
                    .post("/webhooks/subscribe", &json!({"url": url}))
                    .await
                    .status,
                201
            );
            let set = world.subscriptions.current();
            assert!(
                set.urls().iter().any(|known| **known == *url),
                "{url} is not in use"
            );
        }
    });
    futures_util::future::join_all(posts).await;
    assert_eq!(world.subscriptions.current().urls().len(), 20);
    world.stop().await;
}

#[tokio::test]
async fn probes_are_answered_while_the_databases_are_opened() {
    let metrics = api::MetricsServer::bind(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let log = Logger::root(Discard, o!());
    let ask = async |address: SocketAddr, method: &str, path: &str| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let open = async {
        for address in [server.address(), metrics.address()] {
            for (method, path, status, said) in [
                ("GET", "/healthz", "200", r#"{"status":"alive"}"#),
                ("GET", "/readyz", "503", r#""reason":"starting""#),
                ("POST", "/readyz", "405", "method_not_allowed"),
                ("GET", "/metrics", "503", r#""code":"starting""#),
                ("POST", "/webhooks/subscribe", "503", r#""code":"starting""#),
            ] {
                let answer = ask(address, method, path).await;
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status}")),
                    "{path}: {answer}"
                );
                assert!(answer.contains(said), "{path}: {answer}");
            }
        }
        7
    };
    assert_eq!(api::answering((&server, Some(&metrics)), &log, open).await, 7);
    // The address is kept for what is served next.
    assert!(TcpStream::connect(server.address()).is_ok());
}
