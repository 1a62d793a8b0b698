//! The `pgstream` program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgstream::cli::run(std::env::args_os().skip(1)).into()
}
