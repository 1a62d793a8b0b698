//! The program itself: what the environment gives it, what it says, and changes that come through.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use pgstream::config::keys;
use pgstream::demo::cluster::Cluster;
use serde_json::json;
use tokio::runtime::Runtime;

use super::NAMES;
use crate::support::database::SLOT;
use crate::support::look::look_with;
use crate::support::program::{Program, pgstream};
use crate::support::secured::{Authority, PASSWORD, secured};
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
