//! `check`: whether `init` would do, and what is in its way: all of it at once, instead of the first thing.
//!
//! Leaves nothing behind: what has to be tried is rolled back, or ends with its session. Takes less than five seconds, as
//! [`status`](mod@super::status) does, and by the same means.

pub mod document;
mod items;

use tokio::time::Instant;

use self::document::{Check, CheckedSource};
use self::items::{Items, Told};
use super::findings::{DOCUMENT_VERSION, Finding, LIMIT, NotLookedAt, Verdict, by, keep};
use super::preconditions::{self, Wanted};
use super::reach::side_by_side;
use super::status::document::ConfigReport;
use super::status::{config_problems, encoding_hint, unreachable};
use super::{Precondition, SetupError, plugin, synchronous};
use crate::config::Targets;
use crate::store::migrate::{self, Applied, AppliedState};
use crate::store::server::{self, Server};
use crate::store::slots::{self, Slot};
use crate::store::{MigrationSet, PgPool, blockers, slot_status};

/// A slot that may keep less than this loses WAL within minutes on a busy server.
const LITTLE_WAL: u64 = 1 << 30;

/// What is in the way, what may be, and what could not be looked at.
#[derive(Debug, Default)]
struct Found {
    lacking: Vec<Precondition>,
    problems: Vec<Finding>,
    hints: Vec<Finding>,
    missing: Vec<NotLookedAt>,
    /// What was not looked at, since it is made already.
    needless: Vec<&'static str>,
}

/// Checks everything. `None` for the targets where the configuration does not even say what they are.
pub async fn check(targets: Option<&Targets>, config_errors: &[String]) -> Check {
    let deadline = Instant::now() + LIMIT;
    let config = ConfigReport::new(config_errors);
    let mut problems = config_problems(&config);
    let Some(targets) = targets else {
        return Check::without_targets(config, problems);
    };
    let ((source, of_source), (store, of_store)) = side_by_side(
        targets,
        deadline,
        async |pool| check_source(pool, targets, deadline).await,
        async |pool| check_store(pool, deadline).await,
    )
    .await;
    problems.extend(unreachable("source", &source));
    if targets.source != targets.store {
        problems.extend(unreachable("store", &store));
    }
    let is_anything_reached = of_source.is_some() || of_store.is_some();
    let (server, of_source) = of_source.unzip();
    let checks = [
        Items::SOURCE.told(
            Some(source.reachable),
            of_source.as_ref().map(Found::told).as_ref(),
        ),
        Items::STORE.told(Some(store.reachable), of_store.as_ref().map(Found::told).as_ref()),
    ];
    let mut hints = Vec::new();
    let mut not_looked_at = Vec::new();
    for found in of_source.into_iter().chain(of_store) {
        let lacking = found.lacking.into_iter().map(Finding::from);
        // One database that is source and store says everything twice.
        for finding in lacking.chain(found.problems) {
            if !problems.contains(&finding) {
                problems.push(finding);
            }
        }
        hints.extend(found.hints);
        not_looked_at.extend(found.missing);
    }
    problems.extend(not_looked_at.iter().map(NotLookedAt::finding));
    Check {
        version: DOCUMENT_VERSION,
        status: Verdict::of(is_anything_reached, &problems),
        problems,
        hints,
        not_looked_at,
        config,
        source: CheckedSource::new(source, server.flatten()),
        store,
        checks: checks.concat(),
    }
}

impl Found {
    /// The codes of what is lacking, and the parts that nothing is known of, or that had not to be looked at.
    fn told(&self) -> Told {
        let lacking = self.lacking.iter().map(Precondition::code);
        let problems = self.problems.iter().map(|problem| problem.code);
        let missing = self.missing.iter().map(|missing| missing.section);
        Told {
            lacking: lacking.chain(problems).collect(),
            missing: missing.chain(self.needless.iter().copied()).collect(),
        }
    }
}

async fn check_source(pool: &PgPool, targets: &Targets, deadline: Instant) -> (Option<Server>, Found) {
    let mut found = Found::default();
    // Before anything is tried, which is a transaction of our own.
    let (server, slot, applied, synchronous, waiting) = tokio::join!(
        by(deadline, server::describe(pool)),
        by(deadline, slot_status::find(pool, &targets.slot)),
        by(deadline, migrate::applied(pool, MigrationSet::Source)),
        by(deadline, slot_status::synchronous(pool)),
        by(deadline, blockers::of_slot_creation(pool)),
    );
    let waiting = keep("open_transactions", waiting, &mut found.missing);
    let server = keep("server", server, &mut found.missing);
    let slot = keep("slot", slot, &mut found.missing);
    let applied = keep("source_migration", applied, &mut found.missing);
    if let Some(asked) = keep("synchronous_standby", synchronous, &mut found.missing) {
        let sync_state = slot.iter().flatten().find_map(|slot| slot.sync_state.as_deref());
        let name = targets.application_name();
        found.problems.extend(synchronous::finding(
            sync_state,
            &asked.names,
            name,
            &asked.standbys,
        ));
    }
    let slot = slot.map(|slot| slot.map(|status| status.slot));
    let Some(server) = server else {
        return (None, found);
    };
    found.problems.extend(applied.and_then(other_release));
    found.hints.extend(encoding_hint(&server));
    found.hints.extend(wal_hint(&server));
    if let Some(Some(slot)) = &slot {
        found.lacking.extend(slot_problem(&targets.slot, slot, &server));
    }
    let wanted = Wanted {
        slot: matches!(slot, Some(None)),
        stream: true,
        objects: applied.is_some_and(|applied| matches!(applied.state, AppliedState::Pending(_))),
    };
    if wanted.slot {
        found.hints.extend(waiting.into_iter().flatten().map(|blocker| {
            Finding::new(
                "open_transaction",
                format!("the creation of the slot waits for {blocker}"),
                "wait for its end, or end it, before init is run",
            )
        }));
    }
    if !wanted.slot {
        found.needless.push(items::CREATION);
    }
    found.lacking.extend(preconditions::of_source(&server, wanted));
    try_out(pool, &server, wanted, deadline, &mut found).await;
    (Some(server), found)
}

/// What can only be known by trying.
async fn try_out(pool: &PgPool, server: &Server, wanted: Wanted, deadline: Instant, found: &mut Found) {
    let is_ready = can_make_slots(&found.lacking);
    let triggers = async {
        match wanted.objects && !server.in_recovery {
            true => by(deadline, server::may_create_event_triggers(pool)).await,
            false => Ok(true),
        }
    };
    let plugin = async {
        match wanted.slot && is_ready {
            true => {
                by(deadline, async {
                    Ok::<_, std::convert::Infallible>(slots::try_plugin(pool).await)
                })
                .await
            }
            false => Ok(Ok(())),
        }
    };
    let (triggers, plugin) = tokio::join!(triggers, plugin);
    if keep("event_triggers", triggers, &mut found.missing) == Some(false) {
        found.lacking.push(Precondition::EventTriggers {
            role: server.role.clone(),
            database: server.database.clone(),
        });
    }
    if wanted.slot && !is_ready && !found.lacking.iter().any(|it| it.code() == "plugin_not_allowed") {
        found.missing.push(NotLookedAt {
            section: "plugin",
            reason: "no slot can be made to try it, see the other problems".to_owned(),
        });
    }
    match plugin.map(|tried| tried.map_err(|error| plugin::refusal(error, server.version_num / 10_000))) {
        Ok(Ok(())) => {}
        Ok(Err(SetupError::Precondition(lacking))) => found.lacking.push(lacking),
        Ok(Err(error)) => found.missing.push(NotLookedAt {
            section: "plugin",
            reason: super::findings::chain(&error),
        }),
        Err(reason) => found.missing.push(NotLookedAt {
            section: "plugin",
            reason,
        }),
    }
}

/// Whether the plugin can be tried: that needs a server that makes slots, and room for one.
fn can_make_slots(lacking: &[Precondition]) -> bool {
    !lacking.iter().any(|lacking| {
        matches!(
            lacking,
            Precondition::Version { .. }
                | Precondition::Standby
                | Precondition::WalLevel { .. }
                | Precondition::NoFreeSlot { .. }
                | Precondition::Replication { .. }
                | Precondition::PluginNotAllowed { .. }
        )
    })
}

async fn check_store(pool: &PgPool, deadline: Instant) -> Found {
    let mut found = Found::default();
    let (server, applied) = tokio::join!(
        by(deadline, server::describe(pool)),
        by(deadline, migrate::applied(pool, MigrationSet::Store)),
    );
    let server = keep("store_server", server, &mut found.missing);
    let applied = keep("store_migration", applied, &mut found.missing);
    found.problems.extend(applied.and_then(other_release));
    let is_pending = applied.is_none_or(|applied| matches!(applied.state, AppliedState::Pending(_)));
    if let Some(server) = server {
        let lacking = preconditions::of_store(&server).into_iter();
        let needed = lacking.filter(|lacking| is_pending || matches!(lacking, Precondition::Standby));
        found.lacking.extend(needed);
    }
    found
}

fn slot_problem(name: &str, slot: &Slot, server: &Server) -> Option<Precondition> {
    preconditions::check_slot(name, slot, &server.database)
        .and_then(|()| preconditions::check_slot_usable(name, slot))
        .err()
}

fn other_release(applied: Applied) -> Option<Finding> {
    (applied.state == AppliedState::OtherRelease).then(|| {
        Finding::new(
            "other_release",
            "schema pgstream was made by another release",
            "use the release that did it, or run tear-down first",
        )
    })
}

/// How much WAL a slot may keep is a choice between a full disk and lost changes.
fn wal_hint(server: &Server) -> Option<Finding> {
    match server.max_slot_wal_keep_size {
        None => Some(Finding::new(
            "wal_unlimited",
            "max_slot_wal_keep_size is unlimited: while nobody reads the slot, WAL fills the disk",
            "run ALTER SYSTEM SET max_slot_wal_keep_size = '100GB', or whatever the disk has room for, and then SELECT \
             pg_reload_conf()",
        )),
        Some(bytes) if bytes < LITTLE_WAL => Some(Finding::new(
            "wal_little",
            format!("max_slot_wal_keep_size is {bytes} bytes: the slot is lost once it is so far behind"),
            "run ALTER SYSTEM SET max_slot_wal_keep_size = '10GB', or more, and then SELECT pg_reload_conf()",
        )),
        Some(_) => None,
    }
}
