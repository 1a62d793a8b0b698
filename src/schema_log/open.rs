//! Opening the database of the schema log.

use super::InjectorError;
use crate::config::PgUrl;
use crate::store::{self, MigrationSet, PgPool, schema_log as table};

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
