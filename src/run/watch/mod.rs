//! Looks at the slot now and then while changes are streamed, and tells what is dangerous about it.
//!
//! Reads only, one statement at a time and each of them bounded: a server that hangs is asked again later. What is worth a
//! line of the log is decided in [`alarms`].

mod alarms;

use std::time::Duration;

use slog::{Logger, debug, error, info, warn};
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::alarms::{Alarm, Alarms};
use crate::config::PgUrl;
use crate::replication::remedy_of_a_lost_slot;
use crate::setup::slot_risk::{self, SlotRisk};
use crate::setup::synchronous;
use crate::store::slot_status::{self, SlotStatus};
use crate::store::{PgPool, StoreError};
use crate::telemetry::Figure;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer is waited for: while a statement hangs, no second one is sent. Only one that comes to nothing, as where
/// the connection is lost, is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Watches the slot of this name for as long as it is polled, and sets how far it is behind.
pub(super) async fn watch(source: PgPool, url: PgUrl, slot: String, lag: Figure, log: Logger) {
    let lag = Known(lag);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut alarms = Alarms::new(name(&url));
    loop {
        ticks.tick().await;
        let status = match timeout(PATIENCE, slot_status::find(&source, &slot)).await {
            Ok(Ok(status)) => status,
            // Whoever streams has more to say of a server that does not answer.
            Ok(Err(error)) => {
                lag.0.set(None);
                debug!(log, "cannot look at the replication slot"; "slot" => &slot, "error" => #&error);
                continue;
            }
            Err(_) => {
                lag.0.set(None);
                debug!(log, "no answer about the replication slot"; "slot" => &slot, "within_s" => PATIENCE.as_secs());
                continue;
            }
        };
        lag.0.set(status.as_ref().and_then(|status| status.lag_bytes));
        let Some(status) = status else {
            continue;
        };
        for alarm in alarms.look(&status) {
            match alarm {
                Alarm::Synchronous => {
                    let asked = timeout(PATIENCE, slot_status::synchronous(&source)).await.ok();
                    tell_synchronous(&log, &url, &status, asked);
                }
                alarm => tell(&log, &slot, &status, alarm),
            }
        }
    }
}

/// A figure that is known for as long as somebody looks.
struct Known(Figure);

impl Drop for Known {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// One line for each, with what there is to know about the slot.
fn tell(log: &Logger, slot: &str, status: &SlotStatus, alarm: Alarm) {
    let figures = slog::o!("slot" => slot.to_owned(), "lag_bytes" => status.lag_bytes,
        "retained_bytes" => status.retained_bytes, "wal_status" => status.slot.wal_status.clone(),
        "safe_wal_size" => status.safe_wal_size);
    let log = log.new(figures);
    match alarm {
        Alarm::LagGrowing => warn!(
            log,
            "lag growing: changes are confirmed more slowly than they are written"; "event" => "lag_growing"
        ),
        Alarm::CaughtUp => info!(log, "lag is small again"; "event" => "lag_small"),
        Alarm::Risk(SlotRisk::Lost) => error!(
            log,
            "slot lost: PostgreSQL has invalidated it, and changes will be missing";
            "event" => "slot_lost", "remedy" => remedy_of_a_lost_slot(slot)
        ),
        Alarm::Risk(_) => {
            if let Some(finding) = slot_risk::finding(slot, status) {
                warn!(log, "slot at risk: {}", finding.message; "event" => "slot_at_risk", "remedy" => finding.remedy);
            }
        }
        Alarm::OutOfRisk => info!(log, "slot no longer at risk"; "event" => "slot_safe"),
        Alarm::NotSynchronous => {
            info!(log, "no longer counted as a synchronous standby"; "event" => "not_synchronous");
        }
        Alarm::Synchronous => {}
    }
}

/// What our walsender is called.
fn name(url: &PgUrl) -> &str {
    url.application_name.as_deref().unwrap_or("pgstream")
}

/// With the statement that mends it, for which the server has to be asked once more.
fn tell_synchronous(
    log: &Logger,
    url: &PgUrl,
    status: &SlotStatus,
    asked: Option<Result<slot_status::Synchronous, StoreError>>,
) {
    let name = name(url);
    let asked = asked.and_then(Result::ok);
    let finding = asked.and_then(|asked| {
        synchronous::finding(status.sync_state.as_deref(), &asked.names, name, &asked.standbys)
    });
    let remedy = finding.map_or_else(
        || "see pgstream status for the statement that mends it".to_owned(),
        |finding| finding.remedy,
    );
    warn!(log, "counted as a synchronous standby: commits wait for webhooks to be delivered";
        "event" => "synchronous", "sync_state" => status.sync_state.clone(), "application_name" => name, "remedy" => remedy);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_once_nobody_looks() {
        let figure = Figure::default();
        let known = Known(figure.clone());
        known.0.set(Some(7));
        assert_eq!(figure.get(), Some(7));
        drop(known);
        assert_eq!(figure.get(), None);
    }
}
