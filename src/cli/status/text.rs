//! The status for people: the same as the document, line by line.

use crate::cli::findings::{bytes_or, list, section};
use crate::operator::backfills::BackfillTable;
use crate::setup::status::document::{
    Initialisation, RememberedReport, SlotReport, SnapshotReport, SourceReport, Status, counted,
};

/// Everything below the first line.
pub(super) fn of(found: &Status) -> String {
    let mut text = String::new();
    section(
        &mut text,
        "Initialisation status",
        &initialisation(&found.initialisation, found.slot.as_ref()),
    );
    if let Some(slot) = &found.slot {
        section(&mut text, "Replication slot status", &slot_lines(slot));
    }
    if let Some(known) = &found.remembered {
        section(&mut text, "Remembered source", &remembered(known));
    }
    section(
        &mut text,
        "Config status",
        &[("Valid", Some(found.config.valid.to_string()))],
    );
    section(&mut text, "Source status", &source_lines(&found.source));
    section(
        &mut text,
        "Store status",
        &[("Reachable", Some(found.store.reachable.to_string()))],
    );
    section(&mut text, "Delivery status", &delivery_lines(found));
    endpoints(&mut text, found);
    records(&mut text, found);
    if let Some(snapshot) = &found.snapshot {
        tables(&mut text, snapshot);
    }
    list(&mut text, "Problems", &found.problems);
    list(&mut text, "Hints", &found.hints);
    text
}

fn initialisation<'a>(found: &Initialisation, slot: Option<&SlotReport>) -> Vec<(&'a str, Option<String>)> {
    let version =
        |version: Option<i64>| version.map_or_else(|| "none".to_owned(), |version| version.to_string());
    let migration = found.source_migration;
    let store = found.store_migration;
    vec![
        (
            "Pgstream schema exists",
            found.schema_exists.map(|is| is.to_string()),
        ),
        (
            "Pgstream schema_log table exists",
            found.schema_log_exists.map(|is| is.to_string()),
        ),
        (
            "Migration current version",
            migration.map(|found| version(found.version)),
        ),
        ("Migration status", migration.map(|found| found.state.to_owned())),
        (
            "Store migration current version",
            store.map(|found| version(found.version)),
        ),
        (
            "Store migration status",
            store.map(|found| found.state.to_owned()),
        ),
        ("Replication slot name", found.slot_name.clone()),
        (
            "Replication slot plugin",
            slot.map(|slot| or_none(slot.plugin.as_deref())),
        ),
        (
            "Replication slot database",
            slot.map(|slot| or_none(slot.database.as_deref())),
        ),
    ]
}

fn slot_lines<'a>(slot: &SlotReport) -> Vec<(&'a str, Option<String>)> {
    let mut lines = vec![
        ("Active", Some(slot.active.to_string())),
        (
            "PID",
            Some(
                slot.active_pid
                    .map_or_else(|| "none".to_owned(), |pid| pid.to_string()),
            ),
        ),
        ("Confirmed LSN", slot.confirmed_flush_lsn.clone()),
        ("Restart LSN", slot.restart_lsn.clone()),
        (
            "Lag in bytes",
            slot.lag_bytes.map(|bytes| bytes_or(Some(bytes), "")),
        ),
        (
            "Lag in seconds",
            slot.lag_seconds.map(|seconds| format!("{seconds:.3}")),
        ),
        (
            "Retained WAL",
            slot.retained_bytes.map(|bytes| bytes_or(Some(bytes), "")),
        ),
        ("WAL status", slot.wal_status.clone()),
        (
            "Safe WAL size",
            Some(
                slot.safe_wal_size
                    .map_or_else(|| "unlimited".to_owned(), |size| size.to_string()),
            ),
        ),
        (
            "max_slot_wal_keep_size",
            Some(bytes_or(slot.max_slot_wal_keep_size, "unlimited")),
        ),
        ("Sync state", slot.sync_state.clone()),
        ("Failover", Some(slot.failover.to_string())),
        ("Synchronised", Some(slot.synced.to_string())),
    ];
    if let Some(reason) = &slot.invalidation_reason {
        lines.push(("Invalidation reason", Some(reason.clone())));
    }
    // Known only while something streams.
    lines.retain(|(name, value)| value.is_some() || !["Lag in seconds", "Sync state"].contains(name));
    lines
}

fn remembered<'a>(known: &RememberedReport) -> Vec<(&'a str, Option<String>)> {
    vec![
        ("System identifier", Some(known.system_identifier.clone())),
        ("Timeline", Some(known.timeline.to_string())),
        ("Epoch", Some(known.epoch.to_string())),
        ("Confirmed LSN", Some(known.confirmed_lsn.clone())),
    ]
}

fn source_lines<'a>(source: &SourceReport) -> Vec<(&'a str, Option<String>)> {
    let mut lines = vec![("Reachable", Some(source.reach.reachable.to_string()))];
    if source.reach.reachable {
        lines.extend([
            ("Server version", source.server_version.clone()),
            ("Encoding", source.encoding.clone()),
            (
                "Synchronous standby",
                source.synchronous_standby.map(|counts| counts.to_string()),
            ),
        ]);
    }
    lines
}

fn delivery_lines<'a>(found: &Status) -> Vec<(&'a str, Option<String>)> {
    let backlog = found.backlog.as_ref();
    let letters = found.dead_letters.as_ref();
    let held = found.snapshot.as_ref().map(|snapshot| &snapshot.held);
    let count = |count: usize| count.to_string();
    let mut lines = vec![
        (
            "Endpoints in trouble",
            found.endpoints_in_trouble.as_ref().map(|list| count(list.len())),
        ),
        ("Backlog events", backlog.map(|backlog| counted(backlog.rows))),
        (
            "Backlog bytes",
            backlog.map(|backlog| bytes_or(Some(backlog.bytes), "")),
        ),
        (
            "Dead letters",
            letters.map(|letters| counted(letters.undelivered)),
        ),
        (
            "Unparsable records",
            letters.map(|letters| counted(letters.without_endpoint)),
        ),
        (
            "Tables without replica identity",
            found
                .tables_without_replica_identity
                .as_ref()
                .map(|list| count(list.len())),
        ),
        ("Held changes", held.map(|held| counted(held.changes))),
        ("Held bytes", held.map(|held| bytes_or(Some(held.bytes), ""))),
    ];
    if let Some(oldest) = backlog.and_then(|backlog| backlog.oldest.clone()) {
        lines.insert(3, ("Backlog oldest", Some(oldest)));
    }
    lines
}

fn endpoints(text: &mut String, found: &Status) {
    let lines: Vec<(&str, Option<String>)> = found
        .endpoints_in_trouble
        .iter()
        .flatten()
        .map(|endpoint| (endpoint.url.as_str(), Some(endpoint.condition())))
        .collect();
    section_unless_empty(text, "Endpoints in trouble", &lines);
}

fn records(text: &mut String, found: &Status) {
    let records = found.dead_letters.iter().flat_map(|letters| &letters.records);
    let names: Vec<(String, String)> = records
        .map(|record| {
            let error = record.error.as_deref().unwrap_or(&record.reason);
            (
                format!("Dead letter {}", record.id),
                format!(
                    "{} at {} since {}: {error}",
                    record.reason, record.lsn, record.died_at
                ),
            )
        })
        .collect();
    section_unless_empty(text, "Unparsable records", &borrowed(&names));
}

fn tables(text: &mut String, snapshot: &SnapshotReport) {
    let progress = |state: &str, rows: u64, of: u64| format!("{state}, {rows} of about {of} rows");
    let tables = snapshot.tables.iter().map(|table| {
        let read = &table.read;
        (
            format!("{}.{}", read.schema, read.table),
            progress(read.state, read.rows, read.estimated_rows),
        )
    });
    section_unless_empty(text, "Snapshot status", &borrowed(&tables.collect::<Vec<_>>()));
    let backfills = snapshot.backfills.iter().map(|backfill| {
        let sum = |of: fn(&BackfillTable) -> u64| backfill.tables.iter().map(of).sum();
        (
            format!("Backfill {} for {}", backfill.id, backfill.url),
            progress(
                backfill.state,
                sum(|table| table.read.rows),
                sum(|table| table.read.estimated_rows),
            ),
        )
    });
    section_unless_empty(text, "Backfill status", &borrowed(&backfills.collect::<Vec<_>>()));
}

fn borrowed(lines: &[(String, String)]) -> Vec<(&str, Option<String>)> {
    lines
        .iter()
        .map(|(name, value)| (name.as_str(), Some(value.clone())))
        .collect()
}

fn section_unless_empty(text: &mut String, heading: &str, lines: &[(&str, Option<String>)]) {
    if !lines.is_empty() {
        section(text, heading, lines);
    }
}

fn or_none(text: Option<&str>) -> String {
    text.unwrap_or("none").to_owned()
}
