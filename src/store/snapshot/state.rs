//! The table `pgstream.snapshot_tables`: which tables are to be read, and how far that has come.

use std::time::SystemTime;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};

use super::endpoints::{sends_other_rows, sends_rows};
use crate::snapshot::model::{Exported, Relation};
use crate::store::StoreError;
use crate::store::backlog::columns::time;

/// How far a table has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// It is still to be read.
    Pending,
    /// It is to be read as soon as a subscription asks for its rows.
    Waiting,
    /// It is being read, or its reading was interrupted.
    Reading,
    /// All its rows are settled.
    Done,
    /// An operator has broken it off.
    Cancelled,
    /// It could not be read.
    Failed,
}

impl SnapshotState {
    const ALL: [Self; 6] = [
        Self::Pending,
        Self::Waiting,
        Self::Reading,
        Self::Done,
        Self::Cancelled,
        Self::Failed,
    ];

    /// Its name where it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Reading => "reading",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct TableRow {
    /// The slot whose program reads it.
    pub slot: String,
    /// The backfill that it is read for; 0 if for whoever receives its rows.
    pub backfill: i64,
    /// Who that is for.
    pub endpoint: Option<String>,
    /// Its OID in the source.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Schema and name of the topmost partitioned table that it is a partition of, if it is one.
    pub root: Option<(String, String)>,
    /// How far it has come.
    pub state: SnapshotState,
    /// Whether it was planned before anything of the stream could have been sent to anyone.
    pub fresh: bool,
    /// The run that its rows' ids are of.
    pub run: i64,
    /// How many rows it was thought to have.
    pub estimated_rows: u64,
    /// What it took on disk.
    pub total_bytes: u64,
    /// How many rows have been read.
    pub read_rows: u64,
    /// How many bytes they took.
    pub read_bytes: u64,
    /// When the reading began that is the last one.
    pub started_at: Option<SystemTime>,
    /// When all its rows were settled.
    pub finished_at: Option<SystemTime>,
    /// Why it could not be read.
    pub problem: Option<String>,
}

#[cfg(test)]
impl TableRow {
    /// One of a table that is still to be read, for tests.
    pub(crate) fn sample() -> Self {
        Self {
            slot: "slot".to_owned(),
            backfill: 0,
            endpoint: None,
            oid: 1,
            schema: "s".to_owned(),
            table: "t".to_owned(),
            root: None,
            state: SnapshotState::Pending,
            fresh: true,
            run: 1,
            estimated_rows: 0,
            total_bytes: 0,
            read_rows: 0,
            read_bytes: 0,
            started_at: None,
            finished_at: None,
            problem: None,
        }
    }
}

/// How far the reading of one table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The table.
    pub oid: u32,
    /// The backfill that it is read for, or 0.
    pub backfill: i64,
    /// How many rows have been read.
    pub rows: u64,
    /// How many bytes they took.
    pub bytes: u64,
}

impl Progress {
    /// That of a table that is not read for whoever would receive its rows, since nobody does.
    #[must_use]
    pub const fn none(oid: u32) -> Self {
        Self {
            oid,
            backfill: 0,
            rows: 0,
            bytes: 0,
        }
    }
}

pub(super) const COLUMNS: &str =
    "slot, backfill, endpoint, problem, root, oid, schema_name, table_name, state, fresh, run, estimated_rows, total_bytes, read_rows, read_bytes,
    (EXTRACT(epoch FROM started_at) * 1000000)::bigint AS started_at,
    (EXTRACT(epoch FROM finished_at) * 1000000)::bigint AS finished_at";

pub(super) fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::table(action, "pgstream.snapshot_tables")
}

/// The OIDs of the tables that are done.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn done_before(pool: &PgPool, slot: &str) -> Result<Vec<u32>, StoreError> {
    let oids: Vec<i64> = sqlx::query_scalar(
        "SELECT oid FROM pgstream.snapshot_tables WHERE slot = $1 AND backfill = 0 AND state = 'done'",
    )
    .bind(slot)
    .fetch_all(pool)
    .await
    .map_err(failed("read"))?;
    Ok(oids
        .into_iter()
        .filter_map(|oid| u32::try_from(oid).ok())
        .collect())
}

/// Plans the reading of tables, and returns how far each of them has come. One that was begun goes on in the run that it is
/// of; others are of a new run, as are those that are done, where they are to be read again. What is known of tables that
/// `exists` does not name any more is deleted.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn plan(
    pool: &PgPool,
    slot: &str,
    tables: &[Relation],
    exists: &[Relation],
    repeat: bool,
) -> Result<Vec<TableRow>, StoreError> {
    let mut transaction = pool.begin().await.map_err(failed("write to"))?;
    let oids = |relations: &[Relation]| -> Vec<i64> {
        relations.iter().map(|relation| i64::from(relation.oid)).collect()
    };
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let roots: Vec<Option<String>> = tables.iter().map(|table| table.root.as_ref().map(root)).collect();
    sqlx::query("DELETE FROM pgstream.snapshot_tables WHERE slot = $1 AND backfill = 0 AND oid <> ALL ($2)")
        .bind(slot)
        .bind(oids(exists))
        .execute(&mut *transaction)
        .await
        .map_err(failed("delete from"))?;
    // Under another name, changes may have been sent to those who are written down as never having been sent any.
    sqlx::query(
        "UPDATE pgstream.snapshot_endpoints AS e SET fresh = false, snapshot = NULL, until_lsn = NULL
           FROM pgstream.snapshot_tables AS t,
                unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS a(oid, schema_name, table_name, root)
          WHERE e.slot = $1 AND e.fresh AND t.slot = e.slot AND t.oid = e.oid AND t.backfill = 0 AND a.oid = t.oid
            AND t.state <> 'done'
            AND (t.schema_name, t.table_name, t.root) IS DISTINCT FROM (a.schema_name, a.table_name, a.root)",
    )
    .bind(slot)
    .bind(oids(tables))
    .bind(&schemas)
    .bind(&names)
    .bind(&roots)
    .execute(&mut *transaction)
    .await
    .map_err(failed("write to"))?;
    sqlx::query(
        "WITH run AS MATERIALIZED (SELECT nextval('pgstream.snapshot_runs') AS run)
         INSERT INTO pgstream.snapshot_tables AS t
                (slot, oid, schema_name, table_name, root, fresh, run, estimated_rows, total_bytes)
         SELECT $1, a.oid, a.schema_name, a.table_name, a.root,
                EXISTS (SELECT FROM pgstream.snapshot_slots AS s WHERE s.slot = $1)
                    AND NOT EXISTS (SELECT FROM pgstream.snapshot_slots AS s WHERE s.started),
                run.run, a.rows, a.bytes
           FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $8::text[])
                AS a(oid, schema_name, table_name, rows, bytes, root), run
             ON CONFLICT (slot, backfill, oid) DO UPDATE
            SET schema_name = excluded.schema_name, table_name = excluded.table_name,
                estimated_rows = excluded.estimated_rows, total_bytes = excluded.total_bytes,
                state = CASE WHEN t.state = 'done' AND $7 THEN 'pending' ELSE t.state END,
                fresh = t.fresh AND NOT (t.state = 'done' AND $7)
                    AND (t.schema_name, t.table_name, t.root) IS NOT DISTINCT FROM
                        (excluded.schema_name, excluded.table_name, excluded.root),
                root = excluded.root,
                run = CASE WHEN t.state = 'done' AND $7 THEN excluded.run ELSE t.run END,
                read_rows = CASE WHEN t.state = 'done' AND NOT $7 THEN t.read_rows ELSE 0 END,
                read_bytes = CASE WHEN t.state = 'done' AND NOT $7 THEN t.read_bytes ELSE 0 END,
                finished_at = CASE WHEN t.state = 'done' AND NOT $7 THEN t.finished_at END",
    )
    .bind(slot)
    .bind(oids(tables))
    .bind(&schemas)
    .bind(&names)
    .bind(tables.iter().map(|table| number(table.rows)).collect::<Vec<_>>())
    .bind(tables.iter().map(|table| number(table.bytes)).collect::<Vec<_>>())
    .bind(repeat)
    .bind(&roots)
    .execute(&mut *transaction)
    .await
    .map_err(failed("write to"))?;
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM pgstream.snapshot_tables WHERE slot = $1 AND backfill = 0 AND oid = ANY ($2)"
    )))
    .bind(slot)
    .bind(oids(tables))
    .fetch_all(&mut *transaction)
    .await
    .map_err(failed("read"))?;
    transaction.commit().await.map_err(failed("write to"))?;
    rows.iter()
        .map(row)
        .collect::<Result<_, _>>()
        .map_err(failed("read"))
}

/// A table is read from its start, under this snapshot, for these endpoints. What it sees is left out for those that were never
/// sent a change of the table. One transaction.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn begin(
    pool: &PgPool,
    slot: &str,
    (table, backfill): (&Relation, i64),
    snapshot: &Exported,
    endpoints: &[&str],
) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.map_err(failed("write to"))?;
    if backfill == 0 {
        sends_rows(&mut transaction, slot, table, snapshot, endpoints).await?;
    } else {
        sends_other_rows(&mut transaction, slot, table, endpoints).await?;
    }
    sqlx::query(
        "UPDATE pgstream.snapshot_tables
            SET state = 'reading', fresh = false, total_bytes = $3, read_rows = 0, read_bytes = 0, started_at = now(),
                finished_at = NULL, problem = NULL
          WHERE slot = $1 AND oid = $2 AND backfill = $4 AND state <> 'cancelled'",
    )
    .bind(slot)
    .bind(i64::from(table.oid))
    .bind(number(table.bytes))
    .bind(backfill)
    .execute(&mut *transaction)
    .await
    .map_err(failed("write to"))?;
    transaction.commit().await.map_err(failed("write to"))
}

/// Writes down how far tables are that are being read.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn progress(pool: &PgPool, slot: &str, tables: &[Progress]) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE pgstream.snapshot_tables AS t SET read_rows = p.rows, read_bytes = p.bytes
           FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS p(oid, rows, bytes, backfill)
          WHERE t.slot = $1 AND t.oid = p.oid AND t.backfill = p.backfill AND t.state = 'reading'",
    );
    let each = |of: fn(&Progress) -> i64| tables.iter().map(of).collect::<Vec<i64>>();
    let update = update
        .bind(slot)
        .bind(each(|table| i64::from(table.oid)))
        .bind(each(|table| number(table.rows)))
        .bind(each(|table| number(table.bytes)))
        .bind(each(|table| table.backfill));
    write(pool, update).await
}

/// All rows of a table are settled.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn done(pool: &PgPool, slot: &str, table: &Progress) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE pgstream.snapshot_tables
            SET state = 'done', read_rows = $3, read_bytes = $4, finished_at = now()
          WHERE slot = $1 AND oid = $2 AND backfill = $5 AND state <> 'cancelled'",
    );
    let update = update.bind(slot).bind(i64::from(table.oid));
    let update = update.bind(number(table.rows)).bind(number(table.bytes));
    write(pool, update.bind(table.backfill)).await
}

/// A table cannot be read, and is set aside until the next start: its changes go on, and nothing is left out of them.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn set_aside(pool: &PgPool, slot: &str, oid: u32) -> Result<(), StoreError> {
    put_off(pool, slot, oid, SnapshotState::Pending).await
}

/// Nobody asks for the rows of a table yet, or any more: nothing is left out of its changes.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn waiting(pool: &PgPool, slot: &str, oid: u32) -> Result<(), StoreError> {
    put_off(pool, slot, oid, SnapshotState::Waiting).await
}

/// A table is not read now. Of one that was begun, rows may be missing, so that whoever was sent some is sent all changes.
async fn put_off(pool: &PgPool, slot: &str, oid: u32, state: SnapshotState) -> Result<(), StoreError> {
    let update = sqlx::query(
        "WITH endpoints AS (
             UPDATE pgstream.snapshot_endpoints SET snapshot = NULL, until_lsn = NULL, fresh = false WHERE slot = $1 AND oid = $2)
         UPDATE pgstream.snapshot_tables SET state = $3, started_at = NULL, fresh = fresh AND $3 = 'waiting'
          WHERE slot = $1 AND oid = $2 AND backfill = 0",
    );
    write(pool, update.bind(slot).bind(i64::from(oid)).bind(state.as_str())).await
}

pub(super) async fn write(
    pool: &PgPool,
    statement: Query<'_, Postgres, PgArguments>,
) -> Result<(), StoreError> {
    let done = statement.execute(pool).await;
    done.map(drop).map_err(failed("write to"))
}

/// What is known of all tables that are not read for a backfill, in the order of their names.
///
/// # Errors
/// [`StoreError::Table`]
pub async fn list(pool: &PgPool) -> Result<Vec<TableRow>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM pgstream.snapshot_tables WHERE backfill = 0 ORDER BY slot, schema_name, table_name, oid"
    )))
    .fetch_all(pool)
    .await
    .map_err(failed("read"))?;
    rows.iter()
        .map(row)
        .collect::<Result<_, _>>()
        .map_err(failed("read"))
}

/// Both names of a root as one text.
pub(super) fn root((schema, table): &(String, String)) -> String {
    serde_json::json!([schema, table]).to_string()
}

/// The other way round.
fn names(root: Option<&str>) -> Option<(String, String)> {
    serde_json::from_str(root?).ok()
}

pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn row(row: &PgRow) -> Result<TableRow, sqlx::Error> {
    let count = |column: &str| row.try_get(column).map(i64::unsigned_abs);
    let state: &str = row.try_get("state")?;
    let known = SnapshotState::ALL
        .into_iter()
        .find(|known| known.as_str() == state);
    let oid: i64 = row.try_get("oid")?;
    Ok(TableRow {
        slot: row.try_get("slot")?,
        backfill: row.try_get("backfill")?,
        endpoint: row.try_get("endpoint")?,
        problem: row.try_get("problem")?,
        root: names(row.try_get("root")?),
        oid: u32::try_from(oid).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        schema: row.try_get("schema_name")?,
        table: row.try_get("table_name")?,
        state: known.ok_or_else(|| sqlx::Error::Decode(format!("an unknown state {state:?}").into()))?,
        fresh: row.try_get("fresh")?,
        run: row.try_get("run")?,
        estimated_rows: count("estimated_rows")?,
        total_bytes: count("total_bytes")?,
        read_rows: count("read_rows")?,
        read_bytes: count("read_bytes")?,
        started_at: time(row.try_get("started_at")?),
        finished_at: time(row.try_get("finished_at")?),
    })
}
