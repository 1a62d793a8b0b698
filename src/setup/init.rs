//! `init`: everything pgstream needs, made once.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::error::Waiting;
use super::plugin::{self, allow_plugin};
use super::preconditions::{self, Wanted};
use super::{Precondition, SetupError};
use crate::config::{PgUrl, slot_name};
use crate::connect::sqlstate::QUERY_CANCELED;
use crate::store::{
    self, MigrationSet, PgPool, SchemaLogMode, blockers, schema_log_mode, server, slots, sources,
};

/// After this time of waiting, and then again and again, the operator hears who is in the way.
const NOTICE_AFTER: Duration = Duration::from_secs(5);

/// What to initialise.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// The database whose changes are streamed.
    pub source: PgUrl,
    /// The database of the subscriptions; `None` when it is the source.
    pub store: Option<PgUrl>,
    /// The name of the replication slot.
    pub slot: String,
    /// How long the slot's creation may wait for other transactions.
    pub timeout: Duration,
    /// What an entry of the schema log holds from now on; `None` leaves it as it is, [`SchemaLogMode::Full`] at first.
    pub schema_log: Option<SchemaLogMode>,
    /// Whether stand-bys are to be kept in step with the slot.
    pub failover: bool,
    /// Whether the output plugin may be put on the server's list of those that may be used, where it lacks there.
    pub allow_plugin: bool,
}

/// What [`init`] has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitReport {
    /// How many migrations the source lacked.
    pub source_migrations: usize,
    /// How many migrations the store lacked.
    pub store_migrations: usize,
    /// Whether the slot was created; if not, it existed.
    pub slot_created: bool,
    /// Whether entries of the schema log hold something else than before.
    pub schema_log_changed: bool,
}

impl InitReport {
    /// Whether everything was there already.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        *self
            == Self {
                source_migrations: 0,
                store_migrations: 0,
                slot_created: false,
                schema_log_changed: false,
            }
    }
}

/// Makes what is missing of schema `pgstream` in the source and in the store, and the replication slot.
///
/// Everything is checked before anything is changed. Run again it completes what a failed run left undone, and does
/// nothing when nothing is missing. Dropping the future while the slot is being created leaves no half-built slot.
///
/// `notice` gets what the operator should know while the slot's creation waits for other transactions.
///
/// # Errors
/// [`SetupError::Precondition`] and [`SetupError::SlotName`]: nothing has been changed. [`SetupError::SlotTimeout`]:
/// the databases are migrated, the slot is missing.
pub async fn init(
    options: &InitOptions,
    notice: &mut (dyn FnMut(&str) + Send),
) -> Result<InitReport, SetupError> {
    slot_name::validate(&options.slot).map_err(SetupError::SlotName)?;
    let source = store::connect(&options.source).await?;
    let store = match &options.store {
        Some(url) => store::connect(url).await?,
        None => source.clone(),
    };
    if options.allow_plugin {
        allow_plugin(&source, notice).await?;
    }
    let slot_created = check(&source, &store, options).await?;
    let source_migrations = store::migrate(&source, MigrationSet::Source).await?;
    let store_migrations = store::migrate(&store, MigrationSet::Store).await?;
    let schema_log_changed = match options.schema_log {
        Some(mode) => schema_log_mode::set(&source, mode).await?,
        None => false,
    };
    if slot_created {
        if let Some(known) = sources::find(&store, &options.slot).await? {
            notice(&format!(
                "a replication slot {} was streamed before, up to {}: what was committed since it was dropped is not in the \
                 new one, so that `pgstream run` will want --accept-gap",
                options.slot, known.confirmed
            ));
        }
        // What a reader of an earlier slot of this name has applied says nothing of what this one will bring.
        store::schema_log::forget(&source, &options.slot).await?;
        // Before anyone can use it. Where it is not made after all, it is made later, and this is done again.
        store::snapshot::slot_made(&store, &options.slot).await?;
        create_slot(&source, options, notice).await?;
    }
    Ok(InitReport {
        source_migrations,
        store_migrations,
        slot_created,
        schema_log_changed,
    })
}

/// Checks all preconditions, and says whether the slot has to be created.
async fn check(source: &PgPool, store: &PgPool, options: &InitOptions) -> Result<bool, SetupError> {
    let slot = &options.slot;
    let server = server::describe(source).await?;
    let existing = slots::find(source, slot).await?;
    if let Some(existing) = &existing {
        preconditions::check_slot(slot, existing, &server.database)?;
        preconditions::check_slot_usable(slot, existing)?;
    }
    if options.failover {
        preconditions::check_failover(slot, existing.as_ref(), &server)?;
    }
    let wanted = Wanted {
        slot: existing.is_none(),
        stream: false,
        objects: store::migrate::pending(source, MigrationSet::Source).await? > 0,
    };
    first(preconditions::of_source(&server, wanted))?;
    if wanted.objects && !server::may_create_event_triggers(source).await? {
        return Err(Precondition::EventTriggers {
            role: server.role,
            database: server.database,
        }
        .into());
    }
    if store::migrate::pending(store, MigrationSet::Store).await? > 0 {
        first(preconditions::of_store(&server::describe(store).await?))?;
    }
    if wanted.slot {
        slots::try_plugin(source)
            .await
            .map_err(|error| plugin::refusal(error, server.version_num / 10_000))?;
    }
    Ok(wanted.slot)
}

fn first(lacking: Vec<Precondition>) -> Result<(), Precondition> {
    lacking.into_iter().next().map_or(Ok(()), Err)
}

async fn create_slot(
    source: &PgPool,
    InitOptions {
        slot,
        timeout,
        failover,
        ..
    }: &InitOptions,
    notice: &mut (dyn FnMut(&str) + Send),
) -> Result<(), SetupError> {
    let creation = slots::create(source, slot, *failover, *timeout);
    tokio::pin!(creation);
    let mut next_notice = Instant::now() + NOTICE_AFTER;
    let outcome = loop {
        tokio::select! {
            outcome = &mut creation => break outcome,
            () = sleep_until(next_notice) => {
                next_notice += NOTICE_AFTER;
                // Telling is a courtesy: the creation goes on without it.
                if let Ok(blockers) = blockers::of_slot_creation(source).await {
                    notice(&format!("the creation of replication slot {slot} is {}", Waiting(&blockers)));
                }
            }
        }
    };
    match outcome {
        Err(error) if error.sqlstate() == Some(QUERY_CANCELED) => Err(SetupError::SlotTimeout {
            slot: slot.clone(),
            seconds: timeout.as_secs(),
            blockers: blockers::of_slot_creation(source).await?,
        }),
        outcome => Ok(outcome?),
    }
}
