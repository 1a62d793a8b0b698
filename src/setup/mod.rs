//! What `init`, `tear-down` and `skip` do: everything pgstream needs in PostgreSQL, made and removed.
//!
//! - [`init`]: checks the preconditions, migrates both databases, creates the replication slot.
//! - [`tear_down`]: removes all of it.
//! - [`skip`]: goes on without a transaction that cannot be sent.
//!
//! Speaks to PostgreSQL through [`store`](crate::store) only, and prints nothing: what the operator is to hear goes
//! to the caller, in the report, the error, or while waiting through `notice`.

mod error;
mod init;
mod preconditions;
pub mod skip;
mod tear_down;

pub use error::{Precondition, SetupError};
pub use init::{InitOptions, InitReport, init};
pub use tear_down::{TearDownOptions, TearDownReport, tear_down};
