//! What `init` and `tear-down` do: everything pgstream needs in PostgreSQL, made and removed.
//!
//! - [`init`]: checks the preconditions, migrates both databases, creates the replication slot.
//! - [`tear_down`]: removes all of it.
//!
//! Speaks to PostgreSQL through [`store`](crate::store) only, and prints nothing: what the operator is to hear goes
//! to the caller, in the report, the error, or while waiting through `notice`.

mod error;
mod init;
pub mod plugin;
mod precondition;
mod preconditions;
mod tear_down;

pub use error::SetupError;
pub use init::{InitOptions, InitReport, init};
pub use precondition::Precondition;
pub use tear_down::{TearDownOptions, TearDownReport, tear_down};
