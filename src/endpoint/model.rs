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

/// What the operator, or the receiver with a 410, wants of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It gets its deliveries.
    #[default]
    Active,
    /// It gets nothing until it is resumed; its events are kept.
    Paused,
    /// It gets nothing until it is enabled; its events are kept.
    Disabled,
}

impl Standing {
    /// Its name in tables and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

impl std::str::FromStr for Standing {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Active, Self::Paused, Self::Disabled]
            .into_iter()
            .find(|standing| standing.as_str() == name)
            .ok_or_else(|| format!("{name:?} is not a standing: it is active, paused or disabled"))
    }
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
