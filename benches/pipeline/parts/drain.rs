//! Draining what nobody is subscribed to, against `pg_recvlogical`.

use std::cell::RefCell;
use std::process::Stdio;
use std::time::Instant;

use super::{DEADLINE, Scale, pairs};
use crate::program::lines;
use crate::receiver::{Answering, Receiver};
use crate::report::{Figure, Target};
use crate::stage::{Stage, World};

const ROWS_A_TRANSACTION: usize = 100;

/// How long the program took, in seconds.
struct Drained {
    /// Until the POST for what comes last.
    read: f64,
    /// Until its slot had confirmed the end.
    confirmed: f64,
}

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    let mut stage = world.stage("drain");
    let receiver = Receiver::start(Answering::AtOnce, false);
    stage.sql.run("CREATE TABLE last (id bigint PRIMARY KEY)");
    stage.subscribe(&receiver.url(), "last");
    stage.insert(1, scale.drained / ROWS_A_TRANSACTION, ROWS_A_TRANSACTION);
    stage.sql.run("INSERT INTO last VALUES (1)");
    let end = stage.end_of_wal();
    let options = plugin_options(&mut stage);
    let stage = RefCell::new(stage);
    let runs = pairs(
        scale.pairs,
        |_| by_program(&mut stage.borrow_mut(), &receiver, &end),
        |_| by_pg_recvlogical(&mut stage.borrow_mut(), &options, &end),
    );
    let changes = scale.drained as f64;
    let each = |figure: &dyn Fn(&(Drained, f64)) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    vec![
        Figure::new("pgstream", "/s", each(&|(ours, _)| changes / ours.read)),
        Figure::new(
            "pg_recvlogical -f /dev/null",
            "/s",
            each(&|(_, theirs)| changes / theirs),
        ),
        Figure::new(
            "pgstream / pg_recvlogical",
            "",
            each(&|(ours, theirs)| theirs / ours.read),
        )
        .with(Target::AtLeast(0.9)),
        Figure::new(
            "the same, until confirmed",
            "",
            each(&|(ours, theirs)| theirs / ours.confirmed),
        ),
    ]
}

fn by_program(stage: &mut Stage<'_>, receiver: &Receiver, end: &str) -> Drained {
    const COPY: &str = "drain_ours";
    stage.copy_slot(COPY);
    receiver.expect(1);
    let program = stage.program_on(COPY);
    let started = program.streaming();
    let arrived = receiver.wait(DEADLINE).last;
    let confirmed = stage.sql.wait_for(&format!(
        "SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = '{COPY}'"
    ));
    program.terminate();
    stage.drop_slot(COPY);
    stage.forget_deliveries();
    Drained {
        read: (arrived - started).as_secs_f64(),
        confirmed: (confirmed - started).as_secs_f64(),
    }
}

/// Seconds from the start of streaming to the exit.
fn by_pg_recvlogical(stage: &mut Stage<'_>, options: &[String], end: &str) -> f64 {
    const COPY: &str = "drain_theirs";
    stage.copy_slot(COPY);
    let mut child = stage
        .command("pg_recvlogical")
        .args(["--start", "--no-loop", "--verbose", "--slot", COPY])
        .args(["--endpos", end, "--file", "/dev/null"])
        .args(["--dbname", &stage.url()])
        .args(options.iter().flat_map(|option| ["--option", option]))
        // The settings of the program's session that say how values are printed.
        .env(
            "PGOPTIONS",
            "-c TimeZone=UTC -c DateStyle=ISO -c extra_float_digits=3",
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("pg_recvlogical starts");
    let lines = lines(child.stderr.take().expect("it is piped"));
    let started = loop {
        let (at, line) = lines.recv_timeout(DEADLINE).expect("it says that it streams");
        if line.contains("streaming initiated") {
            break at;
        }
    };
    let status = child.wait().expect("it can be waited for");
    let ended = Instant::now();
    assert!(status.success(), "{status}: {:?}", lines.iter().last());
    stage.drop_slot(COPY);
    (ended - started).as_secs_f64()
}

/// The options that the program gives to the plugin, as `NAME=VALUE`: the server shows the command.
fn plugin_options(stage: &mut Stage<'_>) -> Vec<String> {
    const COPY: &str = "drain_options";
    stage.copy_slot(COPY);
    let program = stage.program_on(COPY);
    let command: String = stage.sql.value(
        "SELECT query FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = current_database()",
    );
    drop(program);
    stage.drop_slot(COPY);
    stage.forget_deliveries();
    let options = command
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or_else(|| panic!("no options in {command}"));
    let options = options.split(", \"").map(|option| {
        let option = option.trim_start_matches('"').trim_end_matches('\'');
        let (name, value) = option.split_once("\" '").expect("each option has a value");
        format!("{name}={value}")
    });
    let options: Vec<String> = options.collect();
    assert!(
        options.iter().any(|option| option.starts_with("filter-tables=")),
        "{options:?}"
    );
    options
}
