//! What `init`, `check`, `status`, `skip` and `tear-down` do: everything pgstream needs in PostgreSQL, made, looked at and removed.
//!
//! - [`init`]: checks the preconditions, migrates both databases, creates the replication slot.
//! - [`tear_down`]: removes all of it.
//! - [`skip`]: goes on without a transaction that cannot be sent.
//! - [`check`]: whether `init` would do, and [`status`]: how all of it does. Both answer within five seconds.
//! - [`slot_risk`], [`synchronous`]: what is dangerous about a slot and its walsender. `run` watches that too.
//!
//! Speaks to PostgreSQL through [`store`](crate::store) only, and prints nothing: what the operator is to hear goes
//! to the caller, in the report, the error, or while waiting through `notice`.

pub mod check;
mod error;
pub mod findings;
mod init;
pub mod plugin;
mod precondition;
mod preconditions;
mod reach;
pub mod skip;
pub mod slot_risk;
pub mod status;
pub mod synchronous;
mod tear_down;

pub use error::SetupError;
pub use init::{InitOptions, InitReport, init};
pub use precondition::Precondition;
pub use tear_down::{TearDownOptions, TearDownReport, tear_down};

use crate::store::{PgPool, StoreError, server};

/// Whether the text of this database can be streamed as it is.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn check_encoding(source: &PgPool) -> Result<Result<(), Precondition>, StoreError> {
    let server = server::describe(source).await?;
    Ok(preconditions::check_encoding(&server))
}
