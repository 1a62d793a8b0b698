//! `pgstream status`.

mod text;

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use super::findings::{Read, end, headline, read};
use super::on_store::show;
use crate::setup::status::{StatusOptions, status};

database_command! {
    /// look how pgstream does: what init made, the slot, the endpoints, and what waits
    #[argh(
        name = "status",
        example = "pgstream status -c pg2webhook.env",
        note = "Answers within 5 seconds, whatever is down, and whether `pgstream run` is up or not.",
        error_code(1, "there are problems, each told with its remedy"),
        error_code(2, "nothing could be looked at, or the arguments are wrong")
    )]
    pub struct StatusCommand {
        /// print JSON
        #[argh(switch)]
        json: bool,
    }
}

impl StatusCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let Read {
            config,
            targets,
            errors,
        } = read(context, &self.sources());
        let (filter, plugin) = config
            .map(|config| (config.filter, config.plugin))
            .unwrap_or_default();
        let options = StatusOptions {
            targets,
            filter,
            plugin,
            config_errors: errors,
        };
        let found = context.block_on_in_time(status(&options))?;
        show(context, self.json, &found, |found| {
            let headline = headline(context, "status check", found.status, &found.problems);
            format!("{headline}\n{}", text::of(found))
        })?;
        end(found.status)
    }
}
