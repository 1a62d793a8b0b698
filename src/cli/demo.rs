//! `pgstream demo`.

use std::io;

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::failure::Failure;
use super::shutdown::Shutdown;
use crate::demo::{self, DemoError, Show};

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
        let mut show = Show::new(io::stdout(), context.color());
        context.block_on(async {
            let shutdown = Shutdown::on_signal().map_err(Failure::of_work)?;
            tokio::select! {
                told = demo::run(&mut show, context.log.clone(), shutdown.graceful) => finish(told),
                () = shutdown.immediate.cancelled() => Err(Failure::of_work(DemoError::Interrupted)),
            }
        })
    }
}

/// That nobody reads any more is no failure of a program that prints.
fn finish(told: Result<(), DemoError>) -> Result<(), Failure> {
    match told {
        Err(DemoError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told.map_err(Failure::of_work),
    }
}
