//! What an operator hears of: each change once, with its reason, and of an endpoint where they come in masses, some of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{debug, error, info, warn};

use super::dispatch::Shared;
use super::outbox::{Change, Outbox};
use crate::endpoint::{HealthState, Transition};
use crate::telemetry::Seldom;

/// The time in which so many lines of a kind are written about an endpoint, or about all where it is not about one.
const INTERVAL: Duration = Duration::from_secs(60);
/// How often it may be said in that time that an endpoint does better or worse.
const HEALTH: u32 = 20;
/// How often, that its deliveries go to its backlog, or that this is drained.
const ROUTE: u32 = 10;
/// How often, that an event of it becomes a dead letter: whoever refuses one may refuse all.
const LETTERS: u32 = 10;

/// What may be said of one endpoint.
#[derive(Debug)]
pub(super) struct Told {
    health: Seldom,
    route: Seldom,
    letters: Seldom,
    pub(super) bounds: Seldom,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            health: Seldom::few(HEALTH, INTERVAL),
            route: Seldom::few(ROUTE, INTERVAL),
            letters: Seldom::few(LETTERS, INTERVAL),
            bounds: Seldom::once_a_minute(),
        }
    }
}

/// What may be said of the workers.
#[derive(Debug)]
pub(super) struct ToldOfWorkers {
    pub(super) panics: Seldom,
    pub(super) threads: Seldom,
}

impl Default for ToldOfWorkers {
    fn default() -> Self {
        Self {
            panics: Seldom::once_a_minute(),
            threads: Seldom::once_a_minute(),
        }
    }
}

impl Shared {
    pub(super) fn report(&self, outbox: &Arc<Outbox>, change: Change) {
        let endpoint = outbox.target();
        let (told, now) = (outbox.told(), Instant::now());
        match change {
            Change::Health(transition, reason) => self.report_health(outbox, transition, reason.as_deref()),
            Change::Spilled(why) => {
                if let Some(suppressed) = told.route.admit(now) {
                    info!(self.log, "an endpoint's deliveries go to its backlog"; "event" => "backlog_begun",
                        "endpoint" => %endpoint, "reason" => why, "suppressed" => suppressed);
                }
            }
            Change::Drained => {
                if let Some(suppressed) = told.route.admit(now) {
                    info!(self.log, "an endpoint's backlog is drained"; "event" => "backlog_drained",
                        "endpoint" => %endpoint, "suppressed" => suppressed);
                }
            }
            Change::Died { id, reason, error } => {
                if let Some(suppressed) = told.letters.admit(now) {
                    warn!(self.log, "an event becomes a dead letter; see `pgstream deadletters`";
                        "event" => "dead_letter",
                        "endpoint" => %endpoint, "webhook_id" => id, "reason" => reason, "error" => error,
                        "suppressed" => suppressed);
                }
            }
            Change::MustStop { id, reason, error } => {
                error!(self.log, "an event cannot be delivered, and in strict mode the stream stops";
                    "event" => "strict_stop",
                    "endpoint" => %endpoint, "webhook_id" => &id, "reason" => reason, "error" => &error);
                self.must_stop(format!(
                    "event {id} cannot be delivered to {endpoint} ({reason}): {error}"
                ));
            }
        }
    }

    fn report_health(&self, outbox: &Outbox, transition: Transition, reason: Option<&str>) {
        let Transition { from, to, failures } = transition;
        let endpoint = outbox.target();
        match (from, to) {
            (HealthState::Probing, HealthState::Outage) => {
                debug!(self.log, "endpoint is still down"; "endpoint" => %endpoint, "reason" => reason);
                return;
            }
            (_, HealthState::Probing) => {
                debug!(self.log, "endpoint is probed"; "endpoint" => %endpoint);
                return;
            }
            // What was said when its backlog was drained.
            (HealthState::Draining, HealthState::Healthy) => return,
            _ => {}
        }
        let Some(suppressed) = outbox.told().health.admit(Instant::now()) else {
            return;
        };
        let log = self
            .log
            .new(slog::o!("endpoint" => endpoint.to_string(), "suppressed" => suppressed));
        match to {
            HealthState::Failing => {
                warn!(log, "endpoint is failing; its deliveries wait and are tried again";
                    "event" => "endpoint_failing", "failures" => failures, "reason" => reason);
            }
            HealthState::Outage => {
                warn!(log, "endpoint is down; its deliveries go to its backlog, and it is probed until it answers";
                    "event" => "endpoint_down", "failures" => failures, "reason" => reason);
            }
            HealthState::Draining => {
                info!(log, "endpoint answers again; its backlog is drained"; "event" => "endpoint_draining");
            }
            HealthState::Healthy => {
                info!(log, "endpoint answers again"; "event" => "endpoint_healthy", "failures" => failures);
            }
            HealthState::Disabled => {
                warn!(log, "endpoint is disabled; its events are kept in its backlog until `pgstream endpoints enable`";
                    "event" => "endpoint_disabled");
            }
            HealthState::Paused => {
                info!(log, "endpoint is paused; its events are kept in its backlog until `pgstream endpoints resume`";
                    "event" => "endpoint_paused");
            }
            HealthState::Probing => {}
        }
    }
}
