//! What an operator can do to endpoints and dead letters. `cli` and `api` call it; it speaks to `store` only.
//!
//! - [`endpoints`]: look at endpoints, pause, resume, disable and enable them.
//! - [`settings`]: how to talk to one.
//! - [`moving`]: a backlog goes to another endpoint.
//! - [`letters`]: look at dead letters, replay and discard them.
//! - [`backfills`]: look at them, break them off.
//! - [`documents`]: what is answered, in the shape that programs read.
//!
//! Everything is done in the store's database, whether `run` is up or not; a running program hears of it over the
//! store's channel. What goes over many rows is done in steps of one transaction each, so that it can be interrupted
//! and done again: between two steps the caller is asked whether to go on.
//!
//! Input is text, as an operator writes it, and is read here, so that the command line and the API take the same.

pub mod backfills;
pub mod documents;
pub mod endpoints;
mod error;
pub mod letters;
pub mod moving;
pub mod settings;
pub mod snapshots;

pub use error::OperatorError;
