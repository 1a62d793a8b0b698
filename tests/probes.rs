//! Suite `probes`: `/healthz` and `/readyz` tell how the program is, in time, whatever hangs.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgstream::config::keys;
use serde_json::Value;

use crate::support::database::SLOT;
use crate::support::program::{Answered, Program};
use crate::support::proxy::Proxy;
use crate::support::world::{DEADLINE, World};

/// How long a probe may take: its bound is a second, and a loaded machine may add to that.
const IN_TIME: Duration = Duration::from_secs(4);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(20);

fn probe(program: &Program, path: &str) -> (u16, Value) {
    let begun = Instant::now();
    let answered = program.ask("GET", path);
    assert!(begun.elapsed() < IN_TIME, "{path} took {:?}", begun.elapsed());
    assert_eq!(
        (answered.content_type.as_str(), answered.cache_control.as_str()),
        ("application/json", "no-store")
    );
    (answered.status, serde_json::from_str(&answered.body).unwrap())
}

/// Waits until it is ready, or is not for this reason.
fn wait_for_readiness(program: &Program, status: u16, reason: Option<&str>) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (answered, body) = probe(program, "/readyz");
        if answered == status && body["reason"].as_str() == reason {
            let told = body["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty());
            assert_eq!(told, reason.is_some(), "{body}");
            return;
        }
        assert!(Instant::now() < deadline, "{answered} {body}");
        std::thread::sleep(POLL);
    }
}

#[test]
fn a_program_that_streams_is_alive_and_ready() {
    let world = World::new(&[]);
    let program = world.start(&[]);
    wait_for_readiness(&program, 200, None);
    assert_eq!(probe(&program, "/readyz").1["status"], "ready");
    assert_eq!(
        probe(&program, "/healthz"),
        (200, serde_json::json!({"status": "alive"}))
    );
    for path in ["/healthz", "/readyz", "/metrics"] {
        let Answered { status, body, .. } = program.ask("HEAD", path);
        assert_eq!((status, body.as_str()), (200, ""), "HEAD {path}");
        assert_eq!(program.ask("DELETE", path).status, 405, "DELETE {path}");
    }
}

#[test]
fn a_store_that_hangs_is_told_of_in_time_and_hides_nothing_else() {
    let mut world = World::new(&[]);
    let mut program = world.start(&[]);
    wait_for_readiness(&program, 200, None);
    let store_is = |up: f64| program.wait_for_metrics(|metrics| metrics.value("pgstream_store_up") == up);
    store_is(1.0);
    world
        .sql
        .run("BEGIN; LOCK TABLE pgstream.webhook_dead_letters IN ACCESS EXCLUSIVE MODE");
    wait_for_readiness(&program, 503, Some("store_unavailable"));
    assert_eq!(probe(&program, "/healthz").0, 200);
    let metrics = store_is(0.0);
    // The last figures, and how old they are.
    assert_eq!(metrics.value("pgstream_dead_letters"), 0.0);
    assert!(metrics.value("pgstream_store_figures_age_seconds") > 0.0);
    assert_eq!(
        metrics.labelled("pgstream_connection_state", &[("state", "streaming")]),
        1.0
    );
    program.wait_for_log("the store's silence", |line| line["event"] == "store_unavailable");
    // Neither do its sessions hang that were asked in vain, more often than the pool has sessions.
    for _ in 0..15 {
        probe(&program, "/readyz");
    }
    assert_eq!(program.get("/webhooks/subscriptions"), serde_json::json!([]));
    world.sql.run("ROLLBACK");
    wait_for_readiness(&program, 200, None);
    program.wait_for_metrics(|metrics| metrics.value("pgstream_store_up") == 1.0);
    program.wait_for_log("the store's answer", |line| line["event"] == "store_available");
    // Figures that take long are not the store's silence.
    world
        .sql
        .run("BEGIN; LOCK TABLE pgstream.snapshot_held IN ACCESS EXCLUSIVE MODE");
    let stale = program.wait_for_metrics(|metrics| metrics.value("pgstream_store_figures_age_seconds") > 6.0);
    assert_eq!(stale.value("pgstream_store_up"), 1.0);
}

#[test]
fn who_stands_by_is_not_ready_until_it_takes_over() {
    let world = World::new(&[]);
    let first = world.start(&[]);
    let second = Program::spawn(&world.url(), SLOT, &[]);
    wait_for_readiness(&first, 200, None);
    wait_for_readiness(&second, 503, Some("standing_by"));
    assert_eq!(probe(&second, "/healthz").0, 200);
    let metrics = second.metrics();
    assert_eq!(
        metrics.labelled("pgstream_connection_state", &[("state", "standing_by")]),
        1.0
    );
    assert!(first.terminate().0.success());
    wait_for_readiness(&second, 200, None);
}

#[test]
fn who_takes_up_backlogs_is_not_ready_yet() {
    let mut world = World::new(&[]);
    // The tables are there from the first start on.
    assert!(world.start(&[]).terminate().0.success());
    world
        .sql
        .run("BEGIN; LOCK TABLE pgstream.webhook_endpoint_health IN ACCESS EXCLUSIVE MODE");
    let program = Program::spawn(&world.url(), SLOT, &[]);
    wait_for_readiness(&program, 503, Some("recovering"));
    assert_eq!(probe(&program, "/healthz").0, 200);
    world.sql.run("ROLLBACK");
    wait_for_readiness(&program, 200, None);
}

/// A process that stands still until this is dropped.
struct Frozen(Pid);

impl Frozen {
    fn new(pid: i32) -> Self {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP).unwrap();
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A server that cannot end would keep the test from ending.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[test]
fn a_walsender_that_stands_still_is_told_of_until_it_goes_on() {
    // It is asked for a sign of life after half of this.
    let mut world = World::new(&[("wal_sender_timeout", "4s")]);
    let program = world.start(&[]);
    wait_for_readiness(&program, 200, None);
    let walsender = world.sql.value("SELECT pid FROM pg_stat_replication");
    let frozen = Frozen::new(walsender);
    wait_for_readiness(&program, 503, Some("silent"));
    assert_eq!(probe(&program, "/healthz").0, 200);
    assert!(program.metrics().value("pgstream_last_heard_seconds") > 20.0);
    drop(frozen);
    wait_for_readiness(&program, 200, None);
}

#[test]
fn a_connection_that_is_lost_for_long_is_told_of_until_it_is_made_again() {
    let world = World::new(&[]);
    let proxy = Proxy::of(&world.cluster);
    let settings = [
        (keys::STORE_URL.name, world.url()),
        (keys::LISTENER_EXP_BACKOFF_MAX_INTERVAL.name, "1s".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let program = Program::spawn(&proxy.url("postgres"), SLOT, &settings);
    wait_for_readiness(&program, 200, None);
    proxy.refuse(true);
    proxy.cut();
    program.wait_for_metrics(|metrics| {
        metrics.labelled("pgstream_connection_state", &[("state", "reconnecting")]) == 1.0
    });
    assert_eq!(
        probe(&program, "/readyz").0,
        200,
        "a server that is restarted is back by then"
    );
    wait_for_readiness(&program, 503, Some("connection_lost"));
    assert_eq!(probe(&program, "/healthz").0, 200);
    proxy.refuse(false);
    wait_for_readiness(&program, 200, None);
    assert!(program.metrics().value("pgstream_reconnects_total") >= 1.0);
}
