//! `tear-down`: everything [`init`](super::init) made, removed.

use super::SetupError;
use super::preconditions;
use crate::config::{PgUrl, slot_name};
use crate::store::known::{self, Undelivered};
use crate::store::{self, PgPool, StoreError, blockers, migrate, server, slots};

/// What to remove.
#[derive(Clone, Debug)]
pub struct TearDownOptions {
    /// The database whose changes were streamed.
    pub source: PgUrl,
    /// The database of the subscriptions; `None` when it is the source.
    pub store: Option<PgUrl>,
    /// The name of the replication slot.
    pub slot: String,
    /// Whether to do it although events would be lost that are not delivered.
    pub force: bool,
}

/// What [`tear_down`] found and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TearDownReport {
    /// Schema `pgstream` of the source, with the event triggers.
    pub source_schema: bool,
    /// Schema `pgstream` of the store, where that is another database.
    pub store_schema: bool,
    /// The replication slot.
    pub slot: bool,
    /// What was not delivered, and is lost.
    pub undelivered: Undelivered,
}

impl TearDownReport {
    /// Whether nothing was there.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        !(self.source_schema || self.store_schema || self.slot)
    }
}

/// Removes the slot, and schema `pgstream` with its event triggers from the source and the store. Does nothing when
/// nothing is there.
///
/// In the source it is all or nothing: the schema's removal is committed only when the slot is gone.
///
/// # Errors
/// [`SetupError::Undelivered`] when backlogs or dead letters would be lost and `force` is not set.
/// [`SetupError::SlotInUse`] names the process; [`SetupError::Dependents`] and [`SetupError::SchemaInUse`] name what
/// is in the way. A slot of this name that is not ours is refused as in `init`.
pub async fn tear_down(options: &TearDownOptions) -> Result<TearDownReport, SetupError> {
    slot_name::validate(&options.slot).map_err(SetupError::SlotName)?;
    let source = store::connect(&options.source).await?;
    let store = match &options.store {
        Some(url) => Some((store::connect(url).await?, url)),
        None => None,
    };
    let slot = find_unused_slot(&source, &options.slot).await?;
    // The slot is not in use, so nobody adds to it while it is counted.
    let (pool, url) = store
        .as_ref()
        .map_or((&source, &options.source), |(pool, url)| (pool, *url));
    let undelivered = known::undelivered(pool).await?;
    if !(undelivered.is_empty() || options.force) {
        return Err(SetupError::Undelivered {
            target: url.to_string(),
            undelivered,
        });
    }
    let removal = remove_schema(&source, &options.source).await?;
    let source_schema = removal.existed();
    if slot {
        drop_slot(&source, &options.slot).await?;
    }
    removal.commit().await?;
    let store_schema = match store {
        Some((pool, url)) => {
            let removal = remove_schema(&pool, url).await?;
            let existed = removal.existed();
            removal.commit().await?;
            existed
        }
        None => false,
    };
    Ok(TearDownReport {
        source_schema,
        store_schema,
        slot,
        undelivered,
    })
}

/// Whether there is a slot to be dropped.
async fn find_unused_slot(source: &PgPool, name: &str) -> Result<bool, SetupError> {
    let Some(slot) = slots::find(source, name).await? else {
        return Ok(false);
    };
    let database = server::describe(source).await?.database;
    preconditions::check_slot(name, &slot, &database)?;
    match slot.active_pid {
        Some(pid) => Err(SetupError::SlotInUse {
            slot: name.to_owned(),
            pid,
        }),
        None => Ok(true),
    }
}

async fn drop_slot(source: &PgPool, name: &str) -> Result<(), SetupError> {
    let Err(error) = slots::drop(source, name).await else {
        return Ok(());
    };
    // Someone may have begun to use the slot, or dropped it, since it was looked at.
    match slots::find(source, name).await? {
        None => Ok(()),
        Some(slot) => match slot.active_pid {
            Some(pid) => Err(SetupError::SlotInUse {
                slot: name.to_owned(),
                pid,
            }),
            None => Err(error.into()),
        },
    }
}

async fn remove_schema(pool: &PgPool, url: &PgUrl) -> Result<migrate::Removal, SetupError> {
    let error: StoreError = match migrate::remove(pool).await {
        Ok(removal) => return Ok(removal),
        Err(error) => error,
    };
    let target = url.to_string();
    match error.sqlstate() {
        // dependent_objects_still_exist
        Some("2BP01") => Err(SetupError::Dependents {
            target,
            detail: error.detail().unwrap_or_default().replace('\n', "; "),
        }),
        // lock_not_available
        Some("55P03") => Err(SetupError::SchemaInUse {
            target,
            blockers: blockers::of_removal(pool).await?,
        }),
        _ => Err(error.into()),
    }
}
