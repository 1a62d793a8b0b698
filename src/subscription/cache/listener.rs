//! The one who hears of changes that others make in the store, and asks the loader for a fresh set.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::loader::{FIRST_PAUSE, LONGEST_PAUSE};
use crate::store::subscriptions::Changes;
use crate::store::{PgPool, StoreError};

/// Listens until `shutdown` is cancelled, again and again when the connection is lost.
pub(super) async fn run(pool: PgPool, shared: Arc<Shared>, log: Logger, shutdown: CancellationToken) {
    shutdown
        .run_until_cancelled(listen_for_ever(&pool, &shared, &log))
        .await;
}

async fn listen_for_ever(pool: &PgPool, shared: &Shared, log: &Logger) {
    let mut pause: Option<Duration> = None;
    loop {
        let Err(error) = listen(pool, shared, log, &mut pause).await;
        if pause.is_none() {
            warn!(log, "cannot hear of changed subscriptions, trying again; until then the interval decides";
                "event" => "subscriptions_not_heard", "error" => #&error);
        }
        let next = pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        pause = Some(next);
        sleep(next).await;
    }
}

/// Listens until the connection fails.
async fn listen(
    pool: &PgPool,
    shared: &Shared,
    log: &Logger,
    pause: &mut Option<Duration>,
) -> Result<std::convert::Infallible, StoreError> {
    let mut changes = Changes::listen(pool).await?;
    if pause.take().is_some() {
        info!(log, "hearing of changed subscriptions again"; "event" => "subscriptions_heard");
    }
    loop {
        // Asked for right after listening began too: what changed before that was not heard of.
        let _ = shared.request();
        changes.changed().await?;
    }
}
