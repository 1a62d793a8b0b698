//! `pgstream tear-down`.

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::database::DatabaseOptions;
use super::failure::Failure;
use crate::config::{Secret, Sources};
use crate::setup::{self, TearDownOptions};

/// remove all that init created, subscriptions included; also destroy
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "tear-down",
    example = "pgstream tear-down --pgurl \"postgres://postgres:postgres@localhost:5432?sslmode=disable\" --replication-slot pgstream_tutorial_slot",
    note = "Harmless when nothing of it exists. Wants --force where events would be lost that are not delivered.",
    note = "Options win over the environment (PGSTREAM_POSTGRES_LISTENER_URL and others), and that over the file.",
    note = "Takes the options of `pgstream --help` as well."
)]
pub struct TearDownCommand {
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
    /// delete events too that are not delivered: backlogs and dead letters
    #[argh(switch)]
    force: bool,
}

impl TearDownCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let config = context.load(&self.sources())?;
        let options = TearDownOptions {
            store: (config.store != config.source).then_some(config.store),
            source: config.source,
            slot: config.slot,
            force: self.force,
        };
        let report = context.block_on_interruptible(setup::tear_down(&options))?;
        if report.is_unchanged() {
            context.print("there was nothing of pgstream to remove");
        }
        let lost = report.undelivered;
        if !lost.is_empty() {
            context.print(&format!(
                "{} undelivered events and {} dead letters are deleted",
                lost.backlog, lost.dead_letters
            ));
        }
        context.print_success("pgstream tear-down complete");
        Ok(())
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
