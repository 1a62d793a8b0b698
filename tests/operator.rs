//! Suite `operator`: what an operator does to endpoints and dead letters, on the command line and over HTTP.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;

use pgstream::api::{self, Server};
use pgstream::demo::cluster::Cluster;
use pgstream::endpoint::model::Standing;
use pgstream::filter::TableFilter;
use pgstream::snapshot::Asking;
use pgstream::store::endpoints::{self, Change, Changes};
use pgstream::store::{self, MigrationSet, PgPool};
use pgstream::subscription::{CacheMode, Subscriptions};
use serde_json::{Value, json};
use slog::{Discard, Logger, o};
use tokio_util::sync::CancellationToken;
use ureq::Agent;

use crate::support::database::{SLOT, cluster, run, session, url, value, values, wait_until};
use crate::support::program::pgstream;

/// A store, and sessions on it.
struct World {
    cluster: Cluster,
    store: PgPool,
}

/// What a run of the program came to.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.stdout
    }

    fn error(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(words), "{words}: {self:?}");
    }
}

impl World {
    async fn start() -> Self {
        let cluster = cluster(&[]);
        let store = store::connect(&url(&cluster, "postgres")).await.unwrap();
        store::migrate(&store, MigrationSet::Store).await.unwrap();
        Self { cluster, store }
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = pgstream(arguments);
        command.args(["--store-url", &self.cluster.url("postgres")]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs the program on this store.
    fn cli(&self, arguments: &[&str]) -> Run {
        let Output {
            status,
            stdout,
            stderr,
        } = self.spawn(arguments).wait_with_output().unwrap();
        Run {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    async fn sql(&self, text: &str) {
        run(&mut session(&self.cluster).await, text).await;
    }

    async fn count(&self, text: &str) -> i64 {
        value(
            &mut session(&self.cluster).await,
            &format!("SELECT count(*) FROM {text}"),
        )
        .await
    }

    async fn texts(&self, text: &str) -> Vec<String> {
        values(&mut session(&self.cluster).await, text).await
    }

    /// Puts rows into a backlog, named by the numbers `from` to `to`.
    async fn backlog(&self, endpoint: &str, from: u32, to: u32) {
        self.sql(&format!(
            "INSERT INTO pgstream.webhook_backlog
                (endpoint, webhook_id, origin, schema_name, table_name, action, table_key, lane, source, epoch,
                 commit_lsn, lsn, payload, attempts, last_error, last_attempt_at)
             SELECT '{endpoint}', 'e' || n, 'stream', 'public', 'orders', 'I', 1, n, 7, 1, '0/10', '0/11',
                    convert_to('{{\"n\": ' || n || '}}', 'UTF8'), 3, 'answered 503', '2026-01-01 00:00:00Z'
               FROM generate_series({from}, {to}) n"
        ))
        .await;
    }

    /// Puts letters into the dead letters, named by the numbers `from` to `to`, one a minute from the beginning of 2026.
    async fn letters(&self, endpoint: Option<&str>, table: &str, reason: &str, from: u32, to: u32) {
        let endpoint = endpoint.map_or("NULL".to_owned(), |url| format!("'{url}'"));
        self.sql(&format!(
            "INSERT INTO pgstream.webhook_dead_letters
                (endpoint, webhook_id, origin, schema_name, table_name, root_schema, root_table, action, table_key, lane,
                 source, epoch, commit_lsn, lsn, payload, attempts, first_error, last_error, first_attempt_at,
                 last_attempt_at, reason, died_at)
             SELECT {endpoint}, 'e' || n, 'stream', 'public', '{table}', 'public', '{table}_root', 'U', 1, n,
                    18446744073709551615, 1, '0/10', '0/11', convert_to('{{\"n\": ' || n || '.50}}', 'UTF8'), 20,
                    'refused', 'answered 500', '2026-01-01 00:00:00Z', '2026-01-01 00:00:01Z', '{reason}',
                    timestamptz '2026-01-01 00:00:00Z' + n * interval '1 minute'
               FROM generate_series({from}, {to}) n"
        ))
        .await;
    }
}

/// The API on the store of a world.
struct Api {
    address: SocketAddr,
    agent: Agent,
    shutdown: CancellationToken,
}

impl Api {
    async fn start(world: &World) -> Self {
        let shutdown = CancellationToken::new();
        let log = Logger::root(Discard, o!());
        let mode = CacheMode::OnDemand;
        let store = world.store.clone();
        let (subscriptions, _tasks) = Subscriptions::load(store.clone(), mode, log.clone(), shutdown.clone())
            .await
            .unwrap();
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = server.address();
        let state = api::State {
            store: store.clone(),
            subscriptions,
            shown: None,
            failures: Arc::default(),
            asking: Asking {
                source: store.clone(),
                store: store.clone(),
                slot: SLOT.to_owned(),
                filter: TableFilter::default(),
                log: log.clone(),
            },
            log,
        };
        tokio::spawn(server.serve(state, api::LIMITS, shutdown.clone()));
        // A POST on a connection that the server closes, since it was not used for a while, would fail.
        let agent = Agent::new_with_config(
            Agent::config_builder()
                .max_idle_connections(0)
                .http_status_as_error(false)
                .build(),
        );
        Self {
            address,
            agent,
            shutdown,
        }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", self.address);
        let mut answer = self.agent.get(&url).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.address);
        let request = self.agent.post(&url).header("content-type", "application/json");
        let mut answer = request.send(body.to_string()).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    /// Posts what is refused.
    fn refused(&self, path: &str, body: &Value) -> (u16, String, Option<String>) {
        let (status, answer) = self.post(path, body);
        refusal(status, &answer)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn refusal(status: u16, answer: &Value) -> (u16, String, Option<String>) {
    let error = &answer["error"];
    assert!(error["message"].is_string(), "{answer}");
    let code = error["code"].as_str().unwrap().to_owned();
    (status, code, error["field"].as_str().map(str::to_owned))
}

fn refused(status: u16, code: &str, field: Option<&str>) -> (u16, String, Option<String>) {
    (status, code.to_owned(), field.map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_listed_and_shown() {
    let world = World::start().await;
    let api = Api::start(&world).await;
    assert_eq!(
        world.cli(&["endpoints", "list", "--json"]).json(),
        json!({"endpoints": []})
    );
    assert!(world.cli(&["endpoints", "list"]).text().contains("no endpoints"));
    let (one, two, three, four) = (
        "http://h/one?token=x",
        "http://h/two",
        "http://h/three",
        "http://h/four",
    );
    world
        .sql(&format!(
            "INSERT INTO pgstream.webhook_subscriptions VALUES ('{one}', 'public', '', '{{I}}');
             INSERT INTO pgstream.webhook_endpoints (url, ordering, timeout_ms) VALUES ('{two}', 'serial', 90000);
             INSERT INTO pgstream.webhook_endpoints (url) VALUES ('http://says/nothing');
             INSERT INTO pgstream.webhook_endpoint_health (url, health, since, reason)
             VALUES ('{one}', 'outage', '2026-01-02 03:04:05Z', 'answered 503')"
        ))
        .await;
    world.backlog(three, 1, 3).await;
    world.letters(Some(four), "orders", "retries", 1, 2).await;
    world.letters(None, "orders", "unparsable", 3, 3).await;
    let list = world.cli(&["endpoints", "list", "--json"]).json();
    let found = list["endpoints"].as_array().unwrap();
    let urls: Vec<&str> = found
        .iter()
        .map(|endpoint| endpoint["url"].as_str().unwrap())
        .collect();
    assert_eq!(urls, [four, one, three, two]);
    assert_eq!(
        found[1],
        json!({"url": one, "standing": "active", "standing_reason": null,
               "health": {"state": "outage", "since": "2026-01-02T03:04:05.000Z", "reason": "answered 503"},
               "backlog": {"rows": 0, "bytes": 0, "oldest": null}, "dead_letters": 0, "settings": {}})
    );
    assert_eq!(found[0]["dead_letters"], 2);
    assert_eq!(
        (&found[2]["backlog"]["rows"], &found[2]["backlog"]["bytes"]),
        (&json!(3), &json!(24))
    );
    assert!(found[2]["backlog"]["oldest"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        found[3]["settings"],
        json!({"order": "serial", "timeout": "1m30s"})
    );
    assert_eq!(api.get("/webhooks/endpoints"), (200, list));
    let run = world.cli(&["endpoints", "list"]);
    let lines: Vec<&str> = run.text().lines().collect();
    assert!(lines[0].starts_with("URL ") && lines.len() == 5, "{run:?}");
    assert!(lines[2].contains(one) && lines[2].contains("outage"), "{run:?}");
    assert!(lines[4].contains("order=serial timeout=1m30s"), "{run:?}");

    let shown = world.cli(&["endpoints", "show", three, "--json"]).json();
    assert_eq!(
        shown["last_error"],
        json!({"message": "answered 503", "at": "2026-01-01T00:00:00.000Z"})
    );
    assert_eq!(shown["subscriptions"], json!([]));
    assert_eq!(
        api.get("/webhooks/endpoints?url=http%3A%2F%2Fh%2Fthree"),
        (200, shown)
    );
    let shown = world.cli(&["endpoints", "show", one, "--json"]).json();
    assert_eq!(
        shown["subscriptions"],
        json!([{"schema": "public", "table": "", "event_types": ["I"]}])
    );
    let text = world.cli(&["endpoints", "show", one]);
    assert!(text.text().contains("subscription  public.* I"), "{text:?}");
    world.cli(&["endpoints", "show", "http://h/tree"]).error(
        1,
        &format!("no endpoint has the URL http://h/tree: did you mean {three}?"),
    );
    world
        .cli(&["endpoints", "show", "http://says/nothing"])
        .error(1, "no endpoint has the URL");
    let (status, answer) = api.get("/webhooks/endpoints?url=http://h/tree");
    assert_eq!(
        refusal(status, &answer),
        refused(404, "unknown_endpoint", Some("url"))
    );
    let (status, answer) = api.get("/webhooks/endpoints?ulr=x");
    assert_eq!(
        refusal(status, &answer),
        refused(400, "invalid_field", Some("ulr"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_paused_resumed_disabled_and_enabled() {
    let world = World::start().await;
    let api = Api::start(&world).await;
    let hook = "http://h/hook";
    let subscribe = format!("INSERT INTO pgstream.webhook_subscriptions (url) VALUES ('{hook}')");
    world.sql(&subscribe).await;
    let mut changes = Changes::listen(&world.store).await.unwrap();
    let paused = world
        .cli(&["endpoints", "pause", hook, "--reason", "deploy", "--json"])
        .json();
    assert_eq!(
        (&paused["standing"], &paused["standing_reason"]),
        (&json!("paused"), &json!("deploy"))
    );
    assert_eq!(changes.changed().await.unwrap(), Change::Backlogs([].into()));
    let stored = endpoints::get(&world.store, hook).await.unwrap().unwrap();
    assert_eq!(
        (stored.standing, stored.reason.as_deref()),
        (Standing::Paused, Some("deploy"))
    );
    // Again, without a reason: as it was.
    let again = world.cli(&["endpoints", "pause", hook, "--json"]).json();
    assert_eq!(again, paused);
    world
        .cli(&["endpoints", "enable", hook])
        .error(1, "is paused, not disabled: resume it");
    let resumed = world.cli(&["endpoints", "resume", hook, "--json"]).json();
    assert_eq!(
        (&resumed["standing"], &resumed["standing_reason"]),
        (&json!("active"), &Value::Null)
    );
    let (status, disabled) = api.post(
        "/webhooks/endpoints/disable",
        &json!({"url": hook, "reason": "abuse"}),
    );
    assert_eq!((status, &disabled["standing"]), (200, &json!("disabled")));
    world
        .cli(&["endpoints", "resume", hook])
        .error(1, "enable it instead");
    world
        .cli(&["endpoints", "pause", hook])
        .error(1, "enable it before");
    assert_eq!(
        api.refused("/webhooks/endpoints/pause", &json!({"url": hook})),
        refused(409, "standing", None)
    );
    let enabled = world.cli(&["endpoints", "enable", hook]);
    assert!(enabled.text().contains("standing      active\n"), "{enabled:?}");

    let unknown = "http://h/other";
    for step in ["pause", "resume", "disable", "enable"] {
        world
            .cli(&["endpoints", step, unknown])
            .error(1, "no endpoint has the URL");
        let path = format!("/webhooks/endpoints/{step}");
        assert_eq!(
            api.refused(&path, &json!({"url": unknown})),
            refused(404, "unknown_endpoint", Some("url"))
        );
        assert_eq!(
            api.refused(&path, &json!({})),
            refused(400, "invalid_field", Some("url"))
        );
        assert_eq!(
            api.refused(&path, &json!({"url": hook, "why": 1})),
            refused(400, "invalid_field", Some("why"))
        );
        assert_eq!(
            api.refused(&path, &json!({"url": "http://h\u{0}"})),
            refused(404, "unknown_endpoint", Some("url"))
        );
    }
    let long = "x".repeat(1_001);
    world
        .cli(&["endpoints", "pause", hook, "--reason", &long])
        .error(2, "--reason: ");
    assert_eq!(api.get("/webhooks/endpoints/pause").0, 405);
    assert_eq!(api.post("/webhooks/endpoints/stop", &json!({})).0, 404);
    assert_eq!(api.post("/webhooks/endpoints", &json!({})).0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_set_up() {
    let world = World::start().await;
    let api = Api::start(&world).await;
    let hook = "http://h/hook";
    let set = |arguments: &[&str]| world.cli(&[&["endpoints", "set", hook, "--json"], arguments].concat());
    set(&["--order", "serial"]).error(1, "no endpoint has the URL");
    let document = set(&["--new", "--order", "serial", "--in-flight", "4"]).json();
    assert_eq!(document["settings"], json!({"order": "serial", "in_flight": 4}));
    let (batches, timeout) = (["--batch-size", "100", "--batch-wait", "0"], ["--timeout", "90s"]);
    let document = set(&[
        &batches[..],
        &timeout,
        &["--batch-bytes=1MiB", "--order", "default"],
    ]
    .concat())
    .json();
    let all = json!({"in_flight": 4, "timeout": "1m30s", "batch_size": 100, "batch_wait": "0s",
                     "batch_bytes": 1_048_576});
    assert_eq!(document["settings"], all);
    let body = json!({"url": hook, "order": "none", "in_flight": "default", "timeout": 5, "batch_size": 1,
                      "batch_wait": "default", "batch_bytes": null});
    let (status, document) = api.post("/webhooks/endpoints/set", &body);
    assert_eq!(status, 200, "{document}");
    let all = json!({"order": "none", "timeout": "5s", "batch_size": 1, "batch_bytes": 1_048_576});
    assert_eq!(document["settings"], all);
    for (option, value) in [
        ("--order", "random"),
        ("--in-flight", "0"),
        ("--batch-size", "1001"),
        ("--batch-wait", "soon"),
        ("--batch-bytes", "-1"),
        ("--timeout", "0"),
    ] {
        set(&[&format!("{option}={value}")]).error(2, &format!("error: {option}: "));
        let field = option.trim_start_matches('-').replace('-', "_");
        assert_eq!(
            api.refused("/webhooks/endpoints/set", &json!({"url": hook, &field: value})),
            refused(400, "invalid_field", Some(&field))
        );
    }
    set(&[]).error(2, "nothing to set");
    assert_eq!(
        api.refused("/webhooks/endpoints/set", &json!({"url": hook})),
        refused(400, "invalid_body", None)
    );
    world
        .cli(&["endpoints", "set", "ftp://h", "--new", "--in-flight", "1"])
        .error(2, "http://");
    let stored = endpoints::get(&world.store, hook).await.unwrap().unwrap();
    assert_eq!((stored.in_flight, stored.batch_size), (None, Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_moved_in_order_and_the_target_keeps_what_it_has() {
    let world = World::start().await;
    let api = Api::start(&world).await;
    let (from, to) = ("http://h/from", "http://h/to");
    world.backlog(to, 3, 4).await;
    world.backlog(from, 1, 1_203).await;
    let mut changes = Changes::listen(&world.store).await.unwrap();
    let moved = world.cli(&["endpoints", "move", from, to, "--json"]).json();
    assert_eq!(
        moved,
        json!({"from": from, "to": to, "moved": 1_201, "already_there": 2, "complete": true})
    );
    let mut told = BTreeSet::new();
    while told != BTreeSet::from([from.to_owned(), to.to_owned()]) {
        match changes.changed().await.unwrap() {
            Change::Backlogs(urls) => told.extend(urls),
            Change::Anything => panic!("nothing was missed"),
        }
    }
    assert_eq!(
        world
            .count(&format!("pgstream.webhook_backlog WHERE endpoint = '{from}'"))
            .await,
        0
    );
    let rows = world
        .texts("SELECT webhook_id || origin || attempts FROM pgstream.webhook_backlog ORDER BY seq")
        .await;
    let expected: Vec<String> = ["e3stream3".to_owned(), "e4stream3".to_owned()]
        .into_iter()
        .chain(
            (1..=1_203)
                .filter(|n| ![3, 4].contains(n))
                .map(|n| format!("e{n}move0")),
        )
        .collect();
    assert_eq!(rows, expected);
    assert_eq!(
        world
            .count("pgstream.webhook_backlog_marks WHERE source IS NULL")
            .await,
        2
    );

    world
        .cli(&["endpoints", "move", from, to])
        .error(1, "no endpoint has the URL http://h/from");
    world
        .cli(&["endpoints", "move", to, to])
        .error(2, "name another endpoint");
    world
        .cli(&["endpoints", "move", to, "h/new"])
        .error(2, "the new url");
    let path = "/webhooks/endpoints/move";
    let (status, moved) = api.post(path, &json!({"from": to, "to": from}));
    assert_eq!(
        (status, &moved["moved"], &moved["complete"]),
        (200, &json!(1_203), &json!(true))
    );
    assert_eq!(
        api.refused(path, &json!({"from": to, "to": from})),
        refused(404, "unknown_endpoint", Some("from"))
    );
    assert_eq!(
        api.refused(path, &json!({"from": from, "to": "x"})),
        refused(400, "invalid_field", Some("to"))
    );
    assert_eq!(
        api.refused(path, &json!({"from": from})),
        refused(400, "invalid_field", Some("to"))
    );
}

/// Kills the program while it waits for a row of its second step, which a session of the test holds, and waits until the
/// server has noticed.
async fn kill_in_the_second_step(world: &World, arguments: &[&str], hold: &str, done: &str) {
    let mut holder = session(&world.cluster).await;
    run(&mut holder, &format!("BEGIN; {hold}")).await;
    let mut child = world.spawn(arguments);
    let waiting = "pg_stat_activity WHERE application_name = 'pgstream' AND wait_event_type = 'Lock'";
    wait_until("the second step waits", async || {
        world.count(waiting).await == 1 && world.count(done).await == 500
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    run(&mut holder, "ROLLBACK").await;
    // The killed program's statement may still finish, but nobody commits it.
    let sessions = "pg_stat_activity WHERE application_name = 'pgstream' AND state <> 'idle'";
    wait_until("its session has ended", async || world.count(sessions).await == 0).await;
    assert_eq!(world.count(done).await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_goes_on_when_it_is_done_again() {
    let world = World::start().await;
    let (from, to) = ("http://h/from", "http://h/to");
    world.backlog(from, 1, 1_200).await;
    kill_in_the_second_step(
        &world,
        &["endpoints", "move", from, to],
        "SELECT FROM pgstream.webhook_backlog WHERE webhook_id = 'e700' FOR UPDATE",
        &format!("pgstream.webhook_backlog WHERE endpoint = '{to}'"),
    )
    .await;
    let run = world.cli(&["endpoints", "move", from, to]);
    assert_eq!(run.text(), format!("moved 700 events from {from} to {to}\n"));
    let rows = world
        .texts(&format!(
            "SELECT webhook_id FROM pgstream.webhook_backlog WHERE endpoint = '{to}' ORDER BY seq"
        ))
        .await;
    let expected: Vec<String> = (1..=1_200).map(|n| format!("e{n}")).collect();
    assert_eq!(rows, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_filtered_and_shown() {
    let world = World::start().await;
    let api = Api::start(&world).await;
    let (one, two) = ("http://h/one", "http://h/two");
    let empty = json!({"dead_letters": [], "more": false});
    assert_eq!(world.cli(&["deadletters", "list", "--json"]).json(), empty);
    assert!(
        world
            .cli(&["deadletters", "list"])
            .text()
            .contains("no such dead letters")
    );
    world.letters(Some(one), "orders", "retries", 1, 3).await;
    world.letters(Some(two), "items", "refused", 3, 4).await;
    world.letters(None, "orders", "unparsable", 9, 9).await;
    world
        .sql("UPDATE pgstream.webhook_dead_letters SET payload = '\\x7bff' WHERE webhook_id = 'e9'")
        .await;
    let numbers = |document: &Value| -> Vec<i64> {
        let letters = document["dead_letters"].as_array().unwrap();
        letters
            .iter()
            .map(|letter| letter["id"].as_i64().unwrap())
            .collect()
    };
    for (filter, expected) in [
        (&[][..], &[6, 5, 4, 3, 2, 1][..]),
        (&["endpoint", one], &[3, 2, 1]),
        (&["table", "orders"], &[6, 3, 2, 1]),
        (&["table", "public.items"], &[5, 4]),
        (&["table", "public.items_root"], &[5, 4]),
        (&["table", "other.items"], &[]),
        (&["since", "2026-01-01T00:03:00Z"], &[6, 5, 4, 3]),
        (&["until", "2026-01-01 00:03:00"], &[2, 1]),
        (
            &["since", "2026-01-01T00:02:00Z", "until", "2026-01-01T00:04:00Z"],
            &[4, 3, 2],
        ),
        (&["until", "1s"], &[6, 5, 4, 3, 2, 1]),
        (&["id", "e3"], &[4, 3]),
        (&["id", "5"], &[5]),
        (&["reason", "refused"], &[5, 4]),
        (&["endpoint", two, "id", "e3"], &[4]),
    ] {
        let mut arguments = vec!["deadletters".to_owned(), "list".to_owned(), "--json".to_owned()];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for pair in filter.chunks(2) {
            arguments.extend([format!("--{}", pair[0]), pair[1].to_owned()]);
            query.append_pair(pair[0], pair[1]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let document = world.cli(&arguments).json();
        assert_eq!(numbers(&document), expected, "{filter:?}");
        assert_eq!(
            api.get(&format!("/webhooks/deadletters?{}", query.finish())),
            (200, document),
            "{filter:?}"
        );
    }
    world
        .cli(&["deadletters", "list", "--endpoint", "http://h/onee"])
        .error(1, &format!("did you mean {one}?"));
    let page = world
        .cli(&["deadletters", "list", "--limit", "2", "--json"])
        .json();
    assert_eq!((numbers(&page), &page["more"]), (vec![6, 5], &json!(true)));
    let text = world.cli(&["deadletters", "list", "--limit", "5"]);
    assert!(
        text.text().starts_with("ID ") && text.text().contains("there are more"),
        "{text:?}"
    );

    let shown = world.cli(&["deadletters", "show", "e1", "--json"]);
    assert_eq!(
        shown.json(),
        json!({"id": 1, "endpoint": one, "webhook_id": "e1", "reason": "retries",
               "died_at": "2026-01-01T00:01:00.000Z", "schema": "public", "table": "orders",
               "root_schema": "public", "root_table": "orders_root", "action": "U", "origin": "stream",
               "replay_run": 0, "commit_lsn": "0/10", "lsn": "0/11", "bytes": 11, "attempts": 20,
               "first_error": "refused", "last_error": "answered 500",
               "first_attempt_at": "2026-01-01T00:00:00.000Z", "last_attempt_at": "2026-01-01T00:00:01.000Z",
               "payload": {"n": 1.5}, "payload_base64": null})
    );
    assert!(shown.stdout.contains("1.50"), "every digit is kept: {shown:?}");
    let (status, answer) = api.get("/webhooks/deadletters/1");
    assert_eq!((status, answer), (200, shown.json()));
    let raw = world.cli(&["deadletters", "show", "6", "--json"]).json();
    assert_eq!(
        (&raw["endpoint"], &raw["payload"], &raw["payload_base64"]),
        (&Value::Null, &Value::Null, &json!("e/8="))
    );
    assert!(
        world
            .cli(&["deadletters", "show", "2"])
            .text()
            .contains("{\"n\": 2.50}")
    );
    world
        .cli(&["deadletters", "show", "e3"])
        .error(1, "name one by its number: 3, 4");
    world
        .cli(&["deadletters", "show", "77"])
        .error(1, "there is no dead letter \"77\"");
    world
        .cli(&["deadletters", "list", "--since", "soon"])
        .error(2, "--since: \"soon\" is not a time");
    world
        .cli(&["deadletters", "list", "--limit", "0"])
        .error(2, "--limit: ");
    for (path, status, code, field) in [
        ("/webhooks/deadletters/e3", 409, "ambiguous_dead_letter", None),
        ("/webhooks/deadletters/77", 404, "unknown_dead_letter", Some("id")),
        (
            "/webhooks/deadletters?since=soon",
            400,
            "invalid_field",
            Some("since"),
        ),
        (
            "/webhooks/deadletters?table=.x",
            400,
            "invalid_field",
            Some("table"),
        ),
        (
            "/webhooks/deadletters?limit=1001",
            400,
            "invalid_field",
            Some("limit"),
        ),
        ("/webhooks/deadletters?id=%00", 400, "invalid_field", Some("id")),
        (
            "/webhooks/deadletters?all=true",
            400,
            "invalid_field",
            Some("all"),
        ),
        ("/webhooks/deadletters/replay", 405, "method_not_allowed", None),
    ] {
        let (found, answer) = api.get(path);
        assert_eq!(refusal(found, &answer), refused(status, code, field), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed() {
    let world = World::start().await;
    let api = Api::start(&world).await;
    let (one, two) = ("http://h/one", "http://h/two");
    world.letters(Some(one), "orders", "retries", 1, 3).await;
    world.letters(Some(two), "orders", "refused", 3, 4).await;
    world.letters(None, "orders", "unparsable", 9, 9).await;
    let replay = |arguments: &[&str]| world.cli(&[&["deadletters", "replay"], arguments].concat());
    replay(&[]).error(2, "give a filter, or `all`");
    replay(&["--all", "--id", "1"]).error(2, "contradict each other");
    replay(&["--all", "--to", "nowhere"]).error(2, "the new url");
    let run = replay(&["--all", "--dry-run"]);
    assert_eq!(
        run.text(),
        "would replay 5 dead letters\n1 cannot be replayed, because they have no endpoint: look at them with \
         `pgstream deadletters list`\n"
    );
    let counted = json!({"dry_run": true, "matching": 2, "not_replayable": 0, "replayed": 0, "duplicates": 0,
                         "replay_run": null, "complete": true});
    assert_eq!(
        replay(&["--endpoint", two, "--dry-run", "--json"]).json(),
        counted
    );
    let body = json!({"endpoint": two, "dry_run": true});
    assert_eq!(api.post("/webhooks/deadletters/replay", &body), (200, counted));
    assert_eq!(world.count("pgstream.webhook_backlog").await, 0);

    let mut changes = Changes::listen(&world.store).await.unwrap();
    let done = replay(&["--table", "orders", "--reason", "retries", "--json"]).json();
    assert_eq!(
        (&done["matching"], &done["replayed"], &done["complete"]),
        (&json!(3), &json!(3), &json!(true))
    );
    let told = Change::Backlogs([one.to_owned()].into());
    assert_eq!(changes.changed().await.unwrap(), told);
    let run = done["replay_run"].as_i64().unwrap();
    let rows = world
        .texts(&format!(
            "SELECT endpoint || webhook_id || origin || attempts || coalesce(last_error, '') || source
               FROM pgstream.webhook_backlog WHERE replay_run = {run} AND convert_from(payload, 'UTF8') LIKE '%.50}}'
              ORDER BY seq"
        ))
        .await;
    let expected = [1, 2, 3].map(|n| format!("{one}e{n}replay018446744073709551615"));
    assert_eq!(rows, expected);
    assert_eq!(world.count("pgstream.webhook_backlog_marks").await, 1);

    // The event that both endpoints had is one for the third.
    world.letters(Some(one), "orders", "retries", 3, 3).await;
    let (status, done) = api.post(
        "/webhooks/deadletters/replay",
        &json!({"all": true, "to": "http://h/three"}),
    );
    assert_eq!(status, 200, "{done}");
    assert_eq!(
        (&done["replayed"], &done["duplicates"], &done["not_replayable"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let left = world
        .texts("SELECT reason FROM pgstream.webhook_dead_letters")
        .await;
    assert_eq!(left, ["unparsable"]);
    assert_eq!(
        world
            .count("pgstream.webhook_backlog WHERE endpoint = 'http://h/three'")
            .await,
        2
    );
    for (body, field) in [
        (json!({}), "all"),
        (json!({"all": true, "to": "x"}), "to"),
        (json!({"id": [1]}), "id"),
        (json!({"dryrun": true, "all": true}), "dryrun"),
        (json!({"since": "1h", "until": "2h"}), "until"),
    ] {
        let found = api.refused("/webhooks/deadletters/replay", &body);
        assert_eq!(found, refused(400, "invalid_field", Some(field)), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_goes_on_when_it_is_done_again() {
    let world = World::start().await;
    let hook = "http://h/hook";
    world.letters(Some(hook), "orders", "retries", 1, 1_200).await;
    kill_in_the_second_step(
        &world,
        &["deadletters", "replay", "--all"],
        "SELECT FROM pgstream.webhook_dead_letters WHERE webhook_id = 'e700' FOR UPDATE",
        "pgstream.webhook_backlog",
    )
    .await;
    assert_eq!(world.count("pgstream.webhook_dead_letters").await, 700);
    assert_eq!(
        world.cli(&["deadletters", "replay", "--all"]).text(),
        "replayed 700 dead letters\n"
    );
    let rows = world
        .texts("SELECT webhook_id FROM pgstream.webhook_backlog ORDER BY seq")
        .await;
    let expected: Vec<String> = (1..=1_200).map(|n| format!("e{n}")).collect();
    assert_eq!(rows, expected);
    assert_eq!(world.count("pgstream.webhook_dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_discarded() {
    let world = World::start().await;
    let api = Api::start(&world).await;
    world
        .letters(Some("http://h/one"), "orders", "retries", 1, 1_200)
        .await;
    world.letters(None, "orders", "unparsable", 1, 1).await;
    let discard = |arguments: &[&str]| world.cli(&[&["deadletters", "discard"], arguments].concat());
    discard(&[]).error(2, "give a filter, or `all`");
    discard(&["--to", "http://h"]).error(2, "the option --to is not one of the command deadletters discard");
    let counted = json!({"dry_run": true, "matching": 1_201, "discarded": 0, "complete": true});
    assert_eq!(discard(&["--all", "--dry-run", "--json"]).json(), counted);
    let path = "/webhooks/deadletters/discard";
    assert_eq!(
        api.post(path, &json!({"all": true, "dry_run": true})),
        (200, counted)
    );
    assert_eq!(
        api.refused(path, &json!({})),
        refused(400, "invalid_field", Some("all"))
    );
    assert_eq!(
        api.refused(path, &json!({"all": true, "to": "http://h"})),
        refused(400, "invalid_field", Some("to"))
    );
    assert_eq!(discard(&["--id", "e2"]).text(), "discarded 1 dead letters\n");
    let done = json!({"dry_run": false, "matching": 1, "discarded": 1, "complete": true});
    assert_eq!(api.post(path, &json!({"id": 3})), (200, done));
    assert_eq!(world.count("pgstream.webhook_dead_letters").await, 1_199);
    assert_eq!(discard(&["--all"]).text(), "discarded 1199 dead letters\n");
    assert_eq!(world.count("pgstream.webhook_dead_letters").await, 0);
}

#[tokio::test]
async fn a_store_without_the_tables_is_told_apart() {
    let cluster = cluster(&[]);
    let store = store::connect(&url(&cluster, "postgres")).await.unwrap();
    let world = World { cluster, store };
    for arguments in [
        &["endpoints", "list"][..],
        &["endpoints", "pause", "http://h"],
        &["deadletters", "list"],
        &["deadletters", "replay", "--all"],
    ] {
        world.cli(arguments).error(1, "run `pgstream init`");
    }
    let nowhere = pgstream(&["endpoints", "list"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
}
