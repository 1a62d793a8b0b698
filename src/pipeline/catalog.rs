//! Asking the source's catalogs which table a partition belongs to.

use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::time::{sleep, timeout};

use crate::store::catalog::{self, PartitionRoot};
use crate::store::{PgPool, schema_log};

/// The first pause after a failed look-up; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the catalogs may take to show what a transaction did whose commit has been read: no time, unless commits wait for
/// a stand-by, which may be this program.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The root of the partition tree that `schema.table` is in, as it is after `entry` of the schema log, which the transaction
/// being read has written: a commit is read a little before other sessions see what it did.
///
/// Asked again for as long as the source does not answer: guessing would lose the events of a subscription on the
/// root.
pub(super) async fn partition_root(
    source: PgPool,
    schema: String,
    table: String,
    entry: Option<String>,
    log: Logger,
) -> PartitionRoot {
    if let Some(entry) = entry
        && timeout(SEEN_WITHIN, seen(&source, &entry)).await.is_err()
    {
        warn!(log, "what a transaction did cannot be seen yet, although it is committed, because commits wait for a stand-by; \
            if it made or attached a partition, events of that may not reach who is subscribed to its root";
            "table" => format!("{schema}.{table}"));
    }
    let mut pause = FIRST_PAUSE;
    loop {
        match catalog::partition_root(&source, &schema, &table).await {
            Ok(root) => {
                if pause > FIRST_PAUSE {
                    info!(log, "the source's catalogs can be read again");
                }
                return root;
            }
            Err(error) => {
                if pause == FIRST_PAUSE {
                    warn!(log, "cannot ask the source whether a table is a partition, trying again until it works; \
                        reading is paused"; "table" => format!("{schema}.{table}"), "error" => #&error);
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Waits until this entry can be seen.
async fn seen(source: &PgPool, entry: &str) {
    // Whoever cannot read it has the question about the root fail as well, and that is told and repeated.
    while matches!(schema_log::is_seen(source, entry).await, Ok(false)) {
        sleep(LOOK_AGAIN).await;
    }
}
