//! `pgstream listen`.

use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::context::Context;
use super::failure::Failure;
use super::shutdown::Shutdown;
use crate::receiver::{ListenError, ListenOptions, listen};

/// receive webhooks and print them, to try things out
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "listen",
    example = "pgstream listen",
    example = "pgstream listen --port 9911 --status 503 --delay 200",
    note = "Events go to stdout as JSON, the log goes to stderr. Any path is answered.",
    note = "Takes the options of `pgstream --help` as well."
)]
pub struct ListenCommand {
    /// port to listen on, on every interface; the default is 9910
    #[argh(option, default = "9910", arg_name = "port")]
    port: u16,
    /// count events instead of printing them
    #[argh(switch)]
    quiet: bool,
    /// status of every answer, 200 to 599; the default is 200
    #[argh(option, default = "200", arg_name = "code")]
    status: u16,
    /// milliseconds before every answer; the default is 0
    #[argh(option, default = "0", arg_name = "ms")]
    delay: u64,
}

impl ListenCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let options = ListenOptions {
            address: format!(":{}", self.port),
            quiet: self.quiet,
            status: self.status,
            delay: Duration::from_millis(self.delay),
            color: context.color(),
        };
        context.block_on(async {
            let shutdown = Shutdown::on_signal().map_err(Failure::of_work)?;
            tokio::select! {
                received = listen::run(options, context.log.clone(), shutdown.graceful) => {
                    received.map(|_| ()).map_err(failure)
                }
                () = shutdown.immediate.cancelled() => Ok(()),
            }
        })
    }
}

fn failure(error: ListenError) -> Failure {
    match error {
        ListenError::Status(_) => Failure::of_usage(error),
        ListenError::Bind(_) | ListenError::Output(_) => Failure::of_work(error),
    }
}
