//! What an operator hears of: each change once, with its reason.

use std::sync::Arc;

use slog::{debug, error, info, warn};

use super::dispatch::Shared;
use super::outbox::{Change, Outbox};
use crate::endpoint::{HealthState, Transition};

impl Shared {
    pub(super) fn report(&self, outbox: &Arc<Outbox>, change: Change) {
        let endpoint = outbox.target();
        match change {
            Change::Health(transition, reason) => self.report_health(outbox, transition, reason.as_deref()),
            Change::Spilled(why) => {
                info!(self.log, "an endpoint's deliveries go to its backlog"; "endpoint" => %endpoint, "reason" => why);
            }
            Change::Drained => info!(self.log, "an endpoint's backlog is drained"; "endpoint" => %endpoint),
            Change::Died { id, reason, error } => {
                warn!(self.log, "an event becomes a dead letter; see `pgstream deadletters`";
                    "endpoint" => %endpoint, "webhook_id" => id, "reason" => reason, "error" => error);
            }
            Change::MustStop { id, reason, error } => {
                error!(self.log, "an event cannot be delivered, and in strict mode the stream stops";
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
        match to {
            HealthState::Failing => {
                warn!(self.log, "endpoint is failing; its deliveries wait and are tried again"; "endpoint" => %endpoint,
                    "failures" => failures, "reason" => reason);
            }
            HealthState::Outage if from == HealthState::Probing => {
                debug!(self.log, "endpoint is still down"; "endpoint" => %endpoint, "reason" => reason);
            }
            HealthState::Outage => {
                warn!(self.log, "endpoint is down; its deliveries go to its backlog, and it is probed until it answers";
                    "endpoint" => %endpoint, "failures" => failures, "reason" => reason);
            }
            HealthState::Probing => debug!(self.log, "endpoint is probed"; "endpoint" => %endpoint),
            HealthState::Draining => {
                info!(self.log, "endpoint answers again; its backlog is drained"; "endpoint" => %endpoint);
            }
            HealthState::Healthy if from == HealthState::Draining => {}
            HealthState::Healthy => info!(self.log, "endpoint answers again"; "endpoint" => %endpoint,
                "failures" => failures),
            HealthState::Disabled => {
                warn!(self.log, "endpoint is disabled; its events are kept in its backlog until `pgstream endpoints enable`";
                    "endpoint" => %endpoint);
            }
            HealthState::Paused => {
                info!(self.log, "endpoint is paused; its events are kept in its backlog until `pgstream endpoints resume`";
                    "endpoint" => %endpoint);
            }
        }
    }
}
