//! Suite `isolation`: endpoints that hang or fail cost the others nothing.
//!
//! Every endpoint is a path of one receiver that takes a while for each answer, so that what is measured is whether
//! requests are under way at one time, and not how fast this machine is. The figures are printed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pgstream::delivery::Target;
use serde_json::json;

use crate::support::program::Program;
use crate::support::receiver::{Action, Receiver, Request};
use crate::support::world::{DEADLINE, World};

/// All endpoints.
const ENDPOINTS: usize = 100;
/// Rows, each a lane of its own.
const ROWS: usize = 4;
/// How often each row changes in one measurement.
const CHANGES: usize = 60;
/// How long an answer takes.
const ANSWER: Duration = Duration::from_millis(30);
/// What may be taken beside the bound of the payloads: 48 MiB, less what the program takes when it does nothing. That is
/// left out here, since it is more without optimisation.
const AROUND: u64 = (48 - 10) << 20;
/// The share of the undisturbed throughput that has to remain. On an idle machine it is 0.9 and more.
const REMAINS: f64 = 0.25;

/// The bound of the payloads in memory, in MiB: enough for what one measurement writes.
const ENOUGH: u64 = 16;

const SETTINGS: [(&str, &str); 3] = [
    ("PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT", "1s"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL", "50ms"),
    ("PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL", "1s"),
];

/// What an endpoint that is not healthy does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bad {
    Hangs,
    Fails,
}

/// What came so far, counted as it came: looking through all requests would take longer and longer.
struct Came {
    healthy: AtomicUsize,
    last: Mutex<Instant>,
}

/// The endpoint that a request is for.
fn endpoint(request: &Request) -> usize {
    request.path.trim_start_matches('/').parse().unwrap()
}

/// A receiver whose first endpoints are these bad ones, until they are `cured`.
fn receiver(bad: Vec<Bad>, came: &Arc<Came>, cured: &Arc<AtomicBool>) -> Receiver {
    let (came, cured) = (Arc::clone(came), Arc::clone(cured));
    Receiver::start(move |request| match bad.get(endpoint(request)) {
        Some(_) if cured.load(Ordering::SeqCst) => Action::status(200),
        Some(Bad::Hangs) => Action::Hang,
        Some(Bad::Fails) => Action::status(500),
        None => {
            *came.last.lock().unwrap() = Instant::now();
            came.healthy.fetch_add(1, Ordering::SeqCst);
            Action::delayed(200, ANSWER)
        }
    })
}

fn subscribe(program: &Program, receiver: &Receiver, endpoints: std::ops::Range<usize>) {
    for endpoint in endpoints {
        program.subscribe(&json!({"url": receiver.url(&format!("/{endpoint}")), "table": "items"}));
    }
}

/// Changes every row as often as a measurement takes, and waits until the healthy ones have got everything. Returns
/// how many deliveries they got each second, and the most memory that the program took.
fn measure(world: &mut World, program: &Program, came: &Came, healthy: usize) -> (f64, u64) {
    let (before, begun) = (came.healthy.load(Ordering::SeqCst), Instant::now());
    let wanted = healthy * ROWS * CHANGES;
    world.sql.run(&format!(
        "DO 'BEGIN FOR change IN 1..{CHANGES} LOOP UPDATE items SET version = version + 1; COMMIT; END LOOP; END'"
    ));
    let mut resident = 0;
    while came.healthy.load(Ordering::SeqCst) - before < wanted {
        assert!(begun.elapsed() < DEADLINE, "the healthy endpoints are held up");
        resident = program.resident().max(resident);
        thread::sleep(Duration::from_millis(20));
    }
    let taken = came.last.lock().unwrap().duration_since(begun);
    (wanted as f64 / taken.as_secs_f64(), resident)
}

/// Measures the healthy endpoints alone, then beside the bad ones.
fn cost_the_others_nothing(bad: Vec<Bad>, queue: u64) {
    let mut world = World::new(&[]);
    world.sql.run(&format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL, filler text NOT NULL);
         INSERT INTO items SELECT n, 0, repeat('x', 1000) FROM generate_series(1, {ROWS}) n"
    ));
    let came = Arc::new(Came {
        healthy: AtomicUsize::new(0),
        last: Mutex::new(Instant::now()),
    });
    let (worse, healthy) = (bad.len(), ENDPOINTS - bad.len());
    let cured = Arc::new(AtomicBool::new(false));
    let receiver = receiver(bad, &came, &cured);
    let bound = format!("{queue}MiB");
    let settings: Vec<(&str, &str)> = SETTINGS
        .into_iter()
        .chain([("PGSTREAM_WEBHOOK_NOTIFIER_MAX_QUEUE_BYTES", bound.as_str())])
        .collect();
    let program = world.start(&settings);
    let idle = program.resident();
    // The first rows are nobody's: they are read before anybody subscribes.
    world.sql.wait_until_settled();
    subscribe(&program, &receiver, worse..ENDPOINTS);
    // The first opens the connections.
    measure(&mut world, &program, &came, healthy);
    let (alone, _) = measure(&mut world, &program, &came, healthy);
    subscribe(&program, &receiver, 0..worse);
    let (beside, resident) = measure(&mut world, &program, &came, healthy);
    println!(
        "{healthy} healthy endpoints got {alone:.0} deliveries/s alone and {beside:.0} beside {worse} bad ones ({:.0} %); \
         {} MiB resident, {} MiB when idle",
        100.0 * beside / alone,
        resident >> 20,
        idle >> 20,
    );
    assert!(beside > alone * REMAINS, "{beside} of {alone} deliveries/s");
    assert!(
        resident - idle < (queue << 20) + AROUND,
        "{idle} bytes resident at first, then up to {resident}"
    );
    // The slot goes on although they still hang: what they have not got is in the backlog.
    world.sql.wait_until_settled();
    assert!(
        world
            .sql
            .value::<bool>("SELECT count(*) > 0 FROM pgstream.webhook_backlog")
    );
    cured.store(true, Ordering::SeqCst);
    world
        .sql
        .wait_for("SELECT count(*) = 0 FROM pgstream.webhook_backlog");
    let (status, log) = program.terminate();
    assert!(status.success());
    let failed: HashSet<(&str, &str)> = log
        .iter()
        .filter(|line| line["msg"] == "delivery failed")
        .filter_map(|line| Some((line["endpoint"].as_str()?, line["webhook_id"].as_str()?)))
        .collect();
    // Each healthy one got everything, and nothing twice but what it did not answer in time, as can be on a busy machine;
    // the others got all of their share.
    let requests = receiver.requests();
    for number in 0..ENDPOINTS {
        let mut ids: Vec<&str> = requests
            .iter()
            .filter(|request| endpoint(request) == number)
            .map(|request| request.header("webhook-id").unwrap())
            .collect();
        let url = Arc::from(receiver.url(&format!("/{number}")));
        let shown = Target::parse(&url).unwrap().to_string();
        ids.sort_unstable();
        let again = ids.windows(2).filter(|pair| pair[0] == pair[1]);
        let unasked = again
            .map(|pair| pair[0])
            .find(|id| !failed.contains(&(&*shown, *id)));
        assert_eq!(unasked, None, "endpoint {number} got this twice");
        ids.dedup();
        let measurements = if number < worse { 1 } else { 3 };
        assert_eq!(ids.len(), measurements * ROWS * CHANGES, "endpoint {number}");
    }
}

#[test]
fn one_endpoint_that_hangs_and_one_that_fails_cost_the_others_nothing() {
    cost_the_others_nothing(vec![Bad::Hangs, Bad::Fails], ENOUGH);
}

#[test]
fn fifty_endpoints_that_hang_cost_the_others_nothing() {
    cost_the_others_nothing(vec![Bad::Hangs; ENDPOINTS / 2], ENOUGH);
}
