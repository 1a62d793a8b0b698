//! `pgstream version`.

use std::io::{self, Write};

use argh::{ArgsInfo, FromArgs};

use super::failure::Failure;

/// print the version
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "version", example = "pgstream version")]
pub struct VersionCommand {}

impl VersionCommand {
    pub(super) fn execute(&self) -> Result<(), Failure> {
        writeln!(io::stdout(), "pgstream {}", env!("CARGO_PKG_VERSION")).map_err(Failure::of_work)
    }
}
