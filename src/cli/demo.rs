//! `pgstream demo`.

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::failure::Failure;
use crate::demo;

/// show a PostgreSQL of its own, its changes, and the webhooks they become
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "demo",
    example = "pgstream demo",
    note = "Needs an installed PostgreSQL with wal2json, and says what to install where there is none. Leaves nothing behind.",
    note = "Takes the options of `pgstream --help` as well."
)]
pub struct DemoCommand {}

impl DemoCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        demo::run(context.log.clone()).map_err(Failure::of_work)
    }
}
