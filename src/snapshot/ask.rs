//! Asking for backfills: tables that are to be read once more, for one endpoint. The program that streams the slot does it.

use slog::{Logger, info};

use super::SnapshotError;
use super::choose::{Obstacle, Wanted, choose};
use crate::filter::TableFilter;
use crate::patterns::Patterns;
use crate::store::PgPool;
use crate::store::snapshot as state;

/// Where backfills are asked for.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The database that is streamed, for its catalogs.
    pub source: PgPool,
    /// Where it is written down.
    pub store: PgPool,
    /// The slot whose program is asked.
    pub slot: String,
    /// Which tables' changes are taken at all.
    pub filter: TableFilter,
    /// Where it is told what is not read.
    pub log: Logger,
}

/// A backfill that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its number.
    pub backfill: i64,
    /// Its tables, the largest first.
    pub tables: Vec<String>,
}

impl Asking {
    /// Asks for the rows of these tables, for this endpoint. Whoever streams begins between two transactions.
    ///
    /// # Errors
    /// [`SnapshotError::Obstacles`], [`SnapshotError::Nothing`], [`SnapshotError::Store`]
    pub async fn ask(
        &self,
        endpoint: &str,
        tables: &Patterns,
        excluded: &Patterns,
    ) -> Result<Asked, SnapshotError> {
        let relations = state::relations(&self.source).await?;
        let wanted = Wanted {
            tables,
            excluded,
            filter: &self.filter,
            done: &[],
        };
        let chosen = choose(&relations, wanted).map_err(SnapshotError::Obstacles)?;
        if !chosen.unmatched.is_empty() {
            let obstacles = chosen.unmatched.into_iter().map(Obstacle::NoTable);
            return Err(SnapshotError::Obstacles(obstacles.collect()));
        }
        for relation in &chosen.left_out {
            info!(self.log, "not read: it has no rows of its own"; "relation" => %relation, "kind" => %relation.kind);
        }
        if chosen.tables.is_empty() {
            return Err(SnapshotError::Nothing);
        }
        let backfill = state::request(&self.store, &self.slot, endpoint, &chosen.tables).await?;
        Ok(Asked {
            backfill,
            tables: chosen.tables.iter().map(ToString::to_string).collect(),
        })
    }
}
