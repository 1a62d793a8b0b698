//! Opening the database of the schema log, and asking it.

use super::InjectorError;
use super::known::describe_newest;
use crate::config::PgUrl;
use crate::event::Description;
use crate::store::{self, MigrationSet, PgPool, StoreError, schema_log as table};

/// Connects to the database of `url`, and checks that it is the source, that it has a schema log of this release, and that
/// this role may write to it.
///
/// # Errors
/// See [`InjectorError`].
pub async fn open(
    url: &PgUrl,
    slot: &str,
    (source_url, source): (&PgUrl, &PgPool),
) -> Result<PgPool, InjectorError> {
    let pool = if url == source_url {
        source.clone()
    } else {
        let pool = store::connect(url).await?;
        let (found, expected) = (table::identify(&pool).await?, table::identify(source).await?);
        if found != expected {
            return Err(InjectorError::OtherDatabase {
                target: url.to_string(),
                found,
                expected,
            });
        }
        pool
    };
    let lacking = store::migrate::pending(&pool, MigrationSet::Source).await?;
    if lacking > 0 {
        return Err(InjectorError::NotInitialised { lacking });
    }
    // Nothing is written, but the rights to do so are looked at.
    let _ = table::record(&pool, slot, &[], &[]).await?;
    Ok(pool)
}

/// What the schema log says of a table now. True of rows that are read while nobody can alter the table.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn describe(pool: &PgPool, schema: &str, table: &str) -> Result<Description, StoreError> {
    let (schema_id, json) = table::newest(pool, schema, table).await?;
    Ok(describe_newest(schema_id.as_deref(), json.as_deref(), table))
}
