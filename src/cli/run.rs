//! `pgstream run`.

use slog::info;

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use super::init::{self, initialise};
use super::snapshot::without_subscribers;
use crate::config::{FlagValue, keys};
use crate::run::{self, OnGap};

database_command! {
    /// stream changes to the subscribed webhooks, until SIGINT or SIGTERM
    #[argh(
        name = "run",
        example = "pgstream run -c pg2webhook.env --log-level debug",
        note = "Needs `pgstream init` before, or --init. A signal ends it in order, a second one at once.",
        error_code(1, "the work failed; starting again may help"),
        error_code(2, "the arguments or the configuration are wrong"),
        error_code(3, "PostgreSQL refuses what is needed, such as the password, the database or the slot"),
        error_code(4, "the source is not what was streamed before: see --accept-gap"),
        error_code(5, "the source has a transaction that it cannot send: see pgstream skip")
    )]
    pub struct RunCommand {
        /// tables whose existing rows are delivered before their changes, separated by blanks: table (of schema public) or
        /// schema.table, * for any text
        #[argh(option, arg_name = "tables")]
        snapshot_tables: Option<String>,
        /// count a table as read that nobody is subscribed to the inserts of, instead of having it wait
        #[argh(switch)]
        snapshot_without_subscribers: bool,
        /// go on from where the slot is, although the source is not what was streamed before and commits may be missing
        #[argh(switch)]
        accept_gap: bool,
        /// do first what `pgstream init` does
        #[argh(switch)]
        init: bool,
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
        sources
            .flags
            .extend(without_subscribers(self.snapshot_without_subscribers));
        let on_gap = if self.accept_gap {
            OnGap::Accept
        } else {
            OnGap::Stop
        };
        let config = context.load(&sources)?;
        if self.init {
            let report = initialise(context, &init::options(&config))?;
            if !report.is_unchanged() {
                info!(context.log, "initialised");
            }
        }
        context.block_on_until_signal(
            "what was in flight is sent again after the next start",
            |shutdown| run::run(config, on_gap, context.log.clone(), shutdown),
        )
    }
}
