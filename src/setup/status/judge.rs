//! What an operator would make of it: problems and hints, each with what mends it. Pure.

use super::StatusOptions;
use super::document::{
    ConfigReport, Initialisation, MigrationReport, Reach, SlotReport, SourceReport, Status, UnidentifiedTable,
};
use super::source::SourceFacts;
use super::store::StoreFacts;
use crate::config::Targets;
use crate::filter::TableFilter;
use crate::setup::findings::{DOCUMENT_VERSION, Finding, NotLookedAt, Verdict};
use crate::setup::precondition::Quoted;
use crate::setup::preconditions::{self, Wanted};
use crate::setup::{slot_risk, synchronous};
use crate::store::replica_identity::Unidentified;
use crate::store::server::Server;
use crate::store::slot_status::SlotStatus;
use crate::subscription::model::{EventType, Subscription};

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
    let nothing_reached = of_source.is_none() && of_store.is_none();
    let of_source = of_source.unwrap_or_default();
    let of_store = of_store.unwrap_or_default();
    initialisation_problems(targets, &of_source, &of_store, &mut problems);
    let synchronous = synchronous_standby(targets, &of_source);
    let unidentified = unidentified(&of_source, &of_store, &options.filter);
    problems.extend(of_source.server.iter().flat_map(server_problems));
    hints.extend(of_source.server.as_ref().and_then(encoding_hint));
    slot_findings(targets, &of_source, &mut problems, &mut hints);
    problems.extend(synchronous.clone().flatten());
    problems.extend(unidentified.iter().flatten().map(identity_problem));
    store_findings(&of_store, &mut problems, &mut hints);
    let not_looked_at = [of_source.missing, of_store.missing].concat();
    problems.extend(not_looked_at.iter().map(NotLookedAt::finding));
    let (server_version, encoding) = of_source
        .server
        .map(|server| (server.version, server.encoding))
        .unzip();
    Status {
        version: DOCUMENT_VERSION,
        status: match (nothing_reached, problems.is_empty()) {
            (true, _) => Verdict::Unknown,
            (false, true) => Verdict::Healthy,
            (false, false) => Verdict::Problems,
        },
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
            "run pgstream init; where there was one, changes since it was dropped are not delivered",
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

/// The tables without a replica identity whose updates or deletes somebody is subscribed to.
fn unidentified(
    of_source: &SourceFacts,
    of_store: &StoreFacts,
    filter: &TableFilter,
) -> Option<Vec<UnidentifiedTable>> {
    let tables = of_source.unidentified.as_ref()?;
    let subscriptions = of_store.subscriptions.as_ref()?;
    let is_wanted = |table: &&Unidentified| {
        let root = table
            .root
            .as_ref()
            .map(|(schema, table)| (schema.as_str(), table.as_str()));
        let own = (table.schema.as_str(), table.table.as_str());
        let is_subscribed = |subscription: &Subscription| asks_for(subscription, own, root);
        filter.takes(own, root) && subscriptions.iter().any(is_subscribed)
    };
    let report = |table: &Unidentified| UnidentifiedTable {
        schema: table.schema.clone(),
        table: table.table.clone(),
        remedy: identity_remedy(table),
    };
    Some(tables.iter().filter(is_wanted).map(report).collect())
}

fn asks_for(subscription: &Subscription, own: (&str, &str), root: Option<(&str, &str)>) -> bool {
    let types = subscription.event_types;
    let is_any_or = |wanted: &str, name: &str| wanted.is_empty() || wanted == name;
    let names = |(schema, table): (&str, &str)| {
        is_any_or(&subscription.schema, schema) && is_any_or(&subscription.table, table)
    };
    (types.contains(EventType::Update) || types.contains(EventType::Delete))
        && (names(own) || root.is_some_and(names))
}

fn identity_remedy(table: &Unidentified) -> String {
    let name = format!("{}.{}", Quoted(&table.schema), Quoted(&table.table));
    match (table.has_key, &table.index) {
        (true, _) => format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT"),
        (false, Some(index)) => format!(
            "ALTER TABLE {name} REPLICA IDENTITY USING INDEX {}",
            Quoted(index)
        ),
        (false, None) => format!("ALTER TABLE {name} REPLICA IDENTITY FULL"),
    }
}

fn identity_problem(table: &UnidentifiedTable) -> Finding {
    let UnidentifiedTable {
        schema,
        table,
        remedy,
    } = table;
    let also = if remedy.ends_with(" FULL") {
        "; better still, ALTER TABLE … ADD PRIMARY KEY (…)"
    } else {
        ""
    };
    Finding::new(
        "no_replica_identity",
        format!("updates and deletes of {schema}.{table} are not sent: the table has no replica identity"),
        format!("run {remedy}{also}"),
    )
}

fn store_findings(facts: &StoreFacts, problems: &mut Vec<Finding>, hints: &mut Vec<Finding>) {
    for endpoint in facts.troubled.iter().flatten() {
        let since = endpoint
            .since
            .as_ref()
            .map_or_else(String::new, |since| format!(" since {since}"));
        let reason = endpoint
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(": {reason}"));
        let message = format!("endpoint {} is {}{since}{reason}", endpoint.url, endpoint.state);
        let url = &endpoint.url;
        let (list, remedy) = match endpoint.state.as_str() {
            "paused" => (&mut *problems, format!("run pgstream endpoints resume {url}")),
            "disabled" => (&mut *problems, format!("run pgstream endpoints enable {url}")),
            "draining" => (
                &mut *hints,
                "nothing is to be done: it takes its backlog".to_owned(),
            ),
            _ => (
                &mut *problems,
                format!("mend the receiver; pgstream endpoints show {url} tells its last error"),
            ),
        };
        list.push(Finding::new("endpoint_in_trouble", message, remedy));
    }
    if let Some(letters) = &facts.dead_letters {
        if letters.undelivered > 0 {
            problems.push(Finding::new(
                "dead_letters",
                format!(
                    "{} events could not be delivered and are dead letters",
                    letters.undelivered
                ),
                "look at them with pgstream deadletters list, and run pgstream deadletters replay or discard",
            ));
        }
        if letters.without_endpoint > 0 {
            problems.push(Finding::new(
                "unparsable_records",
                format!(
                    "{} records of the stream were delivered to nobody, because they could not be read or were skipped",
                    letters.without_endpoint
                ),
                "look at them with pgstream deadletters show ID, and run pgstream deadletters discard",
            ));
        }
    }
    snapshot_findings(facts, problems, hints);
}

fn snapshot_findings(facts: &StoreFacts, problems: &mut Vec<Finding>, hints: &mut Vec<Finding>) {
    let Some(snapshot) = &facts.snapshot else {
        return;
    };
    for table in snapshot
        .tables
        .iter()
        .filter(|table| table.read.state == "waiting")
    {
        hints.push(Finding::new(
            "table_waiting",
            format!(
                "the rows of {}.{} wait for the first subscription to its inserts",
                table.read.schema, table.read.table
            ),
            "subscribe, or start with --snapshot-without-subscribers",
        ));
    }
    for backfill in snapshot
        .backfills
        .iter()
        .filter(|backfill| backfill.state == "failed")
    {
        let reason = backfill.tables.iter().find_map(|table| table.problem.as_deref());
        problems.push(Finding::new(
            "backfill_failed",
            format!(
                "backfill {} for {} failed{}",
                backfill.id,
                backfill.url,
                reason.map_or_else(String::new, |reason| format!(": {reason}"))
            ),
            "mend the cause and ask for it again with pgstream backfill",
        ));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::model::EventTypes;

    fn table(root: Option<(&str, &str)>, has_key: bool, index: Option<&str>) -> Unidentified {
        Unidentified {
            schema: "s".to_owned(),
            table: "o'\"dd".to_owned(),
            root: root.map(|(schema, table)| (schema.to_owned(), table.to_owned())),
            has_key,
            index: index.map(str::to_owned),
        }
    }

    #[test]
    fn the_statement_that_gives_a_table_an_identity() {
        for (table, statement) in [
            (table(None, true, Some("i")), "DEFAULT"),
            (table(None, false, Some("I x")), "USING INDEX \"I x\""),
            (table(None, false, None), "FULL"),
        ] {
            let expected = format!("ALTER TABLE \"s\".\"o'\"\"dd\" REPLICA IDENTITY {statement}");
            assert_eq!(identity_remedy(&table), expected);
        }
    }

    #[test]
    fn only_updates_and_deletes_need_an_identity() {
        let subscription = |schema: &str, table: &str, types: &[&str]| {
            Subscription::new(
                "http://a",
                schema,
                table,
                EventTypes::from_letters(types).unwrap(),
            )
            .unwrap()
        };
        let own = ("parts", "orders_1");
        let root = Some(("public", "orders"));
        for (subscription, asks) in [
            (subscription("", "", &["U"]), true),
            (subscription("", "", &["I", "T"]), false),
            (subscription("parts", "", &["D"]), true),
            (subscription("public", "orders", &["I", "D"]), true),
            (subscription("public", "orders_1", &["U"]), false),
            (subscription("public", "other", &["U"]), false),
        ] {
            assert_eq!(asks_for(&subscription, own, root), asks, "{subscription:?}");
        }
    }
}
