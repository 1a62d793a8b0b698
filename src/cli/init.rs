//! `pgstream init`.

use std::time::Duration;

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use crate::config::{Config, parse_duration};
use crate::setup::{self, InitOptions, InitReport};
use crate::store::SchemaLogMode;

/// How long the slot may wait for open transactions, unless it is said otherwise.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

database_command! {
    /// create schema pgstream, its triggers, and the replication slot
    #[argh(
        name = "init",
        example = "pgstream init --pgurl \"postgres://postgres:postgres@localhost:5432?sslmode=disable\" --replication-slot pgstream_tutorial_slot",
        note = "Harmless when all of it exists; completes an init that was interrupted."
    )]
    pub struct InitCommand {
        /// how long the slot may wait for open transactions; the default is 60s
        #[argh(
            option,
            default = "DEFAULT_TIMEOUT",
            from_str_fn(timeout),
            arg_name = "duration"
        )]
        timeout: Duration,
        /// what an entry of the schema log holds: full, all tables of the schema (the default), or changed, those that the
        /// command touched, which keeps DDL fast in large schemas; kept in the database
        #[argh(option, arg_name = "mode")]
        schema_log: Option<SchemaLogMode>,
    }
}

impl InitCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let config = context.load(&self.sources())?;
        let report = initialise(context, &config, (self.timeout, self.schema_log))?;
        if report.is_unchanged() {
            context.print("pgstream was already initialised: there was nothing to do");
        }
        context.print_success("pgstream initialisation complete");
        Ok(())
    }
}

/// Creates what is missing.
pub(super) fn initialise(
    context: &Context,
    config: &Config,
    (timeout, schema_log): (Duration, Option<SchemaLogMode>),
) -> Result<InitReport, Failure> {
    let options = InitOptions {
        store: (config.store != config.source).then(|| config.store.clone()),
        source: config.source.clone(),
        slot: config.slot.clone(),
        timeout,
        schema_log,
    };
    let mut notice = |text: &str| slog::warn!(context.log, "{}", text);
    context.block_on_interruptible(setup::init(&options, &mut notice))
}

fn timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}
