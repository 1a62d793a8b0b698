//! The command line: one file a command, and a folder a group of commands.
//!
//! Owns: how arguments are written ([`argv`]), what a command is called and prints, and the exit code. Must not
//! know: how anything is done. A command turns its flags into the options of another room, calls it, and prints
//! what came of it.

mod arguments;
pub mod argv;
mod backfill;
mod bars;
mod check;
mod config;
mod context;
mod database;
mod dead_letters;
mod demo;
mod endpoints;
mod exit;
mod failure;
mod findings;
mod init;
mod listen;
mod on_store;
mod progress;
mod run;
mod shutdown;
mod skip;
mod snapshot;
mod status;
mod table;
mod tear_down;
mod version;

use std::ffi::OsString;
use std::io::{self, Write};

pub use arguments::{Arguments, Command};
pub use context::Context;
pub use exit::Exit;
pub use failure::Failure;

/// Runs the program with its arguments, the program's own name left out.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    match Arguments::parse(arguments) {
        Ok(arguments) => arguments.execute(),
        Err(Early::Help(text)) => {
            // Refused only when nobody reads it, as by `| head -1`.
            let _ = io::stdout().write_all(text.as_bytes());
            Exit::Success
        }
        Err(Early::Usage(error)) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            Exit::Usage
        }
    }
}

/// Why the arguments lead to no command.
#[derive(Debug)]
pub enum Early {
    /// Help was asked for.
    Help(String),
    /// They are wrong.
    Usage(argv::UsageError),
}
