//! The program's arguments as a whole: global options and the commands.

use std::ffi::OsString;

use argh::{ArgsInfo, EarlyExit, FromArgs};
use slog::trace;

use super::Early;
use super::argv::{self, UsageError};
use super::backfill::BackfillCommand;
use super::check::CheckCommand;
use super::config::ConfigCommand;
use super::context::Context;
use super::dead_letters::DeadLettersCommand;
use super::demo::DemoCommand;
use super::endpoints::EndpointsCommand;
use super::exit::Exit;
use super::failure::Failure;
use super::init::InitCommand;
use super::listen::ListenCommand;
use super::run::RunCommand;
use super::skip::SkipCommand;
use super::snapshot::SnapshotCommand;
use super::status::StatusCommand;
use super::tear_down::TearDownCommand;
use super::version::VersionCommand;
use crate::telemetry::{self, LogFormat, LogLevel, LogOptions};

/// Streams the changes of a PostgreSQL database to webhooks.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    example = "pgstream init --pgurl \"postgres://postgres:postgres@localhost:5432?sslmode=disable\"",
    example = "pgstream listen --port 9910",
    note = "Options may stand before or behind the command, as --option VALUE or --option=VALUE.\n`pgstream COMMAND --help` tells what a command takes.",
    error_code(1, "the work failed"),
    error_code(2, "the arguments or the configuration are wrong")
)]
pub struct Arguments {
    /// least important level of the log: trace, debug, info, warn or error; the default is info, for demo warn
    #[argh(option, arg_name = "level")]
    log_level: Option<LogLevel>,
    /// what a line of the log looks like: console or json; the default is console
    #[argh(option, default = "LogFormat::default()", arg_name = "format")]
    log_format: LogFormat,
    /// never use colours; without it, terminals get them
    #[argh(switch)]
    no_color: bool,
    #[argh(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum Command {
    /// Create what pgstream needs in PostgreSQL.
    Init(InitCommand),
    /// Remove it.
    TearDown(TearDownCommand),
    /// Look whether init would work.
    Check(CheckCommand),
    /// Look how all of it does.
    Status(StatusCommand),
    /// Stream changes to the subscribed webhooks.
    Run(RunCommand),
    /// Deliver existing rows to the subscribed webhooks.
    Snapshot(SnapshotCommand),
    /// Go on without a transaction that cannot be sent.
    Skip(SkipCommand),
    /// Have rows sent once more to one endpoint.
    Backfill(BackfillCommand),
    /// Look at endpoints, and say what is to be done with them.
    Endpoints(EndpointsCommand),
    /// Look at dead letters, replay or discard them.
    DeadLetters(DeadLettersCommand),
    /// Look at the configuration.
    Config(ConfigCommand),
    /// Receive webhooks and print them.
    Listen(ListenCommand),
    /// Show what it is all about, on a PostgreSQL of its own.
    Demo(DemoCommand),
    /// Print the version.
    Version(VersionCommand),
}

impl Arguments {
    /// Reads the arguments, in any of the forms that [`argv`] knows.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Early> {
        let normal = argv::normalise(arguments, &Self::get_args_info()).map_err(Early::Usage)?;
        let normal: Vec<&str> = normal.iter().map(String::as_str).collect();
        Self::from_args(&["pgstream"], &normal).map_err(|EarlyExit { output, status }| match status {
            Ok(()) => Early::Help(output),
            Err(()) => Early::Usage(UsageError::new(output.trim_end())),
        })
    }

    /// Does what was asked.
    pub(super) fn execute(self) -> Exit {
        let log_options = LogOptions {
            level: self.log_level.unwrap_or_else(|| self.command.log_level()),
            format: self.log_format,
            no_color: self.no_color,
        };
        let (log, guard) = telemetry::logger(&log_options);
        trace!(log, "starting"; "version" => env!("CARGO_PKG_VERSION"));
        let context = Context {
            log: log.clone(),
            log_options,
        };
        let done = self.command.execute(&context);
        // The last lines of the log come before the error that explains the end.
        drop(guard);
        match done {
            Ok(()) => Exit::Success,
            Err(failure) => failure.report(log_options.format, &log),
        }
    }
}

impl Command {
    /// The least important level of the log where the arguments name none.
    const fn log_level(&self) -> LogLevel {
        match self {
            // Its story is what there is to read.
            Self::Demo(_) => LogLevel::Warn,
            _ => LogLevel::Info,
        }
    }

    fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Init(command) => command.execute(context),
            Self::Check(command) => command.execute(context),
            Self::Status(command) => command.execute(context),
            Self::TearDown(command) => command.execute(context),
            Self::Run(command) => command.execute(context),
            Self::Snapshot(command) => command.execute(context),
            Self::Skip(command) => command.execute(context),
            Self::Backfill(command) => command.execute(context),
            Self::Endpoints(command) => command.execute(context),
            Self::DeadLetters(command) => command.execute(context),
            Self::Config(command) => command.execute(context),
            Self::Listen(command) => command.execute(context),
            Self::Demo(command) => command.execute(context),
            Self::Version(command) => command.execute(),
        }
    }
}
