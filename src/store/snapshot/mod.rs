//! What snapshots need of databases: the relations of the source, sessions that read them, and the table of how far the
//! reading has come.

mod backfills;
mod endpoints;
mod holds;
mod reading;
mod relations;
mod state;

pub use backfills::{BackfillNews, backfills, cancel, fail, request};
pub use endpoints::{
    LeftOut, are_fresh, has_history, history_ended, left_out, left_out_of, slot_made, stream_starts,
};
pub use holds::{Held, HeldTotals, Released, end_hold, held_bytes, held_totals, hold, holds, keep, release};
pub use reading::{Reading, Rows};
pub use relations::relations;
pub use state::{
    Progress, SnapshotState, TableRow, begin, done, done_before, list, plan, progress, set_aside, waiting,
};
