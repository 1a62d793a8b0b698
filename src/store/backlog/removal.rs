//! What leaves a backlog without having been delivered: for its age or number, or because nobody is subscribed to it.

use std::time::SystemTime;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use super::columns::{COLUMNS, letter, micros, time};
use super::{failed, signed};
use crate::delivery::model::Removed;
use crate::store::StoreError;
use crate::store::dead_letters::UPDATE;

/// What subscriptions tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// Schema and name of its root, if it is a partition.
    pub root: Option<(String, String)>,
    /// The letter of the change.
    pub action: char,
}

/// Some rows, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Each kind of change of the stream among them, once.
    pub kinds: Vec<Kind>,
    /// The last one, or nothing where there was none.
    pub last: Option<i64>,
}

/// What of the first rows is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// Those that were first tried or written before this time.
    Before(SystemTime),
    /// The first ones, until so many rows and so many bytes of payload are gone.
    Excess {
        /// Rows.
        rows: u64,
        /// Bytes.
        bytes: u64,
    },
}

/// The first rows of endpoint `$1`, `$2` of them and none of `$3`, and since when they wait. Rows are appended about in the
/// order in which they were first tried, so the oldest are among the first; and whatever the backlog's size, no more is
/// read than these.
const FIRST_ONES: &str = "SELECT seq, since, bytes FROM (
        SELECT seq, least(first_attempt_at, appended_at) AS since, bytes FROM pgstream.webhook_backlog
         WHERE endpoint = $1 ORDER BY seq LIMIT $2 + cardinality($3::bigint[])) AS and_those_in_use
    WHERE seq <> ALL($3) ORDER BY seq LIMIT $2";

/// Since when the oldest of the first `limit` rows but those of `except` waits: when it was first tried or written,
/// whichever is earlier.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn oldest(
    pool: &PgPool,
    endpoint: &str,
    limit: usize,
    except: &[i64],
) -> Result<Option<SystemTime>, StoreError> {
    let text = format!(
        "SELECT (extract(epoch FROM min(since)) * 1000000)::bigint FROM ({FIRST_ONES}) AS first_ones"
    );
    let oldest: Option<i64> = sqlx::query_scalar(AssertSqlSafe(text))
        .bind(endpoint)
        .bind(signed(limit))
        .bind(except)
        .fetch_one(pool)
        .await
        .map_err(failed("read"))?;
    Ok(time(oldest))
}

/// Has the oldest rows become dead letters, in their order: of the first `limit` rows but those of `except`, what is too
/// much.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn bury_oldest(
    pool: &PgPool,
    endpoint: &str,
    limit: usize,
    too_much: TooMuch,
    except: &[i64],
) -> Result<Removed, StoreError> {
    let text = format!(
        "WITH first_ones AS MATERIALIZED (
             SELECT seq, since, row_number() OVER w AS place, sum(bytes) OVER w - bytes AS bytes_before
               FROM ({FIRST_ONES}) AS ordered WINDOW w AS (ORDER BY seq)),
         gone AS (
             DELETE FROM pgstream.webhook_backlog AS b USING first_ones AS f
              WHERE b.endpoint = $1 AND b.seq = f.seq
                AND b.seq BETWEEN (SELECT min(seq) FROM first_ones) AND (SELECT max(seq) FROM first_ones)
                AND (since < timestamptz 'epoch' + $4::bigint * interval '1 microsecond'
                     OR place <= $5::bigint OR bytes_before < $6::bigint)
             RETURNING b.*),
         buried AS (
             INSERT INTO pgstream.webhook_dead_letters AS d (endpoint, reason, {COLUMNS})
             SELECT endpoint, 'retention', {COLUMNS} FROM gone ORDER BY seq {UPDATE})
         SELECT count(*) AS rows, sum(bytes)::bigint AS bytes FROM gone"
    );
    let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
    let (before, rows, bytes) = match too_much {
        TooMuch::Before(time) => (Some(time), None, None),
        TooMuch::Excess { rows, bytes } => (None, Some(number(rows)), Some(number(bytes))),
    };
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(endpoint)
        .bind(signed(limit))
        .bind(except)
        .bind(before.map(micros))
        .bind(rows)
        .bind(bytes)
        .fetch_one(pool)
        .await
        .map_err(failed("move the oldest rows to the dead letters from"))?;
    removed(&row).map_err(failed("read"))
}

/// What is among `limit` rows behind `after`: the kinds of changes and rows that somebody has to be subscribed to, and up to where they reach.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn page(pool: &PgPool, endpoint: &str, after: i64, limit: usize) -> Result<Page, StoreError> {
    let rows = sqlx::query(
        "WITH page AS MATERIALIZED (
             SELECT seq, origin, schema_name, table_name, root_schema, root_table, action
               FROM pgstream.webhook_backlog WHERE endpoint = $1 AND seq > $2 ORDER BY seq LIMIT $3)
         SELECT schema_name, table_name, root_schema, root_table, action, origin IN ('stream', 'snapshot') AS needs_subscription,
                max(seq) AS last
           FROM page GROUP BY 1, 2, 3, 4, 5, 6",
    )
    .bind(endpoint)
    .bind(after)
    .bind(signed(limit))
    .fetch_all(pool)
    .await
    .map_err(failed("read"))?;
    rows.iter()
        .try_fold(Page::default(), |mut page, row| {
            let last: i64 = row.try_get("last")?;
            page.last = page.last.max(Some(last));
            if row.try_get("needs_subscription")? {
                page.kinds.push(kind(row)?);
            }
            Ok(page)
        })
        .map_err(failed("read"))
}

fn kind(row: &PgRow) -> Result<Kind, sqlx::Error> {
    let root: (Option<String>, Option<String>) = (row.try_get("root_schema")?, row.try_get("root_table")?);
    Ok(Kind {
        schema: row.try_get("schema_name")?,
        table: row.try_get("table_name")?,
        root: root.0.zip(root.1),
        action: letter(row.try_get("action")?)?,
    })
}

/// Deletes what is of this kind, and is there for a subscription, of the rows behind `after` up to `last`, but those of `except`.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn discard_kind(
    pool: &PgPool,
    endpoint: &str,
    kind: &Kind,
    (after, last): (i64, i64),
    except: &[i64],
) -> Result<Removed, StoreError> {
    let row = sqlx::query(
        "WITH gone AS (
             DELETE FROM pgstream.webhook_backlog
              WHERE endpoint = $1 AND seq > $7 AND seq <= $8 AND seq <> ALL($9)
                AND origin IN ('stream', 'snapshot') AND schema_name = $2 AND table_name = $3 AND action = $6
                AND root_schema IS NOT DISTINCT FROM $4 AND root_table IS NOT DISTINCT FROM $5
             RETURNING bytes)
         SELECT count(*) AS rows, sum(bytes)::bigint AS bytes FROM gone",
    )
    .bind(endpoint)
    .bind(&kind.schema)
    .bind(&kind.table)
    .bind(kind.root.as_ref().map(|(schema, _)| schema))
    .bind(kind.root.as_ref().map(|(_, table)| table))
    .bind(kind.action.to_string())
    .bind(after)
    .bind(last)
    .bind(except)
    .fetch_one(pool)
    .await
    .map_err(failed("delete from"))?;
    removed(&row).map_err(failed("delete from"))
}

/// Reads the columns `rows` and `bytes`; the latter is null where nothing is gone.
fn removed(row: &PgRow) -> Result<Removed, sqlx::Error> {
    let rows: i64 = row.try_get("rows")?;
    let bytes: Option<i64> = row.try_get("bytes")?;
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(Removed {
        rows: unsigned(rows),
        bytes: unsigned(bytes.unwrap_or_default()),
    })
}
