//! `pgstream run`.

use argh::{ArgsInfo, FromArgs};
use slog::warn;

use super::context::Context;
use super::database::DatabaseOptions;
use super::failure::Failure;
use super::shutdown::Shutdown;
use crate::config::Secret;
use crate::run;

/// stream changes to the subscribed webhooks, until SIGINT or SIGTERM
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "run",
    example = "pgstream run -c pg2webhook.env --log-level debug",
    note = "Needs `pgstream init` before. A signal ends it in order, a second one at once.",
    note = "Options win over the environment (PGSTREAM_POSTGRES_LISTENER_URL and others), and that over the file.",
    note = "Takes the options of `pgstream --help` as well."
)]
pub struct RunCommand {
    /// URL of the database whose changes are streamed; also --postgres-url
    #[argh(option, arg_name = "url")]
    pgurl: Option<Secret>,
    /// name of the replication slot; the default is pgstream_<dbname>_slot
    #[argh(option, arg_name = "name")]
    replication_slot: Option<String>,
    /// URL of the database of the subscriptions; the default is --pgurl
    #[argh(option, arg_name = "url")]
    store_url: Option<Secret>,
    /// file to read the configuration from: YAML if its name ends in .yaml or .yml, else KEY=VALUE lines
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<String>,
}

impl RunCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let sources = DatabaseOptions {
            pgurl: &self.pgurl,
            replication_slot: &self.replication_slot,
            store_url: &self.store_url,
            config: &self.config,
        }
        .sources();
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
