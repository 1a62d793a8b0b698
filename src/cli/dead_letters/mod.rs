//! `pgstream deadletters`: look at what could not be delivered, replay it or discard it.

mod change;
mod filter;
mod look;

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::failure::Failure;

/// look at dead letters, replay or discard them
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "deadletters",
    example = "pgstream deadletters list --endpoint https://example.com/hook --since 2h",
    example = "pgstream deadletters replay --reason retries --dry-run",
    note = "`pgstream deadletters COMMAND --help` tells what a command takes."
)]
pub struct DeadLettersCommand {
    #[argh(subcommand)]
    command: DeadLetterCommand,
}

/// What can be done.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum DeadLetterCommand {
    List(look::ListCommand),
    Show(look::ShowCommand),
    Replay(change::ReplayCommand),
    Discard(change::DiscardCommand),
}

impl DeadLettersCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        match &self.command {
            DeadLetterCommand::List(command) => command.execute(context),
            DeadLetterCommand::Show(command) => command.execute(context),
            DeadLetterCommand::Replay(command) => command.execute(context),
            DeadLetterCommand::Discard(command) => command.execute(context),
        }
    }
}
