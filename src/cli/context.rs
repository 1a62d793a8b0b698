//! What every command is given.

use std::error::Error;
use std::io::{self, Write};

use slog::{Logger, warn};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::shutdown::Shutdown;
use crate::config::{Config, Sources};
use crate::telemetry::{self, LogOptions};

/// The surroundings of a command.
pub struct Context {
    /// The program's log.
    pub log: Logger,
    /// How the log was asked to be; also whether colours are wanted elsewhere.
    pub log_options: LogOptions,
}

impl Context {
    /// Whether what goes to stdout may be coloured.
    pub fn color(&self) -> bool {
        telemetry::use_color(self.log_options.no_color, &io::stdout())
    }

    /// Prints a line of a command's result.
    pub fn print(&self, text: &str) {
        // Refused only when nobody reads it; the exit code remains.
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// Prints the outcome of a command, the way the tutorial shows it.
    pub fn print_success(&self, text: &str) {
        self.print(&self.headline("SUCCESS", text));
    }

    /// A line that says what a command came to, its first word coloured where colours are wanted.
    pub(super) fn headline(&self, word: &str, text: &str) -> String {
        let color = if word == "SUCCESS" { 32 } else { 33 };
        if self.color() {
            format!("\x1b[1;{color}m{word}\x1b[0m  {text}")
        } else {
            format!("{word}  {text}")
        }
    }

    /// Loads the configuration and logs its warnings.
    pub(super) fn load(&self, sources: &Sources) -> Result<Config, Failure> {
        let config = Config::load(sources)?;
        for warning in &config.warnings {
            warn!(self.log, "{}", warning);
        }
        Ok(config)
    }

    /// Runs a command's work on a runtime of its own, which ends with it.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.runtime()?.block_on(work)
    }

    /// A runtime for a command's work.
    pub(super) fn runtime(&self) -> Result<Runtime, Failure> {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Failure::of_work)
    }

    /// Runs work that has to end in time, and waits for nothing that it leaves behind, such as the resolution of a name.
    pub(super) fn block_on_in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Failure::of_work)?;
        let done = runtime.block_on(work);
        runtime.shutdown_background();
        Ok(done)
    }

    /// Does work that a first SIGINT or SIGTERM has end in order, and a second one ends at once; `left` says what becomes of the
    /// rest then.
    pub(super) fn block_on_until_signal<T, E, F>(
        &self,
        left: &'static str,
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Result<T, Failure>
    where
        Failure: From<E>,
        F: Future<Output = Result<T, E>>,
    {
        self.block_on(async {
            let shutdown = Shutdown::on_signal().map_err(Failure::of_work)?;
            tokio::select! {
                done = work(shutdown.graceful) => done.map_err(Failure::from),
                () = shutdown.immediate.cancelled() => {
                    warn!(self.log, "ended at once; {}", left);
                    Err(Failure::of_work(EndedAtOnce))
                }
            }
        })
    }

    /// Does the same, and drops the work on SIGINT or SIGTERM, so that it can undo what is half done.
    pub(super) fn block_on_interruptible<T, E: Error + Send + Sync + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        self.block_on(async {
            let shutdown = Shutdown::on_signal().map_err(Failure::of_work)?;
            tokio::select! {
                done = work => done.map_err(Failure::of_work),
                () = shutdown.graceful.cancelled() => Err(Failure::of_work(Interrupted)),
            }
        })
    }
}

/// A command ended by a second signal.
#[derive(Debug, thiserror::Error)]
#[error("ended at once by a second signal")]
struct EndedAtOnce;

/// A command ended by a signal.
#[derive(Debug, thiserror::Error)]
#[error("interrupted before it was complete: run it again")]
struct Interrupted;
