//! Brings a database up to date with the numbered migrations of `sql/`, and takes all of them out again.
//!
//! Each set keeps its own list of what has been applied, inside schema `pgstream`. A migration is one transaction
//! together with its entry in that list, so that a half-done one does not exist. Released files are never edited.

use std::fmt;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, SqlSafeStr};

use super::StoreError;

/// Which objects of schema `pgstream` are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationSet {
    /// The schema log, its ids and event triggers, in the database whose changes are streamed.
    Source,
    /// The subscriptions, in the database that holds pgstream's own state.
    Store,
}

impl fmt::Display for MigrationSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Source => "source",
            Self::Store => "store",
        })
    }
}

/// One numbered step, forward and back.
struct Step {
    version: i64,
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

/// A [`Step`] from the two files of its name.
macro_rules! step {
    ($set:literal, $version:literal, $name:literal) => {
        Step {
            version: $version,
            name: $name,
            up: include_str!(concat!("../../sql/", $set, "/", $name, ".up.sql")),
            down: include_str!(concat!("../../sql/", $set, "/", $name, ".down.sql")),
        }
    };
}

const SOURCE: &[Step] = &[
    step!("source", 1, "0001_ids"),
    step!("source", 2, "0002_schema_log"),
    step!("source", 3, "0003_schema_log_triggers"),
    step!("source", 4, "0004_schema_log_tables"),
    step!("source", 5, "0005_schema_log_applied"),
    step!("source", 6, "0006_schema_log_ahead"),
];

const STORE: &[Step] = &[
    step!("store", 1, "0001_webhook_subscriptions"),
    step!("store", 2, "0002_webhook_endpoints"),
    step!("store", 3, "0003_webhook_backlog"),
    step!("store", 4, "0004_webhook_dead_letters"),
    step!("store", 5, "0005_webhook_messages"),
    step!("store", 6, "0006_snapshots"),
    step!("store", 7, "0007_replication_sources"),
];

impl MigrationSet {
    const ALL: [Self; 2] = [Self::Source, Self::Store];

    const fn steps(self) -> &'static [Step] {
        match self {
            Self::Source => SOURCE,
            Self::Store => STORE,
        }
    }

    /// The table that lists what has been applied.
    const fn table(self) -> &'static str {
        match self {
            Self::Source => "pgstream.source_migrations",
            Self::Store => "pgstream.store_migrations",
        }
    }

    fn migrator(self) -> Migrator {
        let steps = self.steps().iter().map(Step::migration).collect();
        let mut migrator = Migrator::with_migrations(steps);
        migrator.create_schema("pgstream");
        migrator.dangerous_set_table_name(self.table());
        migrator
    }
}

impl Step {
    fn migration(&self) -> Migration {
        Migration::new(
            self.version,
            self.name.into(),
            MigrationType::ReversibleUp,
            self.up.into_sql_str(),
            false,
        )
    }
}

/// How many migrations of `set` this database still lacks. Reads only.
///
/// # Errors
/// [`StoreError::OtherRelease`] when another release has migrated it; [`StoreError::Query`].
pub async fn pending(pool: &PgPool, set: MigrationSet) -> Result<usize, StoreError> {
    let mut session = pool
        .acquire()
        .await
        .map_err(StoreError::query("look up the applied migrations"))?;
    pending_in(&mut session, set).await
}

async fn pending_in(session: &mut PgConnection, set: MigrationSet) -> Result<usize, StoreError> {
    let query = StoreError::query;
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(set.table())
        .fetch_one(&mut *session)
        .await
        .map_err(query("look up the applied migrations"))?;
    if !exists {
        return Ok(set.steps().len());
    }
    let text = format!("SELECT version, checksum FROM {} ORDER BY version", set.table());
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(text))
        .fetch_all(session)
        .await
        .map_err(query("look up the applied migrations"))?;
    let known: Vec<Migration> = set.steps().iter().map(Step::migration).collect();
    for (version, checksum) in &applied {
        let same = known
            .iter()
            .any(|step| step.version == *version && *step.checksum == **checksum);
        if !same {
            return Err(StoreError::OtherRelease {
                set,
                version: *version,
            });
        }
    }
    Ok(known.len() - applied.len())
}

/// What has been applied of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The last migration; `None` where there is none.
    pub version: Option<i64>,
    /// What there is to say of it.
    pub state: AppliedState,
}

/// How the migrations of a set stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppliedState {
    /// All have been applied.
    Success,
    /// So many are still to be applied.
    Pending(usize),
    /// One was not completed.
    Failed,
    /// They are those of another release.
    OtherRelease,
}

/// What has been applied of `set`. Reads only.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn applied(pool: &PgPool, set: MigrationSet) -> Result<Applied, StoreError> {
    let mut session = pool
        .acquire()
        .await
        .map_err(StoreError::query("look up the applied migrations"))?;
    let state = match pending_in(&mut session, set).await {
        Ok(0) => AppliedState::Success,
        Ok(lacking) => AppliedState::Pending(lacking),
        Err(StoreError::OtherRelease { .. }) => AppliedState::OtherRelease,
        Err(error) => return Err(error),
    };
    if state == AppliedState::Pending(set.steps().len()) {
        return Ok(Applied { version: None, state });
    }
    let text = format!(
        "SELECT max(version), coalesce(bool_and(success), true) FROM {}",
        set.table()
    );
    let (version, are_complete) = sqlx::query_as(AssertSqlSafe(text))
        .fetch_one(&mut *session)
        .await
        .map_err(StoreError::query("look up the applied migrations"))?;
    let state = if are_complete { state } else { AppliedState::Failed };
    Ok(Applied { version, state })
}

/// Applies what this database lacks of `set`, and says how many migrations that were. A database that lacks
/// nothing is only read, so that a role without rights to create anything can do this too. Safe to be called by
/// several programs at once.
///
/// # Errors
/// [`StoreError::Migrate`] with what the server said; what was applied before stays and is completed next time.
pub async fn migrate(pool: &PgPool, set: MigrationSet) -> Result<usize, StoreError> {
    let lacking = pending(pool, set).await?;
    if lacking == 0 {
        return Ok(0);
    }
    let failed = |source| StoreError::Migrate { set, source };
    let mut session = pool
        .acquire()
        .await
        .map_err(|source| failed(MigrateError::Execute(source)))?
        // Not given back: a failed migrator keeps its advisory lock until its session ends.
        .detach();
    session
        .execute("SET lock_timeout = '30s'")
        .await
        .map_err(|source| failed(MigrateError::Execute(source)))?;
    // Named so, because `Migrator::run` is not general enough over lifetimes to be used in a spawned task.
    let outcome = set.migrator().run_direct(None, &mut session, false).await;
    // The outcome is known already: how the session ends adds nothing.
    let _ = session.close().await;
    outcome.map_err(failed)?;
    Ok(lacking)
}

/// Everything of ours in one database, about to be removed: locked, gone for this session, and back unless
/// [`commit`](Removal::commit) is called.
#[derive(Debug)]
pub struct Removal {
    transaction: sqlx::Transaction<'static, sqlx::Postgres>,
    existed: bool,
}

impl Removal {
    /// Whether there was anything.
    #[must_use]
    pub fn existed(&self) -> bool {
        self.existed
    }

    /// Makes the removal final.
    ///
    /// # Errors
    /// [`StoreError::Query`]; then nothing is removed.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction
            .commit()
            .await
            .map_err(StoreError::query("commit the removal of schema pgstream"))
    }
}

/// Removes both sets, and schema `pgstream` with them, in a transaction that is left open.
///
/// Nothing is dropped by cascade: an object that is not ours, but depends on ours or lies in our schema, makes it
/// fail.
///
/// # Errors
/// [`StoreError::Query`]: SQLSTATE `2BP01` names in its detail what depends on ours; `55P03` means that another
/// transaction uses our objects.
pub async fn remove(pool: &PgPool) -> Result<Removal, StoreError> {
    let failed = || StoreError::query("remove schema pgstream");
    let mut transaction = pool.begin().await.map_err(failed())?;
    match remove_in(&mut transaction).await {
        Ok(existed) => Ok(Removal { transaction, existed }),
        Err(source) => {
            // Ended here, so that no lock is held while the caller looks for who is in the way.
            transaction.rollback().await.map_err(failed())?;
            Err(failed()(source))
        }
    }
}

async fn remove_in(session: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // IF EXISTS says so in a notice each time.
    session
        .execute("SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = warning")
        .await?;
    let existed: bool = sqlx::query_scalar("SELECT to_regnamespace('pgstream') IS NOT NULL")
        .fetch_one(&mut *session)
        .await?;
    if !existed {
        return Ok(false);
    }
    for set in MigrationSet::ALL {
        for step in set.steps().iter().rev() {
            session.execute(step.down).await?;
        }
        let list = format!("DROP TABLE IF EXISTS {}", set.table());
        session.execute(AssertSqlSafe(list)).await?;
    }
    session.execute("DROP SCHEMA pgstream").await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_sql_is_a_step_and_steps_are_numbered_in_order() {
        for set in MigrationSet::ALL {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("sql")
                .join(set.to_string());
            let files: BTreeSet<String> = fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let steps: BTreeSet<String> = set
                .steps()
                .iter()
                .flat_map(|step| [format!("{}.up.sql", step.name), format!("{}.down.sql", step.name)])
                .collect();
            assert_eq!(files, steps, "{set}");
            for (step, number) in set.steps().iter().zip(1..) {
                assert_eq!(step.version, number, "{set} {}", step.name);
                assert!(
                    step.name.starts_with(&format!("{number:04}_")),
                    "{set} {}",
                    step.name
                );
            }
        }
    }
}
