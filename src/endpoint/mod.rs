//! A URL and how to talk to it. A *subscription* says what an endpoint gets; this room says how.
//!
//! Knows nothing of events, queues or sockets.

mod health;
mod model;
mod registry;

pub use health::{Health, HealthChange};
pub use model::{EndpointSettings, Order};
pub use registry::Registry;
