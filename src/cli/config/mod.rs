//! `pgstream config`: look at the configuration.

mod show;

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::failure::Failure;

/// look at the configuration
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "config",
    example = "pgstream config show -c pgstream.yaml"
)]
pub struct ConfigCommand {
    #[argh(subcommand)]
    command: ConfigSubcommand,
}

/// What can be done.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum ConfigSubcommand {
    Show(show::ShowCommand),
}

impl ConfigCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        match &self.command {
            ConfigSubcommand::Show(command) => command.execute(context),
        }
    }
}
