//! Suite `failover`: a stand-by becomes the source, with all that was streamed or without the last of it.

use nix::sys::signal::Signal;
use pgstream::config::PgUrl;
use pgstream::demo::cluster::StopMode;
use serde_json::{Value, json};

use crate::support::database::SLOT;
use crate::support::look::look;
use crate::support::program::{Program, pgstream};
use crate::support::proxy::Proxy;
use crate::support::receiver::Receiver;
use crate::support::replica::Replica;
use crate::support::world::{Change, Sql, World, receiver, webhook_id};

/// Connections are made again fast.
const FAST: [(&str, &str); 2] = [
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_INITIAL_INTERVAL", "10ms"),
    ("PGSTREAM_POSTGRES_LISTENER_EXP_BACKOFF_MAX_INTERVAL", "100ms"),
];
/// The exit code where the source is not what was streamed.
const GAP: i32 = 4;

/// How the program finds whichever server is the primary.
#[derive(Clone, Copy)]
enum By {
    /// By an address that leads to it.
    Address,
    /// By a list of both, for the replication connection and the store.
    Hosts,
}

/// A primary, a stand-by that has its slot, the address of whichever is the primary, and a program that streams from it.
struct Pair {
    // Before the cluster: its server lies in the cluster's folder.
    replica: Replica,
    replica_sql: Sql,
    world: World,
    proxy: Proxy,
    receiver: Receiver,
    program: Program,
}

impl Pair {
    /// Rows 1 to 10 are delivered, and the stand-by has all of it.
    fn new(by: By) -> Self {
        let mut world = World::new(&[]);
        world.sql.run("CREATE TABLE items (id bigint PRIMARY KEY)");
        let replica = Replica::with_slots(&mut world.cluster);
        world.sql = Sql::open(&world.cluster, "postgres");
        let replica_sql = Sql::at(&PgUrl::parse(&replica.url()).unwrap());
        let proxy = Proxy::of(&world.cluster);
        let receiver = receiver();
        let url = match by {
            By::Address => proxy.url("postgres"),
            By::Hosts => format!(
                "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable",
                world.cluster.port(),
                replica.port()
            ),
        };
        let program = Program::start(&url, SLOT, &FAST);
        program.subscribe(&json!({"url": receiver.url("/"), "schema": "public", "table": "items"}));
        let mut pair = Self {
            replica,
            replica_sql,
            world,
            proxy,
            receiver,
            program,
        };
        pair.world
            .sql
            .run("INSERT INTO items SELECT generate_series(1, 10)");
        pair.world.sql.wait_until_delivered();
        pair.wait_until_replayed();
        pair
    }

    fn wait_until_replayed(&mut self) {
        let end = self.world.sql.wal_end();
        self.replica_sql
            .wait_for(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'"));
    }

    /// The stand-by is the primary from now on.
    fn promote(&mut self) {
        self.replica.promote();
        self.proxy.lead_to(self.replica.port());
        self.replica_sql = Sql::at(&PgUrl::parse(&self.replica.url()).unwrap());
        self.replica_sql.wait_for("SELECT NOT pg_is_in_recovery()");
    }

    /// The rows that came, each with the epoch in its id.
    fn came(&self) -> Vec<(i64, String)> {
        let mut came: Vec<(i64, String)> = self
            .receiver
            .requests()
            .iter()
            .map(|request| {
                let epoch = webhook_id(request)
                    .split('-')
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned();
                (Change::of(request).key, epoch)
            })
            .collect();
        came.sort_unstable();
        came
    }
}

fn rows(rows: std::ops::RangeInclusive<i64>, epoch: &str) -> impl Iterator<Item = (i64, String)> {
    rows.map(move |row| (row, epoch.to_owned()))
}

#[test]
fn a_stand_by_that_lacks_nothing_is_streamed_on() {
    let mut pair = Pair::new(By::Address);
    pair.world.cluster.stop(StopMode::Fast).unwrap();
    pair.promote();
    pair.replica_sql
        .run("INSERT INTO items SELECT generate_series(11, 20)");
    pair.replica_sql.wait_until_delivered();
    assert_eq!(pair.came(), rows(1..=20, "1").collect::<Vec<_>>());
    let log = pair.program.log();
    let switched = log.iter().find(|line| line["event"] == "timeline_switched");
    assert_eq!(switched.expect("it is told")["timeline"], 2);
    assert!(pair.program.terminate().0.success());

    // That was written down: a later program knows this timeline.
    pair.program = Program::start(&pair.replica.url(), SLOT, &FAST);
    pair.replica_sql.run("INSERT INTO items VALUES (21)");
    pair.replica_sql.wait_until_delivered();
    assert_eq!(pair.came(), rows(1..=21, "1").collect::<Vec<_>>());
}

#[test]
fn a_list_of_hosts_is_enough_to_follow_the_primary() {
    let mut pair = Pair::new(By::Hosts);
    pair.world.cluster.stop(StopMode::Fast).unwrap();
    pair.program
        .wait_for_log("the lost connection", |line| line["event"] == "connection_lost");
    // Meanwhile there is only the stand-by, which will not do.
    assert_eq!(pair.program.ask("GET", "/healthz").status, 200);
    pair.promote();
    pair.replica_sql
        .run("INSERT INTO items SELECT generate_series(11, 20)");
    pair.replica_sql.wait_until_delivered();
    assert_eq!(pair.came(), rows(1..=20, "1").collect::<Vec<_>>());
    let is_streaming = |line: &&Value| line["msg"] == "streaming";
    let streaming: Vec<Value> = pair.program.log().iter().filter(is_streaming).cloned().collect();
    let server = format!("127.0.0.1:{}", pair.replica.port());
    assert!(
        streaming.last().unwrap()["server"]
            .as_str()
            .unwrap()
            .starts_with(&server),
        "{streaming:?}"
    );
    // The sessions of the store have followed as well.
    pair.program.wait_until_ready();
    let reconnects = pair.program.metrics().value("pgstream_reconnects_total");
    assert!(reconnects >= 1.0, "{reconnects}");
    pair.program
        .unsubscribe(&json!({"url": pair.receiver.url("/"), "schema": "public", "table": "items"}));
    assert!(pair.program.terminate().0.success());
}

#[test]
fn a_program_that_is_started_on_another_timeline_gives_new_ids() {
    let mut pair = Pair::new(By::Address);
    // Nothing that was streamed is missing, but this program is not the one that knows.
    pair.program.signal(Signal::SIGKILL);
    pair.world.cluster.stop(StopMode::Fast).unwrap();
    pair.promote();
    pair.program = Program::start(&pair.replica.url(), SLOT, &FAST);
    pair.program
        .wait_for_log("the new epoch", |line| line["event"] == "epoch_raised");
    pair.replica_sql
        .run("INSERT INTO items SELECT generate_series(11, 20)");
    pair.replica_sql.wait_until_delivered();
    // That nothing is missing cannot be known, and is not told.
    let log = pair.program.log();
    assert!(log.iter().all(|line| line["event"] != "timeline_switched"));
    let new: Vec<_> = pair.came().into_iter().filter(|(row, _)| *row > 10).collect();
    assert_eq!(new, rows(11..=20, "2").collect::<Vec<_>>());
}

#[test]
fn a_stand_by_that_lacks_commits_is_refused_until_the_gap_is_accepted() {
    let mut pair = Pair::new(By::Address);
    pair.replica.stop();
    pair.world
        .sql
        .run("INSERT INTO items SELECT generate_series(11, 20)");
    pair.world.sql.wait_until_delivered();
    pair.world.cluster.stop(StopMode::Immediate).unwrap();
    pair.replica.start_again(&pair.world.cluster);
    pair.promote();
    pair.replica_sql
        .run("INSERT INTO items SELECT generate_series(21, 30)");

    // The program that was running knows what it has streamed.
    assert_eq!(pair.program.wait().code(), Some(GAP));
    let log = pair.program.log();
    let said = log
        .iter()
        .rfind(|line| line["level"] == "critical")
        .expect("it says why");
    let said = said["msg"].as_str().unwrap();
    assert!(
        said.contains("branched off at") && said.contains("--accept-gap"),
        "{said}"
    );
    assert_eq!(pair.came(), rows(1..=20, "1").collect::<Vec<_>>());

    // It has told the new primary, so that the gap does not go unseen.
    let found = look(
        "status",
        &["--pgurl", &pair.replica.url(), "--replication-slot", SLOT],
    );
    assert_eq!(found.json["remembered"]["timeline"], 1);
    assert!(
        found.problems().contains(&"source_changed") || found.hints().contains(&"timeline_changed"),
        "{:#}",
        found.json
    );
    let mut command = pgstream(&["run", "--accept-gap", "--log-format", "json"]);
    command
        .env("PGSTREAM_POSTGRES_LISTENER_URL", pair.replica.url())
        .env("PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME", SLOT);
    let mut program = Program::launch(command);
    program.wait_for_log("the accepted gap", |line| line["event"] == "gap_accepted");
    pair.replica_sql.wait_until_delivered();
    let came = pair.came();
    assert!(
        came.iter()
            .all(|(row, epoch)| *row > 20 || epoch == "1" || *row <= 10)
    );
    let new: Vec<_> = came.into_iter().filter(|(row, _)| *row > 20).collect();
    assert_eq!(new, rows(21..=30, "2").collect::<Vec<_>>());
    assert!(program.terminate().0.success());
}
