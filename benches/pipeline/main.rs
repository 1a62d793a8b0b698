//! The whole way, from a row change in PostgreSQL to a webhook, measured on the release program.
//!
//! `make bench-pipeline`, or `cargo bench --bench pipeline -- [PART]… [--pairs N] [--json FILE]`. It starts a throwaway
//! PostgreSQL, runs `pgstream run` as a process of its own, and has a receiver and a load client of its own: blocking
//! threads, one a connection, that do as little as HTTP/1.1 allows. Prints one table, then the same as JSON (or writes
//! that to the file). Figures that depend on the machine are ratios of two runs on it, one right after the other and
//! each first in every second pair; what is shown is the median. With `--test` every part is run once on little, and
//! only has to work.
//!
//! The parts:
//!
//! - `drain`: WAL of 300,000 changes (transactions of 100 rows, 0.6 kB a record) without a matching subscriber, read
//!   from a copy of one slot by the program, and from another copy by `pg_recvlogical -f /dev/null` with the options
//!   that the server says the program gave. From the start of streaming, as both report it, to the end: for
//!   `pg_recvlogical` its exit at `--endpos`, for the program the POST for a subscribed row that comes last. Until the
//!   slot has confirmed the end is shown as well: that includes the pause between two status updates.
//! - `posts`: one POST an event to a receiver that answers at once, as many a second as arrive between the first and
//!   the last of 100,000, against the load client. That sends a request captured from the program, again and again, on
//!   as many connections as the endpoint's in-flight limit, or on as many as are best for it.
//! - `injector`: the same POSTs with and without the injector that fills in their metadata.
//! - `slow`: one endpoint that takes 20 ms an answer, against one request after another on one connection. Each row is
//!   changed five times; the order of each row's changes is checked.
//! - `latency`: at 200 transactions a second, each of one change, on a machine that does nothing else: from the moment
//!   the client sends COMMIT, and from that when COMMIT has returned, to the receipt of the whole request.
//! - `memory`: resident memory once the program has delivered something and rests; and the peak with a transaction of
//!   300,000 rows into a receiver that never answers, with `wal_sender_timeout=5s` and the default bound. The
//!   replication connection has to be the same one 20 s later.
//! - `isolation`: 100 endpoints of which 50 hang, and again of which one hangs and one fails: the deliveries a second that
//!   the others get, against a run without the bad ones. Each takes 30 ms an answer. How long after the last of these the
//!   slot has confirmed it, with the bad ones still as they are, and the peak of resident memory are shown as well.
//! - `ddl`: what ALTER TABLE takes with the schema log, in schemas of 100 and 1,000 tables of eight columns: with all of
//!   them in each entry, with what the statement touched, and without the triggers. Milliseconds of one session.
//! - `snapshot`: a million existing rows read by two sessions in page ranges, each row encoded and dropped, against two
//!   `psql` that COPY the same into nothing. Then five million rows, and a tenth of them, by `pgstream snapshot` to a
//!   receiver that answers at once, and the peak of its resident memory.
//!
//! Every program runs with its default settings, but for the subscription cache, which is on. A target that is missed
//! is said to be; it is no failure.

mod http;
mod load;
mod parts;
mod program;
mod receiver;
mod report;
mod sql;
mod stage;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::FromArgs;

use parts::{PARTS, Scale};
use report::Report;
use stage::World;

/// Measure the whole way from a row change to a webhook.
#[derive(FromArgs)]
struct Arguments {
    /// run every part once, on little
    #[argh(switch)]
    test: bool,
    /// given by cargo
    #[argh(switch)]
    #[expect(dead_code, reason = "says only that this is a benchmark")]
    bench: bool,
    /// how many pairs of runs, 3 by default
    #[argh(option, default = "3")]
    pairs: usize,
    /// file for the figures as JSON
    #[argh(option)]
    json: Option<PathBuf>,
    /// parts to run, all by default: drain, posts, injector, slow, latency, memory, isolation, ddl, snapshot
    #[argh(positional)]
    parts: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Arguments = argh::from_env();
    if let Some(unknown) = arguments
        .parts
        .iter()
        .find(|name| !PARTS.iter().any(|(known, _)| known == name))
    {
        eprintln!("there is no part {unknown:?}; there are: {}", names().join(", "));
        return ExitCode::from(2);
    }
    let scale = if arguments.test {
        Scale::smoke()
    } else {
        Scale::full(arguments.pairs.max(1))
    };
    let world = World::start();
    let mut report = Report::new(arguments.test);
    for (name, part) in PARTS {
        if arguments.parts.is_empty() || arguments.parts.iter().any(|wanted| wanted == name) {
            eprintln!("{name} …");
            report.add(name, part(&world, &scale));
        }
    }
    print!("{}", report.table());
    let json = report.json();
    match arguments.json {
        Some(path) => fs::write(path, json).expect("the file for the figures is writable"),
        None => println!("{json}"),
    }
    ExitCode::SUCCESS
}

fn names() -> Vec<&'static str> {
    PARTS.iter().map(|(name, _)| *name).collect()
}
