//! Suite `tutorial`: the user's tutorial step by step, up to the verification of the webhook events, with the texts
//! that it shows.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Output, Stdio};

use nix::sys::signal::Signal;
use pgstream::demo::cluster::Cluster;

use crate::support::database::cluster;
use crate::support::program::{Program, pgstream};
use crate::support::receiver::Receiver;
use crate::support::world::{self, Sql, is_lsn, is_timestamp, member};

/// What `init` says.
const INITIALISED: &str = "SUCCESS  pgstream initialisation complete\n";

/// The event that a new table causes, as the tutorial prints it. Names in capitals stand for what differs each time.
const CREATED: &str = r#"{
  "Data": {
    "action": "I",
    "timestamp": "TIMESTAMP",
    "lsn": "LSN",
    "schema": "pgstream",
    "table": "schema_log",
    "columns": [
      {
        "id": "",
        "name": "id",
        "type": "pgstream.xid",
        "value": "LOG_ID"
      },
      {
        "id": "",
        "name": "version",
        "type": "bigint",
        "value": 1
      },
      {
        "id": "",
        "name": "schema_name",
        "type": "text",
        "value": "public"
      },
      {
        "id": "",
        "name": "schema",
        "type": "jsonb",
        "value": "{\"tables\": [{\"oid\": \"TABLE_OID\", \"name\": \"test\", \"columns\": [{\"name\": \"id\", \"type\": \"integer\", \"unique\": true, \"default\": \"nextval('public.test_id_seq'::regclass)\", \"metadata\": null, \"nullable\": false, \"pgstream_id\": \"TABLE_ID-1\"}, {\"name\": \"name\", \"type\": \"text\", \"unique\": false, \"default\": null, \"metadata\": null, \"nullable\": true, \"pgstream_id\": \"TABLE_ID-2\"}], \"pgstream_id\": \"TABLE_ID\", \"primary_key_columns\": [\"id\"]}]}"
      },
      {
        "id": "",
        "name": "created_at",
        "type": "timestamp without time zone",
        "value": "CREATED_AT"
      },
      {
        "id": "",
        "name": "acked",
        "type": "boolean",
        "value": false
      }
    ],
    "identity": null,
    "metadata": {
      "schema_id": null,
      "table_pgstream_id": "",
      "id_col_pgstream_id": null,
      "version_col_pgstream_id": ""
    }
  }
}
"#;

/// The event of a row of the table, as the tutorial prints it.
const ROW: &str = r#"{
  "Data": {
    "action": "ACTION",
    "timestamp": "TIMESTAMP",
    "lsn": "LSN",
    "schema": "public",
    "table": "test",
    "columns": COLUMNS,
    "identity": IDENTITY,
    "metadata": {
      "schema_id": null,
      "table_pgstream_id": "",
      "id_col_pgstream_id": null,
      "version_col_pgstream_id": ""
    }
  }
}
"#;

/// The `id` of a row.
const ID: &str = r#"[
      {
        "id": "",
        "name": "id",
        "type": "integer",
        "value": NUMBER
      }
    ]"#;

/// The `id` and the `name` of a row.
const ID_AND_NAME: &str = r#"[
      {
        "id": "",
        "name": "id",
        "type": "integer",
        "value": NUMBER
      },
      {
        "id": "",
        "name": "name",
        "type": "text",
        "value": "NAME"
      }
    ]"#;

/// The tutorial's file, its port replaced.
const ENV_FILE: &str = r#"# Listener config
PGSTREAM_POSTGRES_LISTENER_URL="postgres://postgres:postgres@localhost:5432?sslmode=disable"
PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME=pgstream_tutorial_slot

# Processor config
PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL="postgres://postgres:postgres@localhost:5432?sslmode=disable"
PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_ENABLED=true
PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_REFRESH_INTERVAL="60s"
"#;

/// Where the events go, and in which form they are read there.
enum Webhook {
    /// `pgstream listen`, which prints them as the tutorial shows them.
    Listen {
        child: Child,
        stdout: BufReader<ChildStdout>,
        port: u16,
    },
    /// A receiver that keeps the bodies as they came.
    Raw { receiver: Receiver, read: usize },
}

impl Webhook {
    fn listen() -> Self {
        let mut child = pgstream(&["listen", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a line of the log");
        let port = line
            .rsplit_once(':')
            .and_then(|(_, port)| port.trim().trim_end_matches("...").parse().ok())
            .unwrap_or_else(|| panic!("not the first line of the log: {line:?}"));
        // Nobody reads on, but the pipe has to stay open.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self::Listen { child, stdout, port }
    }

    fn raw() -> Self {
        Self::Raw {
            receiver: world::receiver(),
            read: 0,
        }
    }

    fn url(&self) -> String {
        let port = match self {
            Self::Listen { port, .. } => *port,
            Self::Raw { receiver, .. } => receiver.port(),
        };
        format!("http://localhost:{port}/webhook")
    }

    /// The text of the next event, whole.
    fn next(&mut self) -> String {
        match self {
            Self::Listen { stdout, .. } => {
                let mut event = String::new();
                while !event.ends_with("\n}\n") {
                    let length = stdout.read_line(&mut event).expect("a line");
                    assert!(length > 0, "ended within {event:?}");
                }
                event
            }
            Self::Raw { receiver, read } => {
                let requests = receiver.wait_for(|requests| requests.len() > *read, world::DEADLINE);
                *read += 1;
                String::from_utf8(requests[*read - 1].body.clone()).expect("the body is UTF-8")
            }
        }
    }

    /// The tutorial's text in the form in which events are read here.
    fn form(&self, text: &str) -> String {
        match self {
            Self::Listen { .. } => text.to_owned(),
            Self::Raw { .. } => compact(text),
        }
    }

    /// Compares the next event with the tutorial's text, once its own LSN and timestamp stand in that.
    fn assert_next(&mut self, text: &str) {
        let event = self.next();
        self.assert_is(&event, text);
    }

    fn assert_is(&self, event: &str, text: &str) {
        let (lsn, timestamp) = (member(event, "lsn"), member(event, "timestamp"));
        assert!(is_lsn(lsn) && is_timestamp(timestamp), "{event}");
        let expected = self.form(&text.replace("TIMESTAMP", timestamp).replace("LSN", lsn));
        assert_eq!(event, expected);
    }

    /// Ends it; nothing must have come that was not looked at.
    fn end(mut self) {
        let mut rest = String::new();
        match &mut self {
            Self::Listen { child, stdout, .. } => {
                let pid = child.id().try_into().expect("a process id");
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
                stdout.read_to_string(&mut rest).expect("the rest of the output");
                assert!(child.wait().expect("an exit status").success());
            }
            Self::Raw { receiver, read } => assert_eq!(receiver.requests().len(), *read),
        }
        assert_eq!(rest, "");
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        if let Self::Listen { child, .. } = self {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// JSON without the white space between its tokens.
fn compact(text: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    text.chars()
        .filter(|&c| {
            let quote = c == '"' && !escaped;
            in_string ^= quote;
            escaped = c == '\\' && !escaped;
            in_string || quote || !c.is_ascii_whitespace()
        })
        .collect()
}

fn columns(template: &str, number: i32, name: &str) -> String {
    template
        .replace("NUMBER", &number.to_string())
        .replace("NAME", name)
}

fn row(action: &str, columns: &str, identity: &str) -> String {
    ROW.replace("ACTION", action)
        .replace("COLUMNS", columns)
        .replace("IDENTITY", identity)
}

/// The tutorial's URL, with this cluster's port for 5432.
fn url(cluster: &Cluster) -> String {
    format!(
        "postgres://postgres:postgres@localhost:{}?sslmode=disable",
        cluster.port()
    )
}

fn assert_prints(output: &Output, text: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), text, "{stderr}");
}

/// The replication slot and the schema log, as the tutorial looks at them.
fn assert_initialised(sql: &mut Sql) {
    let slots: Vec<String> = sql.values(
        "SELECT concat_ws(' | ', slot_name, plugin, slot_type, database,
                          restart_lsn IS NOT NULL, confirmed_flush_lsn IS NOT NULL)
           FROM pg_replication_slots",
    );
    assert_eq!(
        slots,
        ["pgstream_tutorial_slot | wal2json | logical | postgres | t | t"]
    );
    let columns: Vec<String> = sql.values(
        "SELECT concat_ws(' | ', a.attname, format_type(a.atttypid, a.atttypmod),
                          CASE WHEN a.attnotnull THEN 'not null' END || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''),
                          CASE a.attstorage WHEN 'x' THEN 'extended' WHEN 'p' THEN 'plain' END)
           FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = 'pgstream.schema_log'::regclass AND a.attnum > 0 ORDER BY a.attnum",
    );
    assert_eq!(
        columns,
        [
            "id | pgstream.xid | not null default pgstream.xid() | extended",
            "version | bigint | not null | plain",
            "schema_name | text | not null | extended",
            "schema | jsonb | not null | extended",
            "created_at | timestamp without time zone | not null default now() | plain",
            "acked | boolean | not null default false | plain",
        ]
    );
    let indexes: Vec<String> = sql.values(
        "SELECT concat(c.relname, CASE WHEN i.indisprimary THEN ' PRIMARY KEY,' WHEN i.indisunique THEN ' UNIQUE,' END,
                       substring(pg_get_indexdef(c.oid) FROM ' USING( .*)'))
           FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
          WHERE i.indrelid = 'pgstream.schema_log'::regclass
          ORDER BY i.indisprimary DESC, i.indisunique DESC",
    );
    assert_eq!(
        indexes,
        [
            "schema_log_pkey PRIMARY KEY, btree (id)",
            "schema_log_version_uniq UNIQUE, btree (schema_name, version)",
            "schema_log_name_acked btree (schema_name, acked, id)",
        ]
    );
}

/// Subscribes with the tutorial's body, and looks the subscription up as it does.
fn subscribe(program: &Program, sql: &mut Sql, url: &str, event_types: &str) {
    let body = format!(r#"{{"url": "{url}", "event_types":[{event_types}]}}"#);
    let (status, answer) = program.post("/webhooks/subscribe", &body);
    assert_eq!(status, 201, "{answer}");
    let rows: Vec<String> =
        sql.values("SELECT row_to_json(webhook_subscriptions)::text FROM pgstream.webhook_subscriptions");
    let expected =
        format!(r#"{{"url":"{url}","schema_name":"","table_name":"","event_types":[{event_types}]}}"#);
    assert_eq!(rows, [expected]);
}

/// "Verify webhook events".
fn verify(program: &Program, sql: &mut Sql, webhook: &mut Webhook) {
    let url = webhook.url();
    subscribe(program, sql, &url, r#""I""#);

    sql.run("CREATE TABLE test(id SERIAL PRIMARY KEY, name TEXT)");
    let text = filled_in(CREATED, sql);
    webhook.assert_next(&text);

    sql.run("INSERT INTO test(name) VALUES('alice'),('bob'),('charlie')");
    // Three rows, three independent events: they come in any order.
    let mut events: Vec<String> = (0..3).map(|_| webhook.next()).collect();
    events.sort_by_key(|event| {
        ["alice", "bob", "charlie"]
            .map(|name| event.contains(name))
            .map(|is| !is)
    });
    for (event, (number, name)) in events.iter().zip([(1, "alice"), (2, "bob"), (3, "charlie")]) {
        webhook.assert_is(event, &row("I", &columns(ID_AND_NAME, number, name), "null"));
    }

    // Any other events will not notify our webhook server.
    sql.run("UPDATE test SET name='a' WHERE name='alice'");
    sql.wait_until_delivered();

    subscribe(program, sql, &url, r#""I","U","D""#);
    sql.run("UPDATE test SET name='alice' WHERE name='a'");
    webhook.assert_next(&row("U", &columns(ID_AND_NAME, 1, "alice"), &columns(ID, 1, "")));

    sql.run("UPDATE test SET name='a' WHERE name='alice'");
    webhook.assert_next(&row("U", &columns(ID_AND_NAME, 1, "a"), &columns(ID, 1, "")));
    sql.run("ALTER TABLE test REPLICA IDENTITY FULL");
    let altered = webhook.next();
    assert_eq!(member(&altered, "table"), "schema_log");
    sql.run("UPDATE test SET name='alice' WHERE name='a'");
    let (new, old) = (columns(ID_AND_NAME, 1, "alice"), columns(ID_AND_NAME, 1, "a"));
    webhook.assert_next(&row("U", &new, &old));
    sql.run("DELETE FROM test WHERE name='bob'");
    webhook.assert_next(&row("D", "null", &columns(ID_AND_NAME, 2, "bob")));
    sql.wait_until_delivered();
}

/// The tutorial's event of the new table, with what the database says of it.
fn filled_in(template: &str, sql: &mut Sql) -> String {
    let log_id: String = sql.value("SELECT id::text FROM pgstream.schema_log");
    let created_at: String = sql.value("SELECT created_at::text FROM pgstream.schema_log");
    let oid: String = sql.value("SELECT 'test'::regclass::oid::text");
    let table_id: String = sql.value("SELECT id::text FROM pgstream.table_ids WHERE oid = 'test'::regclass");
    template
        .replace("LOG_ID", &log_id)
        .replace("CREATED_AT", &created_at)
        .replace("TABLE_OID", &oid)
        .replace("TABLE_ID", &table_id)
}

/// Tears down with the tutorial's flags; only what the user made is left.
fn tear_down(cluster: &Cluster, sql: &mut Sql) {
    let flags = [
        "--pgurl",
        &url(cluster),
        "--replication-slot",
        "pgstream_tutorial_slot",
    ];
    let output = pgstream(&["tear-down"])
        .args(flags)
        .output()
        .expect("the program starts");
    assert_prints(&output, "SUCCESS  pgstream tear-down complete\n");
    let left: Vec<String> = sql.values(
        "SELECT nspname::text FROM pg_namespace WHERE nspname = 'pgstream'
         UNION ALL SELECT slot_name::text FROM pg_replication_slots
         UNION ALL SELECT evtname::text FROM pg_event_trigger
         UNION ALL SELECT proname::text FROM pg_proc WHERE proname LIKE '%pgstream%' OR prosrc LIKE '%pgstream%'",
    );
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(sql.value::<i64>("SELECT count(*) FROM test"), 2);
}

#[test]
fn with_flags_the_file_and_listen() {
    let cluster = cluster(&[]);
    let mut sql = Sql::open(&cluster, "postgres");
    let flags = [
        "--pgurl",
        &url(&cluster),
        "--replication-slot",
        "pgstream_tutorial_slot",
    ];
    let output = pgstream(&["init"])
        .args(flags)
        .output()
        .expect("the program starts");
    assert_prints(&output, INITIALISED);
    assert_initialised(&mut sql);

    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let file = folder.path().join("pg2webhook_tutorial.env");
    fs::write(&file, ENV_FILE.replace("5432", &cluster.port().to_string())).expect("it is writable");
    let mut command = pgstream(&["run", "-c"]);
    command
        .arg(&file)
        .args(["--log-level", "trace", "--log-format", "json"]);
    let mut program = Program::launch(command);
    program.wait_for_log("streaming", |line| line["msg"] == "streaming");
    let mut webhook = Webhook::listen();
    verify(&program, &mut sql, &mut webhook);
    webhook.end();
    assert!(program.terminate().0.success());
    tear_down(&cluster, &mut sql);
}

#[test]
fn with_variables_and_without_the_cache() {
    let cluster = cluster(&[]);
    let mut sql = Sql::open(&cluster, "postgres");
    let output = pgstream(&["init"])
        .env(
            "PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME",
            "pgstream_tutorial_slot",
        )
        .env("PGSTREAM_POSTGRES_LISTENER_URL", url(&cluster))
        .output()
        .expect("the program starts");
    assert_prints(&output, INITIALISED);
    assert_initialised(&mut sql);

    let without = [("PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_ENABLED", "false")];
    let program = Program::start(&url(&cluster), "pgstream_tutorial_slot", &without);
    let mut webhook = Webhook::raw();
    verify(&program, &mut sql, &mut webhook);
    webhook.end();
    assert!(program.terminate().0.success());
    tear_down(&cluster, &mut sql);
}
