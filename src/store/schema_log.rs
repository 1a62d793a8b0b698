//! The tables `pgstream.schema_log`, `pgstream.schema_log_tables` and `pgstream.schema_log_applied`: which entries a slot's
//! reader has applied, and which of them nobody needs any more.

use std::fmt;
use std::time::Duration;

use futures_util::TryStreamExt;
use pgstream_proto::Lsn;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgExecutor, PgPool, Row};

use super::StoreError;
use super::catalog::FULL_XID;
use crate::schema_log::model::{Entry, Touched, read_tables};

/// Which database of which cluster this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseIdentity {
    /// The identifier of the cluster.
    pub system_identifier: i64,
    /// The OID of the database.
    pub oid: i64,
    /// Its name.
    pub name: String,
}

impl fmt::Display for DatabaseIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            system_identifier,
            oid,
            name,
        } = self;
        write!(f, "database {name:?} (OID {oid}) of cluster {system_identifier}")
    }
}

/// An entry that has been applied, or that has become superfluous, and the commit LSN at which.
pub type At = (String, Lsn);

/// Which database this is.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn identify(pool: &PgPool) -> Result<DatabaseIdentity, StoreError> {
    let (system_identifier, oid, name) = sqlx::query_as(
        "SELECT system_identifier, d.oid::bigint, d.datname::text
           FROM pg_control_system(), pg_database AS d WHERE d.datname = current_database()",
    )
    .fetch_one(pool)
    .await
    .map_err(StoreError::query("ask which database this is"))?;
    Ok(DatabaseIdentity {
        system_identifier,
        oid,
        name,
    })
}

/// Hands the entries that `slot` has applied of transactions before `start` to `then`, in their order and one by one,
/// without those that another one of them has made superfluous.
///
/// One whose JSON cannot be read, or that has been deleted, has no tables.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn applied(
    pool: &PgPool,
    slot: &str,
    start: Lsn,
    mut then: impl FnMut(Entry),
) -> Result<(), StoreError> {
    let mut rows = sqlx::query(
        "SELECT a.schema_log_id::text AS id, l.schema_name, l.schema::text, a.commit_lsn::text,
                coalesce(t.ids, '{}') AS ids, coalesce(t.dropped, '{}') AS dropped
           FROM pgstream.schema_log_applied AS a
           LEFT JOIN pgstream.schema_log AS l ON l.id = a.schema_log_id
          CROSS JOIN LATERAL (SELECT array_agg(t.table_id) AS ids, array_agg(t.dropped) AS dropped
                                FROM pgstream.schema_log_tables AS t WHERE t.schema_log_id = a.schema_log_id) AS t
          WHERE a.slot = $1 AND a.commit_lsn < $2::pg_lsn AND (a.superseded_at < $2::pg_lsn) IS NOT TRUE
          ORDER BY a.commit_lsn, l.version",
    )
    .bind(slot)
    .bind(start.to_string())
    .fetch(pool);
    while let Some(row) = rows.try_next().await.map_err(failed("read"))? {
        then(entry(&row).map_err(failed("read"))?);
    }
    Ok(())
}

/// The ids of the tables that entries of transactions before `start` were the last to drop, `count` at most and the newest
/// last, as far as these entries are still there.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn dropped(pool: &PgPool, slot: &str, start: Lsn, count: i64) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT table_id
           FROM (SELECT t.table_id, a.commit_lsn
                   FROM pgstream.schema_log_applied AS a
                   JOIN pgstream.schema_log_tables AS t ON t.schema_log_id = a.schema_log_id AND t.dropped
                  WHERE a.slot = $1 AND a.commit_lsn < $2::pg_lsn
                  ORDER BY a.commit_lsn DESC
                  LIMIT $3) AS newest
          ORDER BY commit_lsn",
    )
    .bind(slot)
    .bind(start.to_string())
    .bind(count)
    .fetch_all(pool)
    .await
    .map_err(failed("read"))
}

fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    let json: Option<String> = row.try_get("schema")?;
    let lsn: String = row.try_get("commit_lsn")?;
    let ids: Vec<String> = row.try_get("ids")?;
    let dropped: Vec<bool> = row.try_get("dropped")?;
    let touched = ids
        .into_iter()
        .zip(dropped)
        .map(|(table_id, dropped)| Touched { table_id, dropped });
    Ok(Entry {
        id: row.try_get("id")?,
        schema: row
            .try_get::<Option<String>, _>("schema_name")?
            .unwrap_or_default(),
        commit_lsn: lsn
            .parse()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        tables: json.and_then(|json| read_tables(&json).ok()),
        touched: touched.collect(),
    })
}

/// Writes down that `slot` has applied entries, which acknowledges them, and that others have become superfluous for it.
/// Either all of it is written or nothing. Returns the ids of the entries that could not be acknowledged, as
/// [`acknowledge`] does.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn record(
    pool: &PgPool,
    slot: &str,
    applied: &[At],
    superseded: &[At],
) -> Result<Vec<String>, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed("write to"))?;
    let (ids, lsns) = columns(applied);
    sqlx::query(
        "INSERT INTO pgstream.schema_log_applied (slot, schema_log_id, commit_lsn)
         SELECT $1, id, lsn::pg_lsn FROM unnest($2::text[], $3::text[]) AS applied(id, lsn)
             ON CONFLICT (slot, schema_log_id) DO UPDATE SET commit_lsn = excluded.commit_lsn",
    )
    .bind(slot)
    .bind(&ids)
    .bind(lsns)
    .execute(&mut *transaction)
    .await
    .map_err(failed("write to"))?;
    let unseen = acknowledge(&mut *transaction, &ids).await?;
    if !superseded.is_empty() {
        let (ids, lsns) = columns(superseded);
        sqlx::query(
            "UPDATE pgstream.schema_log_applied AS a SET superseded_at = s.lsn::pg_lsn
               FROM unnest($2::text[], $3::text[]) AS s(id, lsn)
              WHERE a.slot = $1 AND a.schema_log_id = s.id",
        )
        .bind(slot)
        .bind(ids)
        .bind(lsns)
        .execute(&mut *transaction)
        .await
        .map_err(failed("write to"))?;
    }
    transaction.commit().await.map_err(failed("write to"))?;
    Ok(unseen)
}

/// Acknowledges entries, and returns the ids of those that cannot be seen.
///
/// A transaction is decoded as soon as its commit record is flushed, which is before other sessions see what it did: a
/// little before, or, where commits wait for a stand-by, as long as they wait.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn acknowledge(
    executor: impl PgExecutor<'_>,
    ids: &[impl AsRef<str>],
) -> Result<Vec<String>, StoreError> {
    let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
    sqlx::query_scalar(
        "WITH acked AS (UPDATE pgstream.schema_log SET acked = true WHERE id = ANY ($1::text[]) AND NOT acked)
         SELECT asked.id FROM unnest($1::text[]) AS asked(id)
          WHERE NOT EXISTS (SELECT FROM pgstream.schema_log AS l WHERE l.id = asked.id)",
    )
    .bind(ids)
    .fetch_all(executor)
    .await
    .map_err(failed("acknowledge what was written to"))
}

/// The first entry beyond version `after` with which a transaction, by then visible, has made the table of these names: its
/// id and its JSON.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn made_by(
    pool: &PgPool,
    xid: u32,
    after: i64,
    (schema, table): (&str, &str),
) -> Result<Option<(String, String)>, StoreError> {
    sqlx::query_as(AssertSqlSafe(format!(
        "SELECT l.id::text, l.schema::text
           FROM pgstream.schema_log_tables AS t
           JOIN pgstream.schema_log AS l ON l.id = t.schema_log_id
          WHERE t.xid = {FULL_XID} AND t.schema_name = $2 AND t.table_name = $3 AND t.created AND l.version > $4
          ORDER BY l.version
          LIMIT 1"
    )))
    .bind(i64::from(xid))
    .bind(schema)
    .bind(table)
    .bind(after)
    .fetch_optional(pool)
    .await
    .map_err(StoreError::table("read", "pgstream.schema_log"))
}

/// The id of the newest entry of a schema, and the JSON of the newest one that touched this table of it.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn newest(
    pool: &PgPool,
    schema: &str,
    table: &str,
) -> Result<(Option<String>, Option<String>), StoreError> {
    sqlx::query_as(
        "SELECT (SELECT l.id::text FROM pgstream.schema_log AS l
                  WHERE l.schema_name = $1 ORDER BY l.version DESC LIMIT 1),
                (SELECT l.schema::text
                   FROM pgstream.schema_log_tables AS t
                   JOIN pgstream.schema_log AS l ON l.id = t.schema_log_id
                  WHERE t.schema_name = $1 AND t.table_name = $2 AND NOT t.dropped
                  ORDER BY l.version DESC LIMIT 1)",
    )
    .bind(schema)
    .bind(table)
    .fetch_one(pool)
    .await
    .map_err(StoreError::table("read", "pgstream.schema_log"))
}

/// Acknowledges what `slot` has applied and could not acknowledge before its program ended.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn acknowledge_applied(pool: &PgPool, slot: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE pgstream.schema_log AS l SET acked = true
           FROM pgstream.schema_log_applied AS a
          WHERE a.slot = $1 AND a.schema_log_id = l.id AND NOT l.acked",
    )
    .bind(slot)
    .execute(pool)
    .await
    .map_err(failed("acknowledge what was written to"))?;
    Ok(())
}

fn columns(entries: &[At]) -> (Vec<&str>, Vec<String>) {
    let parts = entries.iter().map(|(id, lsn)| (id.as_str(), lsn.to_string()));
    parts.unzip()
}

/// Deletes entries, at most `limit`, that are older than `age` and that no reader needs, the one of `slot` or another;
/// and what is noted for slots that there are not any more. Says how many entries that were.
///
/// A reader may need an entry until it has confirmed the transaction of one that makes it superfluous: only from then on
/// every start of it is beyond that. What a slot has confirmed is in memory until the next checkpoint, and a crash of
/// the server takes it back; where it begins to decode is on disk, and never beyond.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn prune(pool: &PgPool, slot: &str, age: Duration, limit: i64) -> Result<u64, StoreError> {
    sqlx::query(
        "DELETE FROM pgstream.schema_log_applied AS a
          WHERE NOT EXISTS (SELECT FROM pg_replication_slots AS s WHERE s.slot_name = a.slot)",
    )
    .execute(pool)
    .await
    .map_err(failed("delete from"))?;
    let gone: i64 = sqlx::query_scalar(
        "WITH readers AS MATERIALIZED (
             SELECT s.slot_name::text AS slot, s.restart_lsn FROM pg_replication_slots AS s
              WHERE EXISTS (SELECT FROM pgstream.schema_log_applied AS a WHERE a.slot = s.slot_name)),
         gone AS MATERIALIZED (
             SELECT a.schema_log_id AS id
               FROM pgstream.schema_log_applied AS a
               LEFT JOIN pgstream.schema_log AS l ON l.id = a.schema_log_id
              WHERE a.slot = $1 AND a.superseded_at IS NOT NULL
                AND (l.id IS NULL
                     OR l.acked AND l.created_at < (now() AT TIME ZONE 'UTC') - $2 * interval '1 second')
                AND NOT EXISTS (
                        SELECT FROM readers AS r WHERE (a.superseded_at < r.restart_lsn) IS NOT TRUE)
                AND NOT EXISTS (
                        SELECT FROM readers AS r
                          JOIN pgstream.schema_log_applied AS o ON o.slot = r.slot
                         WHERE o.schema_log_id = a.schema_log_id
                           AND (o.superseded_at < r.restart_lsn) IS NOT TRUE)
              ORDER BY a.superseded_at LIMIT $3),
         tables AS (DELETE FROM pgstream.schema_log_tables AS t USING gone WHERE t.schema_log_id = gone.id),
         applied AS (DELETE FROM pgstream.schema_log_applied AS a USING gone WHERE a.schema_log_id = gone.id),
         entries AS (DELETE FROM pgstream.schema_log AS l USING gone WHERE l.id = gone.id)
         SELECT count(*) FROM gone",
    )
    .bind(slot)
    .bind(age.as_secs_f64())
    .bind(limit)
    .fetch_one(pool)
    .await
    .map_err(failed("delete from"))?;
    Ok(gone.unsigned_abs())
}

/// Forgets what `slot` has applied: its reader goes on without, or begins anew. Does nothing in a database that has no
/// schema log of this release.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn forget(pool: &PgPool, slot: &str) -> Result<(), StoreError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('pgstream.schema_log_applied') IS NOT NULL")
        .fetch_one(pool)
        .await
        .map_err(failed("look for"))?;
    if exists {
        sqlx::query("DELETE FROM pgstream.schema_log_applied WHERE slot = $1")
            .bind(slot)
            .execute(pool)
            .await
            .map_err(failed("delete from"))?;
    }
    Ok(())
}

fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::table(action, "pgstream.schema_log_applied")
}
