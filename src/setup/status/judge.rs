//! What an operator would make of it: problems and hints, each with what mends it. Pure.

use super::document::{
    ConfigReport, Initialisation, MigrationReport, Reach, SlotReport, SourceReport, Status,
};
use super::source::SourceFacts;
use super::store::StoreFacts;
use super::{StatusOptions, deliveries, history, identity};
use crate::config::Targets;
use crate::setup::findings::{DOCUMENT_VERSION, Finding, NotLookedAt, Verdict};
use crate::setup::preconditions::{self, Wanted};
use crate::setup::{slot_risk, synchronous};
use crate::store::server::Server;
use crate::store::slot_status::SlotStatus;

/// What is left to be said where the configuration does not say what to look at.
pub(super) fn without_targets(config: ConfigReport) -> Status {
    let problems = config_problems(&config);
    Status {
        version: DOCUMENT_VERSION,
        status: Verdict::Unknown,
        problems,
        hints: Vec::new(),
        not_looked_at: Vec::new(),
        initialisation: Initialisation::default(),
        slot: None,
        remembered: None,
        config,
        source: SourceReport::default(),
        store: Reach::default(),
        tables_without_replica_identity: None,
        endpoints_in_trouble: None,
        backlog: None,
        dead_letters: None,
        snapshot: None,
    }
}

/// Makes the document of what was found.
pub(super) fn judge(
    options: &StatusOptions,
    targets: &Targets,
    config: ConfigReport,
    [source, store]: [Reach; 2],
    (of_source, of_store): (Option<SourceFacts>, Option<StoreFacts>),
) -> Status {
    let mut problems = config_problems(&config);
    let mut hints = Vec::new();
    problems.extend(unreachable("source", &source));
    if targets.source != targets.store {
        problems.extend(unreachable("store", &store));
    }
    let is_anything_reached = of_source.is_some() || of_store.is_some();
    let of_source = of_source.unwrap_or_default();
    let of_store = of_store.unwrap_or_default();
    initialisation_problems(targets, &of_source, &of_store, &mut problems);
    let synchronous = synchronous_standby(targets, &of_source);
    let unidentified = identity::unidentified(&of_source, &of_store, (&options.filter, &options.plugin));
    problems.extend(of_source.server.iter().flat_map(server_problems));
    hints.extend(of_source.server.as_ref().and_then(encoding_hint));
    slot_findings(targets, &of_source, &mut problems, &mut hints);
    history::findings(targets, (&of_source, &of_store), &mut problems, &mut hints);
    problems.extend(synchronous.clone().flatten());
    problems.extend(unidentified.iter().flatten().map(identity::problem));
    deliveries::findings(&of_store, &mut problems, &mut hints);
    let not_looked_at = [of_source.missing, of_store.missing].concat();
    problems.extend(not_looked_at.iter().map(NotLookedAt::finding));
    let (server_version, encoding) = of_source
        .server
        .map(|server| (server.version, server.encoding))
        .unzip();
    Status {
        version: DOCUMENT_VERSION,
        status: Verdict::of(is_anything_reached, &problems),
        problems,
        hints,
        not_looked_at,
        initialisation: Initialisation {
            schema_exists: of_source.schema.map(|found| found.schema),
            schema_log_exists: of_source.schema.map(|found| found.schema_log),
            source_migration: of_source.migration,
            store_migration: of_store.migration,
            slot_name: Some(targets.slot.clone()),
        },
        slot: of_source
            .slot
            .flatten()
            .map(|slot| slot_report(&targets.slot, slot)),
        remembered: of_store.remembered.flatten().map(history::report),
        config,
        source: SourceReport {
            reach: source,
            server_version,
            encoding,
            synchronous_standby: synchronous.map(|found| found.is_some()),
            synchronous_standby_names: of_source.synchronous.map(|found| found.names),
        },
        store,
        tables_without_replica_identity: unidentified,
        endpoints_in_trouble: of_store.troubled,
        backlog: of_store.backlog,
        dead_letters: of_store.dead_letters,
        snapshot: of_store.snapshot,
    }
}

/// One problem for each error of the configuration.
pub(in crate::setup) fn config_problems(config: &ConfigReport) -> Vec<Finding> {
    let problem = |error: &String| {
        Finding::new(
            "config_invalid",
            format!("invalid configuration: {error}"),
            "correct the setting; `pgstream config show` prints what holds",
        )
    };
    config.errors.iter().map(problem).collect()
}

/// The problem of a database that does not answer.
pub(in crate::setup) fn unreachable(which: &str, reach: &Reach) -> Option<Finding> {
    let error = reach.error.as_ref()?;
    let code = if which == "source" {
        "source_unreachable"
    } else {
        "store_unreachable"
    };
    Some(Finding::new(
        code,
        format!("the {which} cannot be reached: {error}"),
        "check that the server runs and accepts connections from here, and that the URL, the role and its password are \
         right",
    ))
}

fn initialisation_problems(
    targets: &Targets,
    of_source: &SourceFacts,
    of_store: &StoreFacts,
    problems: &mut Vec<Finding>,
) {
    let is_new = |migration: &Option<MigrationReport>| migration.is_some_and(|found| found.version.is_none());
    if is_new(&of_source.migration) {
        problems.push(Finding::new(
            "not_initialised",
            "the source is not initialised: its schema pgstream lacks the schema log",
            "run pgstream init",
        ));
    }
    if is_new(&of_store.migration) {
        problems.push(Finding::new(
            "not_initialised",
            "the store is not initialised: its schema pgstream lacks the table of subscriptions",
            "run pgstream init, or pgstream run",
        ));
    }
    for (which, migration) in [("source", of_source.migration), ("store", of_store.migration)] {
        problems.extend(migration.and_then(|found| migration_problem(which, found)));
    }
    if let Some(None) = of_source.slot {
        problems.push(Finding::new(
            "slot_missing",
            format!("replication slot {} does not exist", targets.slot),
            history::remedy_of_a_missing_slot(of_store),
        ));
    }
}

fn migration_problem(which: &str, found: MigrationReport) -> Option<Finding> {
    let version = found.version?;
    let (code, message, remedy) = match found.state {
        "pending" => (
            "migrations_pending",
            format!(
                "the {which} is at migration {version} and lacks {}",
                found.pending
            ),
            "run pgstream init",
        ),
        "failed" => (
            "migration_failed",
            format!("a migration of the {which} was not completed"),
            "run pgstream tear-down and then init",
        ),
        "other_release" => (
            "other_release",
            format!("the {which} was migrated by another release, up to {version}"),
            "use the release that did it, or run tear-down and then init",
        ),
        _ => return None,
    };
    Some(Finding::new(code, message, remedy))
}

/// What the server lacks now, whatever it was when `init` ran.
fn server_problems(server: &Server) -> Vec<Finding> {
    let nothing_is_to_be_made = Wanted {
        slot: false,
        stream: true,
        objects: false,
    };
    let lacking = preconditions::of_source(server, nothing_is_to_be_made);
    lacking.into_iter().map(Finding::from).collect()
}

/// A database that may hold anything.
pub(in crate::setup) fn encoding_hint(server: &Server) -> Option<Finding> {
    (server.encoding == "SQL_ASCII").then(|| {
        Finding::new(
            "encoding_unknown",
            format!(
                "database {} has no encoding (SQL_ASCII): a row that is not UTF-8 becomes a dead letter",
                server.database
            ),
            "move it to a database of encoding UTF8",
        )
    })
}

fn slot_findings(
    targets: &Targets,
    facts: &SourceFacts,
    problems: &mut Vec<Finding>,
    hints: &mut Vec<Finding>,
) {
    let Some(Some(found)) = &facts.slot else {
        return;
    };
    let name = &targets.slot;
    let usable = preconditions::check_slot(name, &found.slot, &targets.source.dbname)
        .and_then(|()| preconditions::check_slot_usable(name, &found.slot));
    if let Err(lacking) = usable {
        problems.push(lacking.into());
        return;
    }
    problems.extend(slot_risk::finding(name, found));
    if !found.active {
        let idle = Finding::new(
            "slot_inactive",
            format!(
                "nobody streams from replication slot {name}, which keeps {} bytes of WAL",
                found.retained_bytes.unwrap_or_default()
            ),
            "start pgstream run, or remove the slot with pgstream tear-down",
        );
        // Beyond max_wal_size the server keeps WAL for the sake of slots only.
        if found.slot.wal_status.as_deref() == Some("extended") {
            problems.push(idle);
        } else {
            hints.push(idle);
        }
    }
}

/// `None` where it could not be looked at.
fn synchronous_standby(targets: &Targets, facts: &SourceFacts) -> Option<Option<Finding>> {
    let found = facts.synchronous.as_ref()?;
    let sync_state = facts
        .slot
        .iter()
        .flatten()
        .find_map(|slot| slot.sync_state.as_deref());
    Some(synchronous::finding(
        sync_state,
        &found.names,
        targets.application_name(),
        &found.standbys,
    ))
}

fn slot_report(name: &str, found: SlotStatus) -> SlotReport {
    SlotReport {
        name: name.to_owned(),
        plugin: found.slot.plugin,
        database: found.slot.database,
        active: found.active,
        active_pid: found.slot.active_pid,
        confirmed_flush_lsn: found.confirmed_flush_lsn,
        restart_lsn: found.restart_lsn,
        lag_bytes: found.lag_bytes,
        lag_seconds: found.lag_seconds,
        retained_bytes: found.retained_bytes,
        wal_status: found.slot.wal_status,
        safe_wal_size: found.safe_wal_size,
        max_slot_wal_keep_size: found.max_slot_wal_keep_size,
        invalidation_reason: found.slot.invalidation_reason,
        failover: found.slot.failover,
        synced: found.slot.synced,
        sync_state: found.sync_state,
    }
}
