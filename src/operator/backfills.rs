//! Backfills: what has become of them, and breaking them off.

use serde::Serialize;

use super::OperatorError;
use super::snapshots::ReadTable;
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
    /// The table itself.
    #[serde(flatten)]
    pub read: ReadTable,
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
    let is_any = |state| tables.iter().any(|table| table.read.state == state);
    if is_any("pending") && tables.iter().all(|table| table.read.state == "pending") {
        return "pending";
    }
    if is_any("reading") || is_any("pending") {
        return "reading";
    }
    let ends = ["failed", "cancelled"];
    ends.into_iter().find(|state| is_any(state)).unwrap_or("done")
}

impl From<TableRow> for BackfillTable {
    fn from(mut row: TableRow) -> Self {
        Self {
            problem: row.problem.take(),
            read: ReadTable::from(row),
        }
    }
}
