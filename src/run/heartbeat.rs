//! A message now and then, for a slot whose database is quiet.
//!
//! The server's keepalives tell how far the WAL is, and let the slot of an idle database follow it. Where they do not, as where
//! something is always open between two of them, a message of our own does: it is read from the stream like any other, and
//! delivered to nobody.

use std::time::Duration;

use slog::{Logger, warn};
use tokio::time::{MissedTickBehavior, interval};

use crate::store::{PgPool, server};

/// Sends one every so often, for as long as it is polled.
pub(super) async fn beat(source: PgPool, every: Duration, log: Logger) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = false;
    loop {
        ticks.tick().await;
        match server::heartbeat(&source).await {
            Ok(()) => failed = false,
            Err(error) => {
                if !failed {
                    warn!(log, "cannot send a heartbeat, trying again until it works";
                        "event" => "heartbeat_failing", "error" => #&error);
                }
                failed = true;
            }
        }
    }
}
