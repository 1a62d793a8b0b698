//! A URL and how to talk to it. A *subscription* says what an endpoint gets; this room says how.
//!
//! Knows nothing of events, queues or sockets.

mod health;
pub mod model;
mod registry;

pub use health::{Health, HealthState, Permission, Transition};
pub use model::{Batching, EndpointSettings, Order, Standing};
pub use registry::Registry;
