//! Suite `regress`: PostgreSQL's own regression suite is the judge of the triggers, and of the stream.
//!
//! `make regress` fetches it and runs it three times: in a database without pgstream, and in ones that it streams from,
//! with either form of the schema log. No test may come out differently but those of [`DIFFERING`]; every change that a
//! second slot reports has to arrive as a webhook with the same content; and the figures are printed.

mod account;
mod schedule;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pgstream::config::keys;
use pgstream::demo::cluster::Cluster;
use pgstream::setup::{InitOptions, init};
use pgstream::store::SchemaLogMode;
use serde_json::json;
use tokio::runtime::Runtime;

use self::account::{Account, Recorder};
use self::schedule::Run;
use crate::support::database::{self, SLOT};
use crate::support::program::{self, Program};
use crate::support::world::{Sql, confirmed_reaches};

/// The database of the suite, which its scripts know by this name.
const DATABASE: &str = "regression";
/// The slot that tells what was committed.
const JUDGE: &str = "judge";
/// By when what is left of the stream has to have been delivered once the suite is through.
const DEADLINE: Duration = Duration::from_secs(1800);

const SETTINGS: &[(&str, &str)] = &[
    ("max_prepared_transactions", "10"),
    ("max_connections", "100"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "8GB"),
    ("autovacuum", "off"),
];

/// Tests that come out differently where pgstream is initialised, and why that has to be so.
const DIFFERING: &[(&str, &str)] = &[
    (
        "alter_table",
        "it lists all locks of a transaction with ALTER TABLE, and so those on the tables of the schema log",
    ),
    ("event_trigger", "it lists all event triggers"),
    (
        "generated",
        "it lists all generated columns: two tables of pgstream have one",
    ),
    (
        "opr_sanity",
        "it lists all functions that are SECURITY DEFINER, as the function of the triggers is",
    ),
    (
        "type_sanity",
        "it lists all columns whose storage is not that of their type: payloads in the backlog are not compressed",
    ),
];

#[test]
#[ignore = "takes ten minutes, and PostgreSQL's sources: run `make regress`"]
fn the_regression_suite_of_postgres_comes_out_the_same() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/regress");
    assert!(folder.join("version").exists(), "run `make regress`");
    let without = run_without(&folder);
    println!(
        "without pgstream: {} tests, failed {:?}",
        without.outcomes.len(),
        without.failed().collect::<Vec<_>>(),
    );
    // A set-up that is broken would make all runs fail alike.
    let broken = without
        .failed()
        .map(|test| format!("without pgstream: {test} failed"));
    let mut wrong: Vec<String> = broken.collect();
    let mut timed = Vec::new();
    for (name, mode, most) in [
        ("full", SchemaLogMode::Full, 4.0),
        ("changed", SchemaLogMode::Changed, 1.5),
    ] {
        let at_rest = run_at_rest(&folder, &format!("{name}-at-rest"), mode);
        let (streaming, findings) = run_streaming(&folder, name, mode);
        let findings = findings
            .into_iter()
            .chain(differences(&without, &at_rest))
            .chain(differences(&without, &streaming));
        wrong.extend(findings.map(|finding| format!("{name}: {finding}")));
        timed.push((name, most, at_rest.took, streaming.took));
    }
    // Before and after, since a machine has good and bad minutes.
    let again = run_without(&folder);
    let took = (without.took + again.took) / 2;
    println!(
        "without pgstream: {:.1} and {:.1} s",
        without.took.as_secs_f64(),
        again.took.as_secs_f64()
    );
    for (name, most, at_rest, streaming) in timed {
        let ratio = |run: Duration| run.as_secs_f64() / took.as_secs_f64();
        println!(
            "{name}: {:.2} of that (target {most}), {:.2} while the same machine streams and receives",
            ratio(at_rest),
            ratio(streaming),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The tests that came out differently and are not listed.
fn differences(without: &Run, with: &Run) -> Vec<String> {
    let mut findings = Vec::new();
    for (test, outcome) in &with.outcomes {
        let differs = without.outcomes.get(test) != Some(outcome);
        let reason = DIFFERING.iter().find(|(name, _)| name == test);
        match (differs, reason) {
            (true, None) => findings.push(format!("{test} came out differently:\n{}", outcome.shown())),
            (true, Some((_, reason))) if outcome.adds_no_trouble() => println!("  {test} differs: {reason}"),
            (true, Some(_)) => findings.push(format!(
                "{test} differs in more than it may:\n{}",
                outcome.shown()
            )),
            (false, Some(_)) => println!("  {test} is listed as differing, and does not"),
            (false, None) => {}
        }
    }
    let missing = without
        .outcomes
        .keys()
        .filter(|test| !with.outcomes.contains_key(*test));
    findings.extend(missing.map(|test| format!("{test} was not run")));
    findings
}

fn run_without(folder: &Path) -> Run {
    let cluster = database::cluster(SETTINGS);
    create_database(&cluster);
    schedule::run(&cluster, folder, "without")
}

/// Runs the suite with the triggers, and nobody who reads the stream.
fn run_at_rest(folder: &Path, name: &str, mode: SchemaLogMode) -> Run {
    let cluster = database::cluster(SETTINGS);
    initialise(&cluster, mode);
    schedule::run(&cluster, folder, name)
}

/// Runs the suite in a database that is streamed from. Returns what is wrong with the stream, too.
fn run_streaming(folder: &Path, name: &str, mode: SchemaLogMode) -> (Run, Vec<String>) {
    let runtime = Runtime::new().expect("a runtime starts");
    let cluster = database::cluster(SETTINGS);
    initialise(&cluster, mode);
    let mut sql = Sql::open(&cluster, "postgres");
    let mut ours = Sql::open(&cluster, DATABASE);
    let _: String = ours.value(&format!(
        "SELECT slot_name::text FROM pg_create_logical_replication_slot('{JUDGE}', 'wal2json')"
    ));

    let recorder = runtime.block_on(Recorder::start());
    let program = start_program(&cluster);
    program.subscribe(&json!({
        "url": recorder.url(), "schema": "", "table": "", "event_types": ["I", "U", "D", "T", "M"]
    }));
    let run = schedule::run(&cluster, folder, name);

    let end = sql.wal_end();
    sql.wait_for_within(DEADLINE, &confirmed_reaches(&end));
    ours.wait_for_within(DEADLINE, "SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    let mut findings = Vec::new();
    let dead: i64 =
        ours.value("SELECT count(*) FROM pgstream.webhook_dead_letters WHERE endpoint IS NOT NULL");
    findings.extend((dead > 0).then(|| format!("{dead} dead letters")));
    let kept: Vec<String> = ours
        .values("SELECT encode(payload, 'hex') FROM pgstream.webhook_dead_letters WHERE endpoint IS NULL");
    let (status, log) = program.terminate();
    findings.extend((!status.success()).then(|| format!("pgstream ended with {status}")));
    // Records that cannot be read are among what the suite writes.
    let loud = log.iter().filter(|line| {
        (line["level"] == "error" || line["level"] == "critical")
            && !line["msg"]
                .as_str()
                .unwrap_or_default()
                .contains("cannot be read")
    });
    findings.extend(loud.map(|line| format!("in the log: {line}")));

    let truth = changes_of_the_judge(&cluster, &end);
    let delivered = runtime.block_on(recorder.stop());
    println!(
        "  {} changes, {} delivered; {} records that cannot be read, {} kept",
        truth.len(),
        delivered.len(),
        truth.unreadable.len(),
        kept.len()
    );
    if !truth.unreadable.iter().eq(&BTreeSet::from_iter(kept)) {
        findings.push("the records that cannot be read are not those that were kept".to_owned());
    }
    findings.extend(truth.compare(&delivered));
    (run, findings)
}

/// Makes the database, with pgstream in it.
fn initialise(cluster: &Cluster, mode: SchemaLogMode) {
    create_database(cluster);
    let options = InitOptions {
        schema_log: Some(mode),
        ..database::init_options(database::url(cluster, DATABASE))
    };
    Runtime::new()
        .expect("a runtime starts")
        .block_on(init(&options, &mut |_| ()))
        .expect("init succeeds");
}

fn create_database(cluster: &Cluster) {
    let mut sql = Sql::open(cluster, "postgres");
    sql.run(&format!("CREATE DATABASE {DATABASE} TEMPLATE template0"));
    // As pg_regress sets up a database that it makes itself.
    for setting in [
        "lc_messages TO 'C'",
        "lc_monetary TO 'C'",
        "lc_numeric TO 'C'",
        "lc_time TO 'C'",
        "bytea_output TO 'hex'",
        "timezone_abbreviations TO 'Default'",
    ] {
        sql.run(&format!("ALTER DATABASE {DATABASE} SET {setting}"));
    }
}

fn start_program(cluster: &Cluster) -> Program {
    let url = cluster.url(DATABASE);
    let mut command = program::pgstream(&["run", "--log-format", "json"]);
    command
        .env(keys::LISTENER_URL.name, &url)
        .env(keys::INJECTOR_URL.name, &url)
        .env(keys::SLOT_NAME.name, SLOT)
        .env(keys::CACHE_ENABLED.name, "true");
    let mut program = Program::launch(command);
    program.wait_for_log("streaming", |line| line["msg"] == "streaming");
    program
}

/// What wal2json reports to a session that asks as pgstream does, and that knows types by the same names.
fn changes_of_the_judge(cluster: &Cluster, end: &str) -> Account {
    let query = format!(
        "COPY (SELECT data FROM pg_logical_slot_get_changes('{JUDGE}', '{end}', NULL, 'format-version', '2',
             'include-lsn', 'on', 'include-timestamp', 'on', 'include-transaction', 'on', 'include-xids', 'on',
             'include-pk', 'on')) TO STDOUT"
    );
    let mut child = cluster
        .psql(DATABASE, &query)
        .env("PGCLIENTENCODING", "UTF8")
        .env("PGOPTIONS", "-c client_min_messages=error")
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql starts");
    let account = Account::of_plugin(child.stdout.take().expect("it is piped"));
    let status = child.wait().expect("psql can be waited for");
    assert!(status.success(), "psql: {status}");
    account
}
