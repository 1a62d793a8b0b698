//! Existing rows: read and encoded against COPY into nothing, and all the way to a receiver.

use std::cell::RefCell;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgstream::config::PgUrl;
use pgstream::event;
use pgstream::snapshot::model::{PageRange, Relation};
use pgstream::snapshot::row::{RowReader, version};
use pgstream::store::snapshot::{Reading, relations};
use pgstream::store::{StoreError, connect};
use pgstream_proto::Lsn;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{Scale, pairs};
use crate::receiver::{Answering, Receiver};
use crate::report::{Figure, Target};
use crate::stage::{SLOT, Stage, World};

/// Sessions that read at one time, on either side.
const WORKERS: u64 = 2;
/// Ranges that they share.
const RANGES: u64 = 16;
const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    let mut stage = world.stage("snapshot");
    stage.insert(1, 1, scale.read_rows);
    stage.sql.run("VACUUM (ANALYZE, FREEZE) orders");
    let pages: i64 = stage
        .sql
        .value("SELECT pg_relation_size('orders') / current_setting('block_size')::bigint");
    let (stage, pages) = (RefCell::new(stage), pages.unsigned_abs());
    let rate = |taken: Duration| scale.read_rows as f64 / taken.as_secs_f64();
    // Warms up both sides.
    copied(&stage.borrow(), pages);
    encoded(&stage.borrow(), pages, scale.read_rows);
    let runs = pairs(
        scale.pairs,
        |_| rate(encoded(&stage.borrow(), pages, scale.read_rows)),
        |_| rate(copied(&stage.borrow(), pages)),
    );
    let each = |figure: &dyn Fn(&(f64, f64)) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    let (whole, few) = delivered(&mut stage.borrow_mut(), scale.delivered_rows / 10);
    let (rate_of_many, many) = delivered(&mut stage.borrow_mut(), scale.delivered_rows);
    vec![
        Figure::new("read and encoded", "rows/s", each(&|(ours, _)| *ours)),
        Figure::new("COPY into nothing", "rows/s", each(&|(_, copy)| *copy)),
        Figure::new("read and encoded / COPY", "", each(&|(ours, copy)| ours / copy))
            .with(Target::AtLeast(0.7)),
        Figure::new(
            format!("delivered, {} rows", scale.delivered_rows),
            "rows/s",
            vec![rate_of_many],
        ),
        Figure::new(
            format!("delivered, {} rows", scale.delivered_rows / 10),
            "rows/s",
            vec![whole],
        ),
        Figure::new(
            format!("peak, {} rows", scale.delivered_rows),
            "MiB",
            vec![many / MIB],
        ),
        Figure::new(
            format!("peak, {} rows", scale.delivered_rows / 10),
            "MiB",
            vec![few / MIB],
        ),
    ]
}

fn range(pages: u64, number: u64, of: u64) -> PageRange {
    PageRange {
        first: pages * number / of,
        end: (number + 1 < of).then(|| pages * (number + 1) / of),
    }
}

/// COPY by so many psql, each of its part, into nothing.
fn copied(stage: &Stage<'_>, pages: u64) -> Duration {
    let start = Instant::now();
    let copies: Vec<Child> = (0..WORKERS)
        .map(|number| {
            let PageRange { first, end } = range(pages, number, WORKERS);
            let end = end.map_or_else(String::new, |end| format!(" AND ctid < '({end},0)'"));
            let copy = format!("COPY (SELECT * FROM ONLY orders WHERE ctid >= '({first},0)'{end}) TO STDOUT");
            let mut psql = stage.command("psql");
            psql.args(["-X", "-q", "-d", &stage.url(), "-c", &copy])
                .stdout(Stdio::null());
            psql.spawn().expect("psql starts")
        })
        .collect();
    for mut copy in copies {
        assert!(copy.wait().expect("psql ends").success());
    }
    start.elapsed()
}

/// The same by as many readers, each row encoded and dropped.
fn encoded(stage: &Stage<'_>, pages: u64, expected: usize) -> Duration {
    let url = PgUrl::parse(&stage.url()).expect("a cluster's URL is valid");
    let runtime = Runtime::new().expect("a runtime starts");
    let start = Instant::now();
    let rows = runtime
        .block_on(encode_all(url, pages))
        .expect("the table is read");
    assert_eq!(rows, expected);
    start.elapsed()
}

async fn encode_all(url: PgUrl, pages: u64) -> Result<usize, StoreError> {
    let pool = connect(&url).await?;
    let orders = relations(&pool)
        .await?
        .into_iter()
        .find(|relation| relation.name == "orders")
        .expect("the table is there");
    let mut leader = Reading::of(&url, &orders).await?.expect("the table is there");
    let exported = leader.take_snapshot().await?;
    let (shape, orders) = leader.look(&orders).await?.expect("the table is there");
    let (next, encoded) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut sessions = vec![leader];
    for _ in 1..WORKERS {
        let session = Reading::under(&url, &orders, &exported).await?;
        sessions.push(session.expect("nobody alters the table"));
    }
    let mut readers = JoinSet::new();
    for session in sessions {
        let reader = RowReader::new(&orders, &shape, &exported.taken_at).expect("it has few columns");
        let (orders, shape) = (orders.clone(), shape.clone());
        let (next, encoded) = (Arc::clone(&next), Arc::clone(&encoded));
        readers
            .spawn(async move { encode(session, reader, (&orders, &shape, pages), (&next, &encoded)).await });
    }
    while let Some(reader) = readers.join_next().await {
        reader.expect("a reader does not panic")?;
    }
    Ok(encoded.load(Ordering::Relaxed))
}

async fn encode(
    mut session: Reading,
    mut reader: RowReader,
    (orders, shape, pages): (&Relation, &pgstream::snapshot::model::Shape, u64),
    (next, encoded): (&AtomicUsize, &AtomicUsize),
) -> Result<(), StoreError> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed) as u64;
        if number >= RANGES {
            return Ok(());
        }
        let mut rows = session.rows(orders, shape, range(pages, number, RANGES)).await?;
        let mut count = 0;
        while let Some(line) = rows.next().await? {
            let (_, values) = version(&line).expect("a row has a version");
            let (record, len) = reader.record(values).expect("a row can be read");
            let bound = event::encoded_len_bound(&record, len, None);
            std::hint::black_box(event::encode(&record, Lsn::ZERO, bound, None).payload);
            count += 1;
        }
        encoded.fetch_add(count, Ordering::Relaxed);
    }
}

/// Delivers so many rows; rows a second, and the peak of resident memory in bytes.
fn delivered(stage: &mut Stage<'_>, rows: usize) -> (f64, f64) {
    let receiver = Receiver::start(Answering::AtOnce, false);
    let table = format!("delivered_{rows}");
    stage.sql.run(&format!(
        "CREATE TABLE {table} AS SELECT id, id % 5000 AS customer, repeat('note ', 20) AS note
           FROM generate_series(1, {rows}) AS id;
         ALTER TABLE {table} ADD PRIMARY KEY (id)"
    ));
    stage.subscribe(&receiver.url(), &table);
    receiver.expect(rows);
    let child = Command::new(env!("CARGO_BIN_EXE_pgstream"))
        .args([
            "snapshot",
            "--tables",
            &table,
            "--replication-slot",
            SLOT,
            "--pgurl",
            &stage.url(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let id = child.id();
    let peak = peak_of(child);
    let span = receiver.wait(super::DEADLINE);
    assert_eq!(receiver.count(), rows, "process {id} has sent each row once");
    let rate = (rows - 1) as f64 / (span.last - span.first).as_secs_f64();
    stage.sql.run(&format!("DROP TABLE {table}"));
    (rate, peak)
}

/// Waits for the end of a process and gives the most memory that it had, in bytes.
fn peak_of(mut child: Child) -> f64 {
    let mut peak = 0;
    let path = format!("/proc/{}/status", child.id());
    while child.try_wait().expect("it can be waited for").is_none() {
        if let Ok(status) = std::fs::read_to_string(&path) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            peak = kilobytes.unwrap_or_default().max(peak);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(child.wait().expect("it has ended").success());
    (peak * 1024) as f64
}
