//! What the requests work on.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, warn};

use super::monitoring::Shown;
use crate::snapshot::Asking;
use crate::store::PgPool;
use crate::subscription::Subscriptions;
use crate::telemetry::Seldom;

/// What the requests work on.
#[derive(Clone)]
pub struct State {
    /// The store's database.
    pub store: PgPool,
    /// The set in use, which a change is put into before it is answered.
    pub subscriptions: Subscriptions,
    /// Where backfills are asked for.
    pub asking: Asking,
    /// What is shown of the program, if it is one that is monitored.
    pub shown: Option<Shown>,
    /// Where failures of the store are logged.
    pub log: Logger,
    /// How often: whoever asks may ask again and again.
    pub failures: Arc<Failures>,
}

/// What was logged of failures of the store.
#[derive(Debug)]
pub struct Failures(Seldom);

impl Default for Failures {
    fn default() -> Self {
        Self(Seldom::few(10, Duration::from_secs(60)))
    }
}

impl State {
    /// A request has failed at the store.
    pub(super) fn failed<E: Error + 'static>(&self, what: &'static str, error: &E) {
        if let Some(suppressed) = self.failures.0.admit(Instant::now()) {
            warn!(self.log, "{}", what; "event" => "request_failed", "error" => #error, "suppressed" => suppressed);
        }
    }
}
