//! Keeping records that cannot be read.

use std::time::Duration;

use bytes::Bytes;
use slog::{Logger, error, info, warn};
use tokio::time::sleep;

use crate::event::Position;
use crate::store::{PgPool, dead_letters};

/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// A record that cannot be read.
pub(super) struct RawLetter {
    pub(super) webhook_id: String,
    pub(super) position: Position,
    pub(super) raw: Bytes,
    pub(super) problem: String,
}

/// Writes a record to the dead letters as it is. Tried again until the store takes it: without that it would be lost as
/// soon as its transaction is confirmed.
pub(super) async fn bury(store: PgPool, letter: RawLetter, log: Logger) {
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
                "wal_start" => %position.lsn, "error" => #&error);
        }
        failed = true;
        sleep(PAUSE).await;
    }
    if failed {
        info!(log, "the store takes dead letters again");
    }
    error!(log, "a record cannot be read, and is kept as a dead letter without an endpoint; see `pgstream deadletters`. \
        wal2json prints invalid JSON for types whose names have quotes or backslashes in them, and text that is not UTF-8 \
        in a database of another encoding"; "wal_start" => %position.lsn, "webhook_id" => webhook_id, "problem" => problem);
}
