//! How to talk to an endpoint.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

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

impl Order {
    /// Its name in tables, flags and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Serial => "serial",
            Self::Unordered => "none",
        }
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Key, Self::Serial, Self::Unordered]
            .into_iter()
            .find(|order| order.as_str() == name)
            .ok_or_else(|| format!("{name:?} is not an order: it is key, serial or none"))
    }
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

impl FromStr for Standing {
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
    /// How many events go into one request.
    pub batch: Batching,
}

/// How many events go into one request, and how long they are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// At most so many; with 1 there are no batches.
    pub size: usize,
    /// How long the first waits for more.
    pub wait: Duration,
    /// At most so many bytes of payload, but for one larger event.
    pub bytes: u64,
}

/// What was configured for one endpoint; the rest is as in the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointOverrides {
    /// The endpoint.
    pub url: String,
    /// What is wanted of it.
    pub standing: Standing,
    /// Why.
    pub reason: Option<String>,
    /// See [`EndpointSettings::order`].
    pub order: Option<Order>,
    /// See [`EndpointSettings::in_flight`].
    pub in_flight: Option<usize>,
    /// See [`EndpointSettings::timeout`].
    pub timeout: Option<Duration>,
    /// See [`Batching::size`].
    pub batch_size: Option<usize>,
    /// See [`Batching::wait`].
    pub batch_wait: Option<Duration>,
    /// See [`Batching::bytes`].
    pub batch_bytes: Option<u64>,
    /// When it was last changed.
    pub changed_at: SystemTime,
}

impl EndpointOverrides {
    /// The settings that hold.
    #[must_use]
    pub fn settings(&self, defaults: &EndpointSettings) -> EndpointSettings {
        EndpointSettings {
            order: self.order.unwrap_or(defaults.order),
            in_flight: self.in_flight.unwrap_or(defaults.in_flight),
            timeout: self.timeout.unwrap_or(defaults.timeout),
            batch: Batching {
                size: self.batch_size.unwrap_or(defaults.batch.size),
                wait: self.batch_wait.unwrap_or(defaults.batch.wait),
                bytes: self.batch_bytes.unwrap_or(defaults.batch.bytes),
            },
        }
    }
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            order: Order::Key,
            in_flight: 64,
            timeout: Duration::from_secs(10),
            batch: Batching {
                size: 1,
                wait: Duration::ZERO,
                bytes: 1024 * 1024,
            },
        }
    }
}
