//! From a record to deliveries: filter, match, encode, submit.
//!
//! The stream enters here through [`StreamIntake`], rows that were read from tables through [`RowIntake`]. What happens to
//! a record of the stream:
//!
//! ```text
//! header -> own table?  -> relation (its partition root) -> receivers of (set, relation, action)
//!        -> none: counted and gone, its columns never looked at
//!        -> some: parse -> share of the budget -> id, place, payload -> one event, one delivery a receiver -> batch
//!                 (but for whom it is held while rows are read, and who has it as a row)
//!
//! header -> schema_log, schema_log_tables: parse -> injector -> what relations are described by from here on
//! ```
//!
//! A record that has to wait, for the budget, the injector, a fresh subscription set, a catalog look-up or the end of a hold, is
//! parked: the intake is not ready until it has gone through, and nothing after it is read meanwhile. Stands between `replication` and
//! `delivery`, which do not know each other.

mod batch;
mod burial;
mod catalog;
mod counts;
mod error;
mod hand_over;
mod holds;
mod intake;
mod parked;
mod position;
mod relations;
mod routes;
mod rows;
mod sweep;

pub use counts::{IntakeCounts, TakenIn};
pub use error::PipelineError;
pub use hand_over::{Beginning, LeftOut, NoSnapshots, Snapshots, StreamPosition};
pub use holds::{HoldParts, Holds, Releases};
pub use intake::{Parts, RememberedPosition, StartingInjector, StreamIntake};
pub use position::{Position, Remembering, bound, remember};
pub use routes::Receivers;
pub use rows::{Audience, RowEntrance, RowIntake, RowTable};
pub use sweep::sweep;

/// The schema of our own tables, of which only the schema log's entries are delivered.
const OWN_SCHEMA: &str = "pgstream";
/// The table of the schema log, in [`OWN_SCHEMA`].
const SCHEMA_LOG: &str = "schema_log";
/// The table of what its entries touch, in [`OWN_SCHEMA`]: in the stream for the injector, never delivered.
const SCHEMA_LOG_TABLES: &str = "schema_log_tables";
/// Our own tables that the plugin leaves out of the stream, in [`OWN_SCHEMA`]. What it cannot leave out is filtered
/// here as well.
const FILTERED_TABLES: &[&str] = &[
    "table_ids",
    "schema_log_applied",
    "webhook_subscriptions",
    "webhook_endpoints",
    "webhook_endpoint_health",
    "webhook_backlog",
    "webhook_backlog_marks",
    "webhook_dead_letters",
    "snapshot_tables",
    "snapshot_slots",
    "snapshot_endpoints",
    "snapshot_holds",
    "snapshot_held",
    "replication_sources",
    "webhook_terms",
    "source_migrations",
    "store_migrations",
];

/// Tables that the plugin is to leave out of the stream, as `schema.table`.
#[must_use]
pub fn filtered_tables() -> Vec<String> {
    FILTERED_TABLES
        .iter()
        .map(|table| format!("{OWN_SCHEMA}.{table}"))
        .collect()
}
