//! The program itself: what the environment gives it, what it says, and changes that come through.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::thread;
use std::time::Instant;

use pgstream::config::keys;
use pgstream::demo::cluster::Cluster;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::NAMES;
use crate::support::database::SLOT;
use crate::support::look::look_with;
use crate::support::program::{Program, pgstream};
use crate::support::proxy::{Fault, Proxy};
use crate::support::secured::{Authority, PASSWORD, secured};
use crate::support::sessions::POLL;
use crate::support::world::{Change, DEADLINE, Sql, receiver};

/// A server with TLS.
fn server(authority: &Authority) -> Cluster {
    Runtime::new().unwrap().block_on(secured(authority, &NAMES, &[]))
}

/// Runs `init` with this URL and these variables.
fn init(url: &str, variables: &[(&str, &str)]) -> Output {
    let home = tempfile::tempdir().unwrap();
    pgstream(&["init", "--pgurl", url, "--replication-slot", SLOT])
        .env("HOME", home.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_fails(url: &str, variables: &[(&str, &str)], code: i32, expected: &str) {
    let output = init(url, variables);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
}

#[track_caller]
fn assert_succeeds(url: &str, variables: &[(&str, &str)]) {
    let output = init(url, variables);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn passwords_and_defaults_of_the_environment() {
    let authority = Authority::new();
    let cluster = server(&authority);
    let url = format!("postgres://streamer@127.0.0.1:{}/postgres", cluster.port());
    let folder = tempfile::tempdir().unwrap();
    let passfile = folder.path().join("passwords");
    let line = format!(
        "elsewhere:*:*:*:other\n127.0.0.1:{}:postgres:streamer:{PASSWORD}\n",
        cluster.port()
    );
    fs::write(&passfile, line).unwrap();
    let set_mode = |mode| fs::set_permissions(&passfile, fs::Permissions::from_mode(mode)).unwrap();
    let (root, passfile_name) = (authority.root(), passfile.display().to_string());
    let passfile_variable = ("PGPASSFILE", passfile_name.as_str());

    assert_fails(&url, &[], 1, "asks for the password of user \"streamer\"");
    assert_fails(
        &url,
        &[("PGPASSWORD", "wrong")],
        1,
        "password authentication failed",
    );
    set_mode(0o644);
    assert_fails(&url, &[passfile_variable], 2, "chmod 0600");
    set_mode(0o600);
    assert_succeeds(&url, &[passfile_variable]);
    assert_succeeds(&url, &[("PGPASSWORD", PASSWORD)]);

    // What the environment asks for is asked for.
    let password = ("PGPASSWORD", PASSWORD);
    let full = ("PGSSLMODE", "verify-full");
    assert_fails(
        &url,
        &[password, full],
        2,
        "needs the certificate of the authority",
    );
    assert_succeeds(&url, &[password, full, ("PGSSLROOTCERT", &root)]);
    let other = Authority::new().root();
    let required = ("PGSSLMODE", "require");
    assert_fails(
        &url,
        &[password, required, ("PGSSLROOTCERT", &other)],
        1,
        "sslrootcert",
    );
    assert_fails(&url, &[("PGSSLMODE", "on")], 2, "PGSSLMODE is \"on\"");
    let direct = ("PGSSLNEGOTIATION", "direct");
    assert_fails(
        &url,
        &[password, direct],
        2,
        "sslnegotiation=direct needs sslmode=require",
    );
    let bound = ("PGCHANNELBINDING", "require");
    let hashed = url.replace("streamer", "hashed");
    assert_fails(&hashed, &[password, required, bound], 1, "MD5");
    // The URL wins.
    assert_succeeds(&format!("{url}?sslmode=disable"), &[password, full]);
}

#[test]
fn a_home_has_what_libpq_looks_for_in_it() {
    let authority = Authority::new();
    let cluster = server(&authority);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".postgresql");
    fs::create_dir(&folder).unwrap();
    fs::copy(authority.root(), folder.join("root.crt")).unwrap();
    let passwords = home.path().join(".pgpass");
    fs::write(&passwords, format!("*:*:*:*:{PASSWORD}")).unwrap();
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!(
        "postgres://streamer@127.0.0.1:{}/postgres?sslmode=verify-full&channel_binding=require",
        cluster.port()
    );
    let output = pgstream(&["init", "--pgurl", &url, "--replication-slot", SLOT])
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    // Whoever only looks goes the same way: the server lets this role in with TLS alone, and its password is in the file.
    let only_with_tls = url.replace("streamer", "encrypted");
    let settings = [("HOME", home.path().to_str().unwrap())];
    for command in ["status", "check"] {
        let arguments = ["--pgurl", &only_with_tls, "--replication-slot", SLOT];
        let found = look_with(command, &arguments, &settings);
        assert!(
            !found.problems().contains(&"source_unreachable"),
            "{:#}",
            found.json
        );
        let plain = only_with_tls.replace("verify-full&channel_binding=require", "disable");
        let found = look_with(
            command,
            &["--pgurl", &plain, "--replication-slot", SLOT],
            &settings,
        );
        assert!(
            found.problems().contains(&"source_unreachable"),
            "{:#}",
            found.json
        );
    }

    // Starting again would not make the certificate trusted.
    fs::copy(Authority::new().root(), folder.join("root.crt")).unwrap();
    let output = pgstream(&["run"])
        .env("HOME", home.path())
        .env(keys::LISTENER_URL.name, &url)
        .env(keys::SLOT_NAME.name, SLOT)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn a_wrong_password_ends_the_program_now_or_later() {
    let authority = Authority::new();
    let cluster = server(&authority);
    let url = format!("postgres://streamer@127.0.0.1:{}/postgres", cluster.port());
    assert_succeeds(&url, &[("PGPASSWORD", PASSWORD)]);
    let run = |password: &str| {
        let mut command = pgstream(&["run", "--log-format", "json"]);
        command
            .env(keys::LISTENER_URL.name, &url)
            .env(keys::SLOT_NAME.name, SLOT)
            .env(keys::SERVER_ADDRESS.name, "127.0.0.1:0")
            .env("PGPASSWORD", password);
        command
    };
    let output = run("wrong").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("password authentication failed"), "{said}");

    // One that was right, until somebody changed it.
    let mut program = Program::launch(run(PASSWORD));
    program.wait_for_log("streaming", |line| line["msg"] == "streaming");
    let mut sql = Sql::open(&cluster, "postgres");
    sql.run("ALTER ROLE streamer PASSWORD 'another'");
    sql.run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
    assert_eq!(program.wait().code(), Some(3));
    let log = program.log();
    let last = log.iter().rfind(|line| line["level"] == "critical").unwrap();
    assert!(
        last["msg"]
            .as_str()
            .unwrap()
            .contains("password authentication failed"),
        "{last}"
    );
    assert!(log.iter().all(|line| !line.to_string().contains(PASSWORD)));
}

#[test]
fn a_connection_that_is_cut_within_tls_or_scram_loses_and_repeats_nothing() {
    // The answer to the request for TLS, the server's hello and certificate, the end of the handshake, the rounds of SCRAM,
    // the parameters, and the stream: of PostgreSQL 15, the handshake has about 1,500 bytes, and SCRAM is behind 2,200.
    let mut cuts: Vec<usize> = vec![0, 1, 2, 90, 127];
    cuts.extend((200..3_200).step_by(150));
    cuts.extend([4_000, 5_000, 8_000, 12_000]);
    let faults: Vec<Fault> = cuts.iter().map(|after| Fault::CutAfter(*after)).collect();
    let authority = Authority::new();
    let cluster = server(&authority);
    let mut sql = Sql::open(&cluster, "postgres");
    sql.run("CREATE TABLE items (id bigint PRIMARY KEY)");
    let proxy = Proxy::of(&cluster);
    let url = |port: u16| {
        format!(
            "postgres://streamer:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={}&channel_binding=require",
            authority.root()
        )
    };
    let direct = url(cluster.port());
    assert_succeeds(&direct, &[]);
    let settings = [
        (keys::STORE_URL.name, direct.as_str()),
        (keys::INJECTOR_URL.name, &direct),
        ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
        ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_MAX_INTERVAL", "100ms"),
    ];
    let receiver = receiver();
    let program = Program::start(&url(proxy.address().port()), SLOT, &settings);
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    proxy.come(&faults);
    proxy.cut();
    // The last cuts are within what these bring.
    let deadline = Instant::now() + DEADLINE;
    let mut last = 0;
    while proxy.faults_left() > 0 {
        assert!(Instant::now() < deadline, "{} cuts are left", proxy.faults_left());
        last += 1;
        sql.run(&format!("INSERT INTO items VALUES ({last})"));
        thread::sleep(POLL);
    }
    sql.wait_until_delivered();
    let requests = receiver.requests();
    let mut keys: Vec<i64> = requests.iter().map(|request| Change::of(request).key).collect();
    keys.sort_unstable();
    let log = program.log();
    let is_cut = |line: &&Value| line["event"] == "not_connected" || line["event"] == "connection_lost";
    let cuts = log.iter().filter(is_cut).count();
    // Whoever reads the log is told what happened, and nothing of how it is programmed.
    assert!(log.iter().all(|line| !line.to_string().contains("docs.rs")));
    // Now and then another session of the program gets one.
    assert!(cuts * 5 >= faults.len() * 4, "{cuts} of {} cuts", faults.len());
    assert_eq!(keys, (1..=last).collect::<Vec<i64>>());
    assert!(program.terminate().0.success());
}

#[test]
fn what_the_program_refuses() {
    let url = |parameters: &str| format!("postgres://u:{PASSWORD}@127.0.0.1:1/d?{parameters}");
    for (parameters, expected) in [
        ("sslmod=require", "did you mean sslmode?"),
        ("sslcompression=0", "the parameter sslcompression is not known"),
        ("sslmode=verify-full", "name its file with sslrootcert"),
        (
            "sslmode=require&sslrootcert=system",
            "sslrootcert=system needs sslmode=verify-full",
        ),
        (
            "sslmode=disable&channel_binding=require",
            "channel_binding=require needs TLS",
        ),
        (
            "target_session_attrs=master",
            "write any, read-write, read-only, primary, standby or prefer-standby",
        ),
    ] {
        assert_fails(&url(parameters), &[], 2, expected);
    }
}

#[test]
fn changes_come_through_a_connection_that_is_verified_bound_and_one_of_several() {
    let authority = Authority::new();
    let cluster = server(&authority);
    let url = format!(
        "postgres://streamer@127.0.0.1:1,localhost:{}/postgres?sslmode=verify-full&sslrootcert={}&channel_binding=require",
        cluster.port(),
        authority.root()
    );
    let mut sql = Sql::open(&cluster, "postgres");
    sql.run("CREATE TABLE items (id bigint PRIMARY KEY, n bigint)");
    sql.run("INSERT INTO items SELECT n, n FROM generate_series(1, 50) n");
    assert_succeeds(&url, &[("PGPASSWORD", PASSWORD)]);
    let receiver = receiver();
    let mut command = pgstream(&["run", "--log-format", "json", "--log-level", "trace"]);
    command
        .env(keys::LISTENER_URL.name, &url)
        .env(keys::SLOT_NAME.name, SLOT)
        .env(keys::SNAPSHOT_TABLES.name, "items")
        .env(keys::CACHE_ENABLED.name, "true")
        .env("PGPASSWORD", PASSWORD);
    let mut program = Program::launch(command);
    let line = program.wait_for_log("streaming", |line| line["msg"] == "streaming");
    let server = line["server"].as_str().unwrap();
    assert!(server.starts_with("localhost:"), "{line}");
    program.subscribe(&json!({"url": receiver.url("/"), "table": "items"}));
    // Rows that were there, by sessions of their own, and then changes.
    receiver.wait_for(|requests| requests.len() == 50, DEADLINE);
    sql.run("INSERT INTO items SELECT n, n FROM generate_series(51, 100) n");
    let requests = receiver.wait_for(|requests| requests.len() == 100, DEADLINE);
    let mut keys: Vec<i64> = requests.iter().map(|request| Change::of(request).key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (1..=100).collect::<Vec<i64>>());
    // Every connection of the program is encrypted, the walsender's and all sessions of the store.
    let unencrypted: i64 = sql.value(
        "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
          WHERE usename = 'streamer' AND NOT ssl",
    );
    let all: i64 = sql.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'streamer'");
    assert!(unencrypted == 0 && all >= 2, "{unencrypted} of {all}");
    let (status, log) = program.terminate();
    assert!(status.success());
    assert!(log.iter().all(|line| !line.to_string().contains(PASSWORD)));
}
