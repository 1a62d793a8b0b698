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

impl Order {
    /// Its name in tables and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Serial => "serial",
            Self::Unordered => "none",
        }
    }
}

impl std::str::FromStr for Order {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Key, Self::Serial, Self::Unordered]
            .into_iter()
            .find(|order| order.as_str() == name)
            .ok_or_else(|| format!("{name:?} is not an order: it is key, serial or none"))
    }
}

/// How events are put together into one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// The most events of one request; 1 means that they are not put together.
    pub size: usize,
    /// How long the first event waits for others.
    pub wait: Duration,
    /// The most bytes of events in one request.
    pub bytes: u64,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            size: 1,
            wait: Duration::from_millis(100),
            bytes: 1024 * 1024,
        }
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
    /// How events are put together.
    pub batch: Batching,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            order: Order::Key,
            in_flight: 64,
            timeout: Duration::from_secs(10),
            batch: Batching::default(),
        }
    }
}

/// What is configured of one endpoint; `None` is the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointOverrides {
    /// The endpoint.
    pub url: String,
    /// What is wanted of it.
    pub standing: Standing,
    /// Why.
    pub reason: Option<String>,
    /// The order of its deliveries.
    pub order: Option<Order>,
    /// How many requests may be in flight.
    pub in_flight: Option<usize>,
    /// How long an exchange may take.
    pub timeout: Option<Duration>,
    /// The most events of one request.
    pub batch_size: Option<usize>,
    /// How long the first event of a batch waits for others.
    pub batch_wait: Option<Duration>,
    /// The most bytes of events in one request.
    pub batch_bytes: Option<u64>,
}
