//! `pgstream endpoints`: look at endpoints, and say what is to be done with them.

mod look;
mod move_backlog;
mod set;
mod standing;

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::failure::Failure;

/// look at endpoints, pause, disable and set them up, move a backlog
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "endpoints",
    example = "pgstream endpoints list",
    example = "pgstream endpoints pause https://example.com/hook --reason \"database migration\"",
    note = "An endpoint is named by its URL, exactly as it was subscribed.",
    note = "`pgstream endpoints COMMAND --help` tells what a command takes."
)]
pub struct EndpointsCommand {
    #[argh(subcommand)]
    command: EndpointCommand,
}

/// What can be done.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum EndpointCommand {
    List(look::ListCommand),
    Show(look::ShowCommand),
    Pause(standing::PauseCommand),
    Resume(standing::ResumeCommand),
    Disable(standing::DisableCommand),
    Enable(standing::EnableCommand),
    Set(set::SetCommand),
    Move(move_backlog::MoveCommand),
}

impl EndpointsCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        match &self.command {
            EndpointCommand::List(command) => command.execute(context),
            EndpointCommand::Show(command) => command.execute(context),
            EndpointCommand::Pause(command) => command.execute(context),
            EndpointCommand::Resume(command) => command.execute(context),
            EndpointCommand::Disable(command) => command.execute(context),
            EndpointCommand::Enable(command) => command.execute(context),
            EndpointCommand::Set(command) => command.execute(context),
            EndpointCommand::Move(command) => command.execute(context),
        }
    }
}
