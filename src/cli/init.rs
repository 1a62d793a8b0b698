//! `pgstream init`.

use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::database::DatabaseOptions;
use super::failure::Failure;
use crate::config::{Secret, Sources, parse_duration};
use crate::setup::{self, InitOptions};
use crate::store::SchemaLogMode;

/// create schema pgstream, its triggers, and the replication slot
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "init",
    example = "pgstream init --pgurl \"postgres://postgres:postgres@localhost:5432?sslmode=disable\" --replication-slot pgstream_tutorial_slot",
    note = "Harmless when all of it exists; completes an init that was interrupted.",
    note = "Options win over the environment (PGSTREAM_POSTGRES_LISTENER_URL and others), and that over the file.",
    note = "Takes the options of `pgstream --help` as well."
)]
pub struct InitCommand {
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
    /// how long the slot may wait for open transactions; the default is 60s
    #[argh(
        option,
        default = "Duration::from_secs(60)",
        from_str_fn(timeout),
        arg_name = "duration"
    )]
    timeout: Duration,
    /// what an entry of the schema log holds: full, all tables of the schema (the default), or changed, those that the
    /// command touched, which keeps DDL fast in large schemas; kept in the database
    #[argh(option, arg_name = "mode")]
    schema_log: Option<SchemaLogMode>,
}

impl InitCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let config = context.load(&self.sources())?;
        let options = InitOptions {
            store: (config.store != config.source).then_some(config.store),
            source: config.source,
            slot: config.slot,
            timeout: self.timeout,
            schema_log: self.schema_log,
        };
        let mut notice = |text: &str| slog::warn!(context.log, "{}", text);
        let report = context.block_on_interruptible(setup::init(&options, &mut notice))?;
        if report.is_unchanged() {
            context.print("pgstream was already initialised: there was nothing to do");
        }
        context.print_success("pgstream initialisation complete");
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

fn timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}
