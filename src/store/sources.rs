//! The table `pgstream.replication_sources`: what is remembered of a source between two starts.

use pgstream_proto::Lsn;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use super::StoreError;

/// The columns that are read.
const COLUMNS: &str =
    "system_identifier::text AS system_identifier, timeline, epoch, confirmed_lsn::text AS confirmed_lsn,
    bound_lsn::text AS bound_lsn";

/// What is remembered of the source that a slot belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The identifier of the database cluster.
    pub system_identifier: u64,
    /// Its timeline.
    pub timeline: u32,
    /// Part of the ids of its changes.
    pub epoch: u32,
    /// Everything up to here is settled.
    pub confirmed: Lsn,
    /// Nothing beyond this has been confirmed.
    pub bound: Lsn,
}

/// What is remembered, if the slot was ever streamed.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn find(pool: &PgPool, slot: &str) -> Result<Option<Source>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM pgstream.replication_sources WHERE slot = $1");
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(slot)
        .fetch_optional(pool)
        .await
        .map_err(failed("read"))?;
    row.as_ref().map(read).transpose().map_err(failed("read"))
}

/// What is remembered, as of now: whoever wrote it in an earlier term writes nothing more.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn claim(pool: &PgPool, slot: &str, term: i64) -> Result<Option<Source>, StoreError> {
    let text = format!(
        "UPDATE pgstream.replication_sources SET term = greatest(term, $2) WHERE slot = $1 RETURNING {COLUMNS}"
    );
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(slot)
        .bind(term)
        .fetch_optional(pool)
        .await
        .map_err(failed("write to"))?;
    row.as_ref().map(read).transpose().map_err(failed("read"))
}

/// Takes the slot's row over from whoever wrote it in an earlier term. Not if a later term has it: then it says false.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn take_over(pool: &PgPool, slot: &str, source: &Source, term: i64) -> Result<bool, StoreError> {
    let text = "INSERT INTO pgstream.replication_sources AS s
            (slot, system_identifier, timeline, epoch, confirmed_lsn, bound_lsn, term)
        VALUES ($1, $2::numeric, $3, $4, $5::pg_lsn, $6::pg_lsn, $7)
            ON CONFLICT (slot) DO UPDATE SET (system_identifier, timeline, epoch, confirmed_lsn, bound_lsn, term, written_at)
             = (excluded.system_identifier, excluded.timeline, excluded.epoch, excluded.confirmed_lsn, excluded.bound_lsn,
                excluded.term, clock_timestamp())
         WHERE s.term <= excluded.term";
    execute(pool, text, slot, source, term).await
}

/// Writes the row, as long as it is this term's. Whether it was.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn write(pool: &PgPool, slot: &str, source: &Source, term: i64) -> Result<bool, StoreError> {
    let text = "UPDATE pgstream.replication_sources
           SET (system_identifier, timeline, epoch, confirmed_lsn, bound_lsn, written_at)
             = ($2::numeric, $3, $4, $5::pg_lsn, $6::pg_lsn, clock_timestamp())
         WHERE slot = $1 AND term = $7";
    execute(pool, text, slot, source, term).await
}

/// The slot is about to be advanced up to there by somebody who has written down what that leaves out. A program that is
/// between two connections writes nothing more, and begins anew when it finds the slot there.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn skipping(pool: &PgPool, slot: &str, to: Lsn) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE pgstream.replication_sources
            SET bound_lsn = greatest(bound_lsn, $2::pg_lsn), term = -1, written_at = clock_timestamp()
          WHERE slot = $1",
    )
    .bind(slot)
    .bind(to.to_string())
    .execute(pool)
    .await
    .map(drop)
    .map_err(failed("write to"))
}

/// It was.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn skipped(pool: &PgPool, slot: &str, to: Lsn) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE pgstream.replication_sources
            SET confirmed_lsn = greatest(confirmed_lsn, $2::pg_lsn), written_at = clock_timestamp()
          WHERE slot = $1",
    )
    .bind(slot)
    .bind(to.to_string())
    .execute(pool)
    .await
    .map(drop)
    .map_err(failed("write to"))
}

async fn execute(
    pool: &PgPool,
    text: &'static str,
    slot: &str,
    source: &Source,
    term: i64,
) -> Result<bool, StoreError> {
    let Source {
        system_identifier,
        timeline,
        epoch,
        confirmed,
        bound,
    } = source;
    sqlx::query(text)
        .bind(slot)
        .bind(system_identifier.to_string())
        .bind(i64::from(*timeline))
        .bind(i64::from(*epoch))
        .bind(confirmed.to_string())
        .bind(bound.to_string())
        .bind(term)
        .execute(pool)
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(failed("write to"))
}

fn read(row: &PgRow) -> Result<Source, sqlx::Error> {
    let odd = |name: &str, text: &str| sqlx::Error::ColumnDecode {
        index: name.to_owned(),
        source: format!("{text:?}").into(),
    };
    let number = |name: &str| -> Result<u32, sqlx::Error> {
        let number: i64 = row.try_get(name)?;
        u32::try_from(number).map_err(|_| odd(name, &number.to_string()))
    };
    let lsn = |name: &str| -> Result<Lsn, sqlx::Error> {
        let text: &str = row.try_get(name)?;
        text.parse().map_err(|_| odd(name, text))
    };
    let identifier: &str = row.try_get("system_identifier")?;
    Ok(Source {
        system_identifier: identifier
            .parse()
            .map_err(|_| odd("system_identifier", identifier))?,
        timeline: number("timeline")?,
        epoch: number("epoch")?,
        confirmed: lsn("confirmed_lsn")?,
        bound: lsn("bound_lsn")?,
    })
}

fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::table(action, "pgstream.replication_sources")
}
