//! Which metrics there are. `docs/metrics.md` lists them, and a test compares the two.

use std::time::{Instant, UNIX_EPOCH};

use super::endpoints::Standing;
use super::families::{Families, number};
use super::latest::Known;
use super::monitor::{Engine, Monitor, Outboxes};
use super::process;
use crate::delivery::Counts;
use crate::endpoint::HealthState;
use crate::replication::{ConnectionState, Seen};
use crate::store::figures::StoreFigures;

/// Everything that is known now.
pub(super) fn metrics(monitor: &Monitor, store_answers: bool, known: &Known<StoreFigures>) -> String {
    let mut families = Families::default();
    program(&mut families, monitor);
    stream(&mut families, &monitor.vitals.seen(), monitor);
    intake(&mut families, monitor);
    if let Some(engine) = monitor.engine.load().as_deref() {
        let outboxes = Monitor::outboxes(engine, known);
        deliveries(&mut families, &outboxes.counts);
        endpoints(&mut families, &outboxes);
        resources(&mut families, engine, &outboxes);
    }
    store(&mut families, store_answers, known);
    families.text()
}

fn program(to: &mut Families, monitor: &Monitor) {
    let version = env!("CARGO_PKG_VERSION");
    to.gauges(
        "pgstream_build_info",
        "Always 1; the version of the program is its label.",
        [(vec![("version", version)], 1.0)],
    );
    let started = monitor.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    to.gauge(
        "process_start_time_seconds",
        "When the program was started, as Unix time.",
        started.as_secs_f64(),
    );
    if let Some(bytes) = process::resident_bytes() {
        to.level(
            "process_resident_memory_bytes",
            "Memory of the process that is in use.",
            bytes,
        );
    }
}

fn stream(to: &mut Families, seen: &Seen, monitor: &Monitor) {
    let now = Instant::now();
    let ago = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
    let is = |state: ConnectionState| if state == seen.state { 1.0 } else { 0.0 };
    to.gauges(
        "pgstream_connection_state",
        "1 for the state of the replication connection, 0 for the others.",
        ConnectionState::ALL.map(|state| (vec![("state", state.as_str())], is(state))),
    );
    to.gauge(
        "pgstream_connection_state_seconds",
        "How long the replication connection has been in its state.",
        ago(seen.since),
    );
    to.counter(
        "pgstream_reconnects_total",
        "How often the stream was started again after its connection was lost.",
        seen.reconnects,
    );
    to.counters(
        "pgstream_server_notices_total",
        "Warnings that PostgreSQL sent within the stream; missing_identity: a change that it left out.",
        [
            (vec![("kind", "missing_identity")], seen.missing_identities),
            (vec![("kind", "other")], seen.other_notices),
        ],
    );
    if let Some(heard) = seen.heard {
        to.gauge(
            "pgstream_last_heard_seconds",
            "How long ago PostgreSQL last sent anything.",
            ago(heard),
        );
    }
    let paused = seen.paused.map_or(0.0, ago);
    to.gauge(
        "pgstream_reading_paused_seconds",
        "How long nothing has been read because something is waited for; 0 while it is read.",
        paused,
    );
    to.level(
        "pgstream_received_lsn_bytes",
        "The received LSN, as a number of bytes.",
        seen.received.as_u64(),
    );
    to.level(
        "pgstream_confirmed_lsn_bytes",
        "The confirmed LSN, as a number of bytes.",
        seen.confirmed.as_u64(),
    );
    let behind = seen.wal_end.as_u64().saturating_sub(seen.confirmed.as_u64());
    to.level(
        "pgstream_stream_lag_bytes",
        "WAL between what is confirmed and the end that PostgreSQL last told of within the stream.",
        behind,
    );
    if let Some(lag) = monitor.slot_lag.get() {
        to.level(
            "pgstream_slot_lag_bytes",
            "WAL between what the slot has confirmed and the end of the WAL, as PostgreSQL says.",
            lag,
        );
    }
}

fn intake(to: &mut Families, monitor: &Monitor) {
    let taken = monitor.counts.taken();
    to.counter(
        "pgstream_records_received_total",
        "Records that came from the stream, begins and commits included.",
        taken.records,
    );
    to.counter(
        "pgstream_received_bytes_total",
        "Bytes of the records that came from the stream.",
        taken.record_bytes,
    );
    to.counter(
        "pgstream_records_parsed_total",
        "Records that were read and dealt with.",
        taken.parsed,
    );
    to.counter(
        "pgstream_records_unparsable_total",
        "Records that could not be read and became dead letters.",
        taken.unparsable,
    );
    to.counter(
        "pgstream_records_matched_total",
        "Changes and messages that at least one endpoint receives.",
        taken.matched,
    );
    to.counter(
        "pgstream_transactions_received_total",
        "Transactions read to their commit, and messages outside of any.",
        taken.transactions,
    );
    to.counter(
        "pgstream_snapshot_rows_total",
        "Rows of tables that were read beside the stream.",
        taken.rows,
    );
    let subscriptions = monitor.subscriptions.current().subscriptions().len();
    to.level(
        "pgstream_subscriptions",
        "Subscriptions in use.",
        subscriptions as u64,
    );
}

fn deliveries(to: &mut Families, counts: &Counts) {
    to.counter(
        "pgstream_deliveries_delivered_total",
        "Deliveries that were answered with 2xx.",
        counts.delivered,
    );
    to.counter(
        "pgstream_delivery_attempts_failed_total",
        "Exchanges that failed and lead to another try or a dead letter.",
        counts.failed,
    );
    to.counter(
        "pgstream_deliveries_dead_lettered_total",
        "Deliveries that became dead letters.",
        counts.dead,
    );
    to.counter(
        "pgstream_deliveries_discarded_total",
        "Deliveries discarded because no subscription matches them any more.",
        counts.discarded,
    );
    to.counter(
        "pgstream_deliveries_appended_to_backlog_total",
        "Deliveries written to a backlog.",
        counts.appended,
    );
    to.counter(
        "pgstream_endpoint_health_changes_total",
        "Changes of the health of endpoints.",
        counts.health_changes,
    );
}

fn endpoints(to: &mut Families, outboxes: &Outboxes) {
    let states = HealthState::ALL.iter().zip(outboxes.health);
    to.gauges(
        "pgstream_endpoints",
        "Endpoints by their health.",
        states.map(|(state, endpoints)| (vec![("state", state.as_str())], number(endpoints))),
    );
    let mut each = |name: &str, help: &str, value: fn(&Standing) -> f64| {
        let series = outboxes.shown.iter();
        let series = series.map(|one| (vec![("endpoint", one.label.as_str())], value(one)));
        to.gauges(name, help, series);
    };
    each(
        "pgstream_endpoint_up",
        "1 while an endpoint takes what it gets; 0 while it is failing, down, probed, paused or disabled.",
        |one| if one.up { 1.0 } else { 0.0 },
    );
    each(
        "pgstream_endpoint_exchanges_in_flight",
        "Exchanges with an endpoint under way.",
        |one| number(one.in_flight as u64),
    );
    each(
        "pgstream_endpoint_deliveries_in_memory",
        "Deliveries of an endpoint in memory that are not settled.",
        |one| number(one.in_memory as u64),
    );
    each(
        "pgstream_backlog_rows",
        "Rows in the backlog of an endpoint.",
        |one| number(one.backlog_rows),
    );
    each(
        "pgstream_backlog_bytes",
        "Bytes of payload in the backlog of an endpoint.",
        |one| number(one.backlog_bytes),
    );
    each(
        "pgstream_backlog_age_seconds",
        "How long the first row in the backlog of an endpoint has waited; 0 without a backlog.",
        |one| one.backlog_age.as_secs_f64(),
    );
}

fn resources(to: &mut Families, engine: &Engine, outboxes: &Outboxes) {
    let Engine { dispatcher, budget } = engine;
    to.level(
        "pgstream_queue_bytes",
        "Bytes of the memory budget in use.",
        budget.used(),
    );
    to.level("pgstream_queue_limit_bytes", "The memory budget.", budget.limit());
    to.level(
        "pgstream_deliveries_in_memory",
        "Deliveries in memory that are not settled.",
        outboxes.in_memory as u64,
    );
    to.level(
        "pgstream_exchanges_in_flight",
        "Exchanges under way.",
        outboxes.in_flight as u64,
    );
    let workers = dispatcher.workers();
    to.level(
        "pgstream_worker_threads",
        "Threads for exchanges.",
        workers.running as u64,
    );
    to.level(
        "pgstream_worker_threads_idle",
        "Threads for exchanges that have nothing to do.",
        workers.idle as u64,
    );
    to.level(
        "pgstream_worker_threads_limit",
        "The most threads for exchanges that there may be.",
        workers.limit as u64,
    );
    let timings = dispatcher.timings();
    to.durations(
        "pgstream_exchange_duration_seconds",
        "How long an exchange takes, whatever comes of it.",
        &timings.exchanges,
    );
    to.durations(
        "pgstream_commit_to_delivery_seconds",
        "From the commit of a change by PostgreSQL's clock to its delivery by ours, backlog included.",
        &timings.commit_to_delivery,
    );
}

fn store(to: &mut Families, store_answers: bool, known: &Known<StoreFigures>) {
    let up = if store_answers { 1.0 } else { 0.0 };
    to.gauge(
        "pgstream_store_up",
        "1 if the store has answered in time; the figures below may take longer.",
        up,
    );
    let Some((at, figures)) = &known.value else {
        return;
    };
    to.gauge(
        "pgstream_store_figures_age_seconds",
        "How old the figures of the store are.",
        at.elapsed().as_secs_f64(),
    );
    to.level(
        "pgstream_dead_letters",
        "Dead letters present; 100000 stands for more as well.",
        figures.dead_letters,
    );
    to.level(
        "pgstream_held_changes",
        "Changes held back while rows are read; 100000 stands for more as well.",
        figures.held_changes,
    );
    let tables = figures.snapshot_tables.iter();
    to.gauges(
        "pgstream_snapshot_tables",
        "Tables whose existing rows are read or were, by how far that is.",
        tables.map(|(state, tables)| (vec![("state", state.as_str())], number(*tables))),
    );
}
