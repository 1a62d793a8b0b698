//! From a submitted delivery to its outcome.
//!
//! The way of a delivery: [`Dispatcher::submit`] puts it into the [`lanes`] of its endpoint's [`Outbox`]; a token of
//! that outbox enters the `ready` queue; a worker takes the token, then work and a connection slot from the outbox,
//! and makes the exchange; on its return it records the [`outcome`] and takes the next work under the same lock.
//!
//! What an endpoint does not take goes to its backlog in the store, and comes back from there: that is the work of the
//! keepers (`keeper`), as the outbox gives it out. `pressure` chooses whom to spill when memory is short, and
//! `recovery` takes up what the store knows at the start and whenever an operator changes it.
//!
//! Pure are [`lanes`], [`outcome`], [`retry`] and [`window`]. Only `worker` knows ureq. This room does not know where
//! events come from: it is threads for the exchanges, a few tasks for the store, and one short lock for each endpoint.

mod backing;
mod dispatch;
mod keeper;
pub mod lanes;
pub mod model;
mod outbox;
pub mod outcome;
mod pressure;
mod ready;
mod recovery;
mod report;
mod request;
pub mod retry;
mod target;
mod timer;
mod timings;
pub mod window;
mod worker;

pub use dispatch::{Dispatcher, DispatcherError, Limits};
pub use outbox::{Counts, Figures, Outbox, Retention};
pub use ready::Workers;
pub use target::{Target, TargetError};
pub use timings::Timings;
