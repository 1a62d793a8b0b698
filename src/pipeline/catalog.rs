//! Asking the source's catalogs which table a partition belongs to.

use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::time::sleep;

use crate::store::PgPool;
use crate::store::catalog::{self, PartitionRoot};

/// The first pause after a failed look-up; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The root of the partition tree that `schema.table` is in.
///
/// Asked again for as long as the source does not answer: guessing would lose the events of a subscription on the
/// root.
pub(super) async fn partition_root(
    source: PgPool,
    schema: String,
    table: String,
    log: Logger,
) -> PartitionRoot {
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
