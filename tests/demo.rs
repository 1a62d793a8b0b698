//! Suite `demo`: the real program tells its story, and leaves nothing behind.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::program::pgstream;

/// The folder of temporary files for one run of the program. Whatever is in it at the end was left behind.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        // The server may run as another user, who has to get through.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("the folder is ours");
        Self(folder)
    }

    fn demo(&self, arguments: &[&str]) -> Command {
        let mut command = pgstream(&["demo"]);
        command
            .args(arguments)
            .env("TMPDIR", self.0.path())
            .stdin(Stdio::null());
        command
    }

    fn assert_clean(&self) {
        let left: Vec<_> = fs::read_dir(self.0.path()).expect("the folder is ours").collect();
        assert!(left.is_empty(), "{left:?}");
        let processes = processes_in(self.0.path());
        assert!(processes.is_empty(), "{processes:?}");
    }
}

/// The command lines of the processes that were started with something in `folder`.
fn processes_in(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().expect("a temporary folder has a plain name");
    let running = fs::read_dir("/proc").expect("this is Linux");
    running
        // A process may end while we look.
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|command_line| command_line.contains(folder))
        .collect()
}

#[test]
fn every_statement_is_shown_with_its_webhooks_and_nothing_is_left() {
    let place = Place::new();
    let output = place.demo(&[]).output().expect("the program starts");
    let (shown, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!((output.status.code(), log.as_ref()), (Some(0), ""), "{shown}");

    let mut scenes = shown.split("postgres=# ");
    let steps = scenes.next().expect("split gives at least one part");
    for expected in [
        "1. A throwaway PostgreSQL",
        "2. pgstream init",
        "3. pgstream run",
        "/webhooks/subscribe",
    ] {
        assert!(steps.contains(expected), "{shown}");
    }
    for (statement, actions, contents) in [
        ("CREATE TABLE test", &["I"][..], &[r#""table": "schema_log""#][..]),
        (
            "INSERT INTO test",
            &["I", "I", "I"],
            &[
                r#""value": "alice" }"#,
                r#""value": "bob" }"#,
                r#""value": "charlie" }"#,
            ],
        ),
        ("UPDATE test", &["U"], &[r#""value": "alice updated" }"#]),
        ("DELETE FROM test", &["D"], &[r#""columns": null"#]),
    ] {
        let scene = scenes.next().expect("a scene for each statement");
        assert!(scene.starts_with(statement), "{scene}");
        let events: Vec<serde_json::Value> = events(scene);
        let shown_actions: Vec<_> = events.iter().map(|event| &event["Data"]["action"]).collect();
        assert_eq!(shown_actions, actions, "{scene}");
        for content in contents {
            assert!(scene.contains(content), "{content}: {scene}");
        }
    }
    assert_eq!(scenes.next(), None);
    assert!(shown.contains("All 6 webhooks arrived"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "colours without a terminal: {shown}");
    place.assert_clean();
}

/// The JSON under a statement: each event's text is between its request's line and a closing bracket at the margin.
fn events(scene: &str) -> Vec<serde_json::Value> {
    let webhooks = scene.split("-> POST /webhook  webhook-id: ").skip(1);
    let body = |webhook: &str| {
        let (_, body) = webhook.split_once('\n').expect("a line of the request");
        let (body, _) = body.split_once("\n}").expect("an object over many lines");
        serde_json::from_str(&format!("{body}\n}}")).expect("JSON is shown")
    };
    webhooks.map(body).collect()
}

#[test]
fn a_signal_in_the_middle_cleans_up() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let place = Place::new();
        let mut child: Child = place
            .demo(&[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("a pipe");
        // The story does not fit: it cannot end while nobody reads on.
        fcntl(&stdout, FcntlArg::F_SETPIPE_SZ(4_096)).expect("a pipe can be made small");
        let mut shown = BufReader::with_capacity(256, stdout);
        let mut line = String::new();
        while !line.starts_with("postgres=# ") {
            line.clear();
            assert_ne!(shown.read_line(&mut line).expect("text"), 0, "ended early");
        }
        assert!(!processes_in(place.0.path()).is_empty(), "no server runs");
        kill(
            Pid::from_raw(child.id().try_into().expect("a process id")),
            signal,
        )
        .expect("the program runs");
        let mut rest = String::new();
        shown.read_to_string(&mut rest).expect("text");
        let ended = child.wait_with_output().expect("the program ends");
        let log = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{log}{rest}");
        assert!(log.starts_with("error: interrupted: "), "{log}");
        place.assert_clean();
    }
}

#[test]
fn without_a_reader_it_ends_and_cleans_up() {
    let place = Place::new();
    let mut child = place
        .demo(&[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("the program ends");
    let log = String::from_utf8_lossy(&ended.stderr);
    assert_eq!((ended.status.code(), log.as_ref()), (Some(0), ""));
    place.assert_clean();
}

#[test]
fn without_postgresql_it_says_what_to_install() {
    let place = Place::new();
    let nothing = tempfile::tempdir().expect("the temporary folder is writable");
    let output = place
        .demo(&[])
        .env("PGSTREAM_PG_BIN", nothing.path())
        .output()
        .expect("the program starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(1), &b""[..])
    );
    assert!(
        log.contains("apt-get install postgresql postgresql-<version>-wal2json"),
        "{log}"
    );
    place.assert_clean();
}
