//! What leaves a backlog without having been delivered: for its age or number, or because nobody is subscribed to it.

use std::time::SystemTime;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

use super::columns::{COLUMNS, letter, micros, time};
use super::{failed, signed};
use crate::store::StoreError;
use crate::store::dead_letters::UPDATE;

/// Rows that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Which.
    pub seqs: Vec<i64>,
    /// Their bytes of payload.
    pub bytes: u64,
}

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

/// What became of some rows that were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Those that are gone.
    pub removed: Removed,
    /// The last one that was looked at, or nothing where there was none.
    pub last: Option<i64>,
}

/// The first rows of endpoint `$1`, `$2` of them and none of `$3`, and since when they wait. Rows are appended about in the
/// order in which they were first tried, so the oldest are among the first; and whatever the backlog's size, no more is
/// read than these.
const FIRST_ONES: &str = "SELECT seq, since FROM (
        SELECT seq, least(first_attempt_at, appended_at) AS since FROM pgstream.webhook_backlog
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

/// Has the oldest rows become dead letters for their age or number: of the first `limit` rows but those of `except`,
/// those that were first tried or written before `before`, if that is given.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn bury_oldest(
    pool: &PgPool,
    endpoint: &str,
    limit: usize,
    before: Option<SystemTime>,
    except: &[i64],
) -> Result<Removed, StoreError> {
    let text = format!(
        "WITH first_ones AS MATERIALIZED ({FIRST_ONES}),
         gone AS (
             DELETE FROM pgstream.webhook_backlog AS b USING first_ones AS f
              WHERE b.endpoint = $1 AND b.seq = f.seq
                AND b.seq BETWEEN (SELECT min(seq) FROM first_ones) AND (SELECT max(seq) FROM first_ones)
                AND ($4::bigint IS NULL OR since < timestamptz 'epoch' + $4 * interval '1 microsecond')
             RETURNING b.*),
         buried AS (
             INSERT INTO pgstream.webhook_dead_letters AS d (endpoint, reason, {COLUMNS})
             SELECT endpoint, 'retention', {COLUMNS} FROM gone {UPDATE})
         SELECT array_agg(seq) AS seqs, sum(bytes)::bigint AS bytes FROM gone"
    );
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(endpoint)
        .bind(signed(limit))
        .bind(except)
        .bind(before.map(micros))
        .fetch_one(pool)
        .await
        .map_err(failed("move the oldest rows to the dead letters from"))?;
    removed(&row).map_err(failed("read"))
}

/// The kinds of changes of the stream that this endpoint has rows of. Reads all its rows.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn kinds(pool: &PgPool, endpoint: &str) -> Result<Vec<Kind>, StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT schema_name, table_name, root_schema, root_table, action FROM pgstream.webhook_backlog
          WHERE endpoint = $1 AND origin = 'stream'",
    )
    .bind(endpoint)
    .fetch_all(pool)
    .await
    .map_err(failed("read"))?;
    let kinds = rows.iter().map(|row| {
        let root: (Option<String>, Option<String>) =
            (row.try_get("root_schema")?, row.try_get("root_table")?);
        Ok(Kind {
            schema: row.try_get("schema_name")?,
            table: row.try_get("table_name")?,
            root: root.0.zip(root.1),
            action: letter(row.try_get("action")?)?,
        })
    });
    kinds.collect::<Result<_, _>>().map_err(failed("read"))
}

/// Looks at `limit` rows behind `after`, and deletes those of this kind that came from the stream but those of `except`.
/// Whoever wants all of them gone goes on behind the last one looked at.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn discard_kind(
    pool: &PgPool,
    endpoint: &str,
    kind: &Kind,
    after: i64,
    limit: usize,
    except: &[i64],
) -> Result<Swept, StoreError> {
    let row = sqlx::query(
        "WITH looked_at AS MATERIALIZED (
             SELECT seq, origin = 'stream' AND schema_name = $2 AND table_name = $3 AND action = $6
                    AND root_schema IS NOT DISTINCT FROM $4 AND root_table IS NOT DISTINCT FROM $5 AS is_of_kind
               FROM pgstream.webhook_backlog WHERE endpoint = $1 AND seq > $7 ORDER BY seq LIMIT $8),
         gone AS (
             DELETE FROM pgstream.webhook_backlog AS b USING looked_at AS l
              WHERE b.endpoint = $1 AND b.seq = l.seq AND l.is_of_kind AND l.seq <> ALL($9)
                AND b.seq > $7 AND b.seq <= (SELECT max(seq) FROM looked_at)
             RETURNING b.seq, b.bytes)
         SELECT array_agg(seq) AS seqs, sum(bytes)::bigint AS bytes, (SELECT max(seq) FROM looked_at) AS last FROM gone",
    )
    .bind(endpoint)
    .bind(&kind.schema)
    .bind(&kind.table)
    .bind(kind.root.as_ref().map(|(schema, _)| schema))
    .bind(kind.root.as_ref().map(|(_, table)| table))
    .bind(kind.action.to_string())
    .bind(after)
    .bind(signed(limit))
    .bind(except)
    .fetch_one(pool)
    .await
    .map_err(failed("delete from"))?;
    let swept = || {
        Ok(Swept {
            removed: removed(&row)?,
            last: row.try_get("last")?,
        })
    };
    swept().map_err(failed("delete from"))
}

/// Reads the columns `seqs` and `bytes`, which are null where nothing is gone.
fn removed(row: &PgRow) -> Result<Removed, sqlx::Error> {
    let seqs: Option<Vec<i64>> = row.try_get("seqs")?;
    let bytes: Option<i64> = row.try_get("bytes")?;
    Ok(Removed {
        seqs: seqs.unwrap_or_default(),
        bytes: u64::try_from(bytes.unwrap_or_default()).unwrap_or_default(),
    })
}
