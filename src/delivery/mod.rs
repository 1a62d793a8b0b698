//! From a submitted delivery to its outcome.
//!
//! The way of a delivery: [`Dispatcher::submit`] puts it into the [`lanes`] of its endpoint's [`Outbox`]; a token of
//! that outbox enters the `ready` queue; a worker takes the token, then work and a connection slot from the outbox,
//! and makes the exchange; on its return it records the [`outcome`] and takes the next work under the same lock.
//!
//! Pure are [`lanes`], [`outcome`], [`retry`] and [`window`]. Only `worker` knows ureq. This room knows neither
//! PostgreSQL nor tokio's runtime: it is threads, and one short lock for each endpoint.

mod dispatch;
pub mod lanes;
mod outbox;
pub mod outcome;
mod ready;
mod request;
pub mod retry;
mod target;
mod timer;
pub mod window;
mod worker;

pub use dispatch::{Dispatcher, DispatcherError, Drained, Limits};
pub use outbox::Outbox;
pub use target::{Target, TargetError};
