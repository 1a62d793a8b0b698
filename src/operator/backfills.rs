//! Backfills: what has become of them, and breaking them off.

use serde::Serialize;

use super::OperatorError;
use super::documents::timestamp;
use crate::store::PgPool;
use crate::store::snapshot::{self, TableRow};

/// All backfills that are remembered.
#[derive(Debug, Serialize)]
pub struct BackfillList {
    /// The newest first.
    pub backfills: Vec<Backfill>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct Backfill {
    /// Its number.
    pub id: i64,
    /// The slot whose program does it.
    pub slot: String,
    /// Who gets the rows.
    pub url: String,
    /// `pending`, `reading`, `done`, `cancelled` or `failed`.
    pub state: &'static str,
    /// Its tables, the largest first.
    pub tables: Vec<BackfillTable>,
}

/// How far one of its tables is.
#[derive(Debug, Serialize)]
pub struct BackfillTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// `pending`, `reading`, `done`, `cancelled` or `failed`.
    pub state: &'static str,
    /// Rows read so far, as of the last ten seconds.
    pub rows: u64,
    /// What they took, in bytes.
    pub bytes: u64,
    /// How many rows PostgreSQL thinks it has.
    pub estimated_rows: u64,
    /// What it takes on disk, in bytes.
    pub total_bytes: u64,
    /// When its reading began (RFC 3339, UTC).
    pub started_at: Option<String>,
    /// When all its rows were settled, or it was broken off.
    pub finished_at: Option<String>,
    /// Why it could not be read.
    pub problem: Option<String>,
}

/// What a cancellation came to.
#[derive(Debug, Serialize)]
pub struct Cancelled {
    /// The number of the backfill.
    pub id: i64,
    /// Tables that are not read to their end because of it.
    pub tables: u64,
}

/// Lists them.
///
/// # Errors
/// [`OperatorError::Store`]
pub async fn list(store: &PgPool) -> Result<BackfillList, OperatorError> {
    let mut backfills: Vec<Backfill> = Vec::new();
    for row in snapshot::backfills(store).await? {
        let is_next = backfills.last().is_none_or(|last| last.id != row.backfill);
        if is_next {
            backfills.push(Backfill {
                id: row.backfill,
                slot: row.slot.clone(),
                url: row.endpoint.clone().unwrap_or_default(),
                state: "done",
                tables: Vec::new(),
            });
        }
        if let Some(backfill) = backfills.last_mut() {
            backfill.tables.push(BackfillTable::from(row));
        }
    }
    for backfill in &mut backfills {
        backfill.state = overall(&backfill.tables);
    }
    Ok(BackfillList { backfills })
}

/// Breaks one off: what is not read yet is not read any more. Rows that are on their way are still delivered.
///
/// # Errors
/// [`OperatorError::UnknownBackfill`], [`OperatorError::Store`]
pub async fn cancel(store: &PgPool, id: i64) -> Result<Cancelled, OperatorError> {
    match snapshot::cancel(store, id).await? {
        Some(tables) => Ok(Cancelled { id, tables }),
        None => Err(OperatorError::UnknownBackfill(id)),
    }
}

/// What is going on comes first, then what went wrong.
fn overall(tables: &[BackfillTable]) -> &'static str {
    let is_any = |state| tables.iter().any(|table| table.state == state);
    if is_any("pending") && tables.iter().all(|table| table.state == "pending") {
        return "pending";
    }
    if is_any("reading") || is_any("pending") {
        return "reading";
    }
    let ends = ["failed", "cancelled"];
    ends.into_iter().find(|state| is_any(state)).unwrap_or("done")
}

impl From<TableRow> for BackfillTable {
    fn from(row: TableRow) -> Self {
        Self {
            schema: row.schema,
            table: row.table,
            state: row.state.as_str(),
            rows: row.read_rows,
            bytes: row.read_bytes,
            estimated_rows: row.estimated_rows,
            total_bytes: row.total_bytes,
            started_at: row.started_at.map(timestamp),
            finished_at: row.finished_at.map(timestamp),
            problem: row.problem,
        }
    }
}
