//! `pgstream run`.

use slog::warn;

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use super::shutdown::Shutdown;
use crate::config::{FlagValue, keys};
use crate::run;

database_command! {
    /// stream changes to the subscribed webhooks, until SIGINT or SIGTERM
    #[argh(
        name = "run",
        example = "pgstream run -c pg2webhook.env --log-level debug",
        note = "Needs `pgstream init` before. A signal ends it in order, a second one at once."
    )]
    pub struct RunCommand {
        /// tables whose existing rows are delivered before their changes, separated by blanks: table (of schema public) or
        /// schema.table, * for any text
        #[argh(option, arg_name = "tables")]
        snapshot_tables: Option<String>,
    }
}

impl RunCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let mut sources = self.sources();
        let tables = self.snapshot_tables.clone();
        sources.flags.extend(tables.map(|value| FlagValue {
            flag: "--snapshot-tables",
            key: &keys::SNAPSHOT_TABLES,
            value,
        }));
        let config = context.load(&sources)?;
        context.block_on(async {
            let shutdown = Shutdown::on_signal().map_err(Failure::of_work)?;
            tokio::select! {
                ended = run::run(config, context.log.clone(), shutdown.graceful) => ended.map_err(Failure::of_work),
                () = shutdown.immediate.cancelled() => {
                    warn!(context.log, "ended at once; what was in flight is sent again after the next start");
                    Err(Failure::of_work(EndedAtOnce))
                }
            }
        })
    }
}

/// The second signal.
#[derive(Debug, thiserror::Error)]
#[error("ended at once by a second signal")]
struct EndedAtOnce;
