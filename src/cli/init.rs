//! `pgstream init`.

use std::time::Duration;

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use crate::config::{Config, parse_duration};
use crate::setup::{self, InitOptions, InitReport};
use crate::store::SchemaLogMode;

/// How long the slot may wait for open transactions, unless it is said otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

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
        /// have stand-bys kept in step with the slot, so that it outlives a failover (PostgreSQL 17 and later)
        #[argh(switch)]
        failover: bool,
        /// put wal2json on the server's list output_plugin_libraries where it lacks there; needs a superuser
        #[argh(switch)]
        allow_plugin: bool,
    }
}

impl InitCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let config = context.load(&self.sources())?;
        let options = InitOptions {
            timeout: self.timeout,
            schema_log: self.schema_log,
            failover: self.failover,
            allow_plugin: self.allow_plugin,
            ..options(&config)
        };
        let report = initialise(context, &options)?;
        if report.is_unchanged() {
            context.print("pgstream was already initialised: there was nothing to do");
        }
        context.print_success("pgstream initialisation complete");
        Ok(())
    }
}

/// What `init` does where nothing else is said.
pub(super) fn options(config: &Config) -> InitOptions {
    InitOptions {
        store: (config.store != config.source).then(|| config.store.clone()),
        source: config.source.clone(),
        slot: config.slot.clone(),
        timeout: DEFAULT_TIMEOUT,
        schema_log: None,
        failover: false,
        allow_plugin: false,
    }
}

/// Creates what is missing.
pub(super) fn initialise(context: &Context, options: &InitOptions) -> Result<InitReport, Failure> {
    let mut notice = |text: &str| slog::warn!(context.log, "{}", text);
    context.block_on_interruptible(setup::init(options, &mut notice))
}

fn timeout(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}
