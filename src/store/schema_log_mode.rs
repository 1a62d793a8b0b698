//! What an entry of the schema log holds: a setting kept in the source database.

use std::fmt;
use std::str::FromStr;

use sqlx::{AssertSqlSafe, PgPool};

use super::StoreError;

/// What an entry of the schema log holds. What the injector knows is the same with both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaLogMode {
    /// All tables of the schema: what a command costs grows with their number.
    Full,
    /// The tables that the command touched.
    Changed,
}

impl SchemaLogMode {
    const ALL: [Self; 2] = [Self::Full, Self::Changed];

    /// As it is written on the command line and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Changed => "changed",
        }
    }
}

impl fmt::Display for SchemaLogMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for SchemaLogMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| format!("{text:?} is neither full nor changed"))
    }
}

/// Has the triggers write entries of this mode from now on, and says whether they did not before.
///
/// Several programs may call this at once: the one after the other finds nothing to do.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn set(pool: &PgPool, mode: SchemaLogMode) -> Result<bool, StoreError> {
    let failed = StoreError::query("set what an entry of the schema log holds");
    // A trigger must read no table, so the setting is a function. Nothing that it runs in fires one of ours.
    let replace = format!(
        "CREATE OR REPLACE FUNCTION pgstream.schema_log_mode() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
         AS $$ SELECT '{mode}'::text $$"
    );
    let changed = async {
        let mut transaction = pool.begin().await?;
        // Two that replace it at once would fail; a reader takes no notice of this lock.
        sqlx::query("SELECT pg_advisory_xact_lock('pgstream.source_migrations'::regclass::bigint)")
            .execute(&mut *transaction)
            .await?;
        let now: String = sqlx::query_scalar("SELECT pgstream.schema_log_mode()")
            .fetch_one(&mut *transaction)
            .await?;
        if now == mode.as_str() {
            return Ok(false);
        }
        sqlx::query(AssertSqlSafe(replace))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    };
    changed.await.map_err(failed)
}
