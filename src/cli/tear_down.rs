//! `pgstream tear-down`.

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use crate::setup::{self, TearDownOptions};

database_command! {
    /// remove all that init created, subscriptions included; also destroy
    #[argh(
        name = "tear-down",
        example = "pgstream tear-down --pgurl \"postgres://postgres:postgres@localhost:5432?sslmode=disable\" --replication-slot pgstream_tutorial_slot",
        note = "Harmless when nothing of it exists. Wants --force where events would be lost that are not delivered."
    )]
    pub struct TearDownCommand {
        /// delete events too that are not delivered: backlogs and dead letters
        #[argh(switch)]
        force: bool,
    }
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
}
