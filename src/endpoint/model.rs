//! How to talk to an endpoint.

use std::time::Duration;

/// In which order an endpoint gets its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The changes of one row in commit order, different rows side by side.
    #[default]
    Key,
    /// One delivery at a time, in commit order.
    Serial,
    /// As fast as it goes, in any order.
    Unordered,
}

/// The settings of one endpoint. A URL that nobody configured has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// The order of its deliveries.
    pub order: Order,
    /// How many requests may be in flight at one time, at most.
    pub in_flight: usize,
    /// How long an exchange may take from connecting to the complete head of the response.
    pub timeout: Duration,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            order: Order::Key,
            in_flight: 64,
            timeout: Duration::from_secs(10),
        }
    }
}
