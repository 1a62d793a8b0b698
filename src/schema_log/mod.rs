//! The schema log and the injector: which entries describe the tables of the changes that are read, and where that is
//! written down.
//!
//! Owns what is known of tables, and its durability. Must not know: how a change is delivered, who receives it, and SQL.
//!
//! # The invariant
//!
//! A change is described by the entries of the schema log that come before it in the stream, and by no other: those
//! of transactions that committed before its own, and those before it in its own transaction. So whatever the sessions
//! do that race with each other, what is known of a table is what was true of it for that change; and it is the same
//! after any restart, because
//!
//! 1. an entry is written down in `pgstream.schema_log_applied`, with the commit LSN of its transaction, before that
//!    transaction is confirmed: a settle token is held until it is on disk. Nothing waits for that but the confirmation;
//! 2. a start at position S first applies, in the order of their commits, the entries that are written down with a commit
//!    LSN before S. Those at or beyond S come by the stream (PostgreSQL sends the transactions whose commit record
//!    begins at S or later), and what is written down of them already does not count;
//! 3. an entry that another one has made superfluous is marked with that one's commit LSN, and left out only by a start
//!    beyond that; deleted it is only when every reader has confirmed that position. That a table was dropped is remembered
//!    until then, since a transaction that was open meanwhile may still show it.
//!
//! A run without the injector deletes what is written down for its slot: it confirms entries that it does not apply, so
//! that the next run with it has to begin anew. Then nothing is known but what entries say that are read from there on.
//! What is not known stays empty; it is never a reason to hold back or to drop an event.
//!
//! The one change that comes before the entry that describes it is a row that CREATE TABLE AS or SELECT INTO writes. When a
//! table is met that nothing describes, the database is asked what the transaction that is being read says of it further on:
//! such a row is described by the first entry to come of its own transaction that makes a table of its name.
//!
//! Deliberately absent: an entry of ALTER SCHEMA shows tables that it has not locked, and is believed although another session
//! may have altered one at that moment; rows written while ALTER SCHEMA ... RENAME committed still carry the old name, and may
//! go without ids. A gap in the
//! stream that an operator made (by advancing the slot), and what sessions with `pgstream.skip_log` have changed, is not
//! noticed; a slot that `init` makes begins anew.

mod error;
mod injector;
mod known;
pub mod model;
mod needed;
mod open;
mod recorder;

pub use error::InjectorError;
pub use injector::{Injector, LookAhead};
pub use known::KnownTables;
pub use open::{describe, open};
pub use recorder::{Ended, Recording};
