//! `pgstream run`.

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::database::DatabaseOptions;
use super::failure::Failure;
use crate::config::{Secret, Sources};
use crate::run;

/// stream changes to the subscribed webhooks until told to stop
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "run",
    example = "pgstream run -c pg2webhook_tutorial.env --log-level trace",
    note = "The first SIGINT or SIGTERM ends it gracefully, the second at once.",
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
    /// file of KEY=VALUE lines to read the configuration from
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<String>,
}

impl RunCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let config = context.load(&self.sources())?;
        run::run(config, context.log.clone()).map_err(Failure::of_work)
    }

    fn sources(&self) -> Sources {
        DatabaseOptions {
            pgurl: &self.pgurl,
            replication_slot: &self.replication_slot,
            store_url: &self.store_url,
            config: &self.config,
        }
        .sources()
    }
}
