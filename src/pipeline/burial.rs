//! Keeping records that cannot be read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slog::{Logger, error, info, warn};
use tokio::time::sleep;

use crate::event::Position;
use crate::store::{PgPool, dead_letters};
use crate::telemetry::Seldom;

/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);
/// So many records that cannot be read are told of in [`INTERVAL`]: a table that has one may have many.
const RECORDS: u32 = 10;
/// See [`RECORDS`].
const INTERVAL: Duration = Duration::from_secs(60);

/// What is told of records that cannot be read.
pub(super) const fn told() -> Seldom {
    Seldom::few(RECORDS, INTERVAL)
}

/// A record that cannot be read.
pub(super) struct RawLetter {
    pub(super) webhook_id: String,
    pub(super) position: Position,
    pub(super) raw: Bytes,
    pub(super) problem: String,
}

/// Writes a record to the dead letters as it is. Tried again until the store takes it: without that it would be lost as
/// soon as its transaction is confirmed.
pub(super) async fn bury(store: PgPool, letter: RawLetter, told: Arc<Seldom>, log: Logger) {
    let RawLetter {
        webhook_id,
        position,
        raw,
        problem,
    } = letter;
    let mut failed = false;
    while let Err(error) =
        dead_letters::bury_raw(&store, &webhook_id, &position, &raw, ("unparsable", &problem)).await
    {
        if !failed {
            warn!(log, "a record that cannot be read cannot be kept either, trying again until it can; reading is paused";
                "event" => "record_not_kept", "wal_start" => %position.lsn, "error" => #&error);
        }
        failed = true;
        sleep(PAUSE).await;
    }
    if failed {
        info!(log, "the store takes dead letters again"; "event" => "record_kept");
    }
    let Some(suppressed) = told.admit(Instant::now()) else {
        return;
    };
    error!(log, "a record cannot be read, and is kept as a dead letter without an endpoint; see `pgstream deadletters`. \
        wal2json prints invalid JSON for types whose names have quotes or backslashes in them, and text that is not UTF-8 \
        in a database of another encoding"; "event" => "record_unreadable", "wal_start" => %position.lsn,
        "webhook_id" => webhook_id, "problem" => problem, "suppressed" => suppressed);
}
