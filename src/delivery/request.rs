//! The headers of a delivery.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::Event;

/// What every request says about itself in `User-Agent`.
pub(super) const USER_AGENT: &str = concat!("pgstream/", env!("CARGO_PKG_VERSION"));

/// The headers of a request for `event`, sent at `now`. The id and the timestamp are those of
/// [Standard Webhooks](https://www.standardwebhooks.com/).
pub(super) fn headers(event: &Event, now: SystemTime) -> [(&'static str, String); 5] {
    let timestamp = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    [
        ("content-type", "application/json".to_owned()),
        ("webhook-id", event.id.clone()),
        ("webhook-timestamp", timestamp.to_string()),
        ("x-pgstream-lsn", event.lsn.to_string()),
        ("idempotency-key", event.id.clone()),
    ]
}
