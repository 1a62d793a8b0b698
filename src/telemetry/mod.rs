//! Logging set-up: what a log line looks like, which lines appear, and who waits for them to be written. And what other rooms
//! count with, for the room `monitoring` to collect.
//!
//! Every line goes to stderr; stdout belongs to the commands' results. Must not know: what is logged. Whoever logs
//! keeps passwords out of it, and payloads above trace ([`crate::config::Secret`] masks itself).

mod buffered;
mod console;
mod durations;
mod figure;
mod json;
mod level;
mod panics;
mod seldom;

use std::io::{self, IsTerminal};
use std::sync::Arc;

use indicatif::MultiProgress;
use slog::{Drain, Logger, o};

pub use buffered::Guard;
pub use durations::Durations;
pub use figure::Figure;
pub use level::{LogFormat, LogLevel};
pub use seldom::Seldom;

use buffered::{Buffered, LineDrain};

/// What the command line says about the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The least important level that is written.
    pub level: LogLevel,
    /// What a line looks like.
    pub format: LogFormat,
    /// Never use colours, not even on a terminal.
    pub no_color: bool,
}

/// The program's logger, and the guard that writes out what still waits when it is dropped.
///
/// Keep the guard until everything that logs has ended.
pub fn logger(options: &LogOptions) -> (Logger, Guard) {
    let drain: LineDrain = match options.format {
        LogFormat::Console => {
            Box::new(console::drain(use_color(options.no_color, &io::stderr())).ignore_res())
        }
        LogFormat::Json => Box::new(json::drain(io::stderr()).ignore_res()),
    };
    let (buffered, guard) = Buffered::start(drain);
    let filtered = buffered.filter_level(options.level.into()).ignore_res();
    let log = Logger::root(Arc::new(filtered), o!());
    if options.format == LogFormat::Json {
        panics::log(log.clone());
    }
    (log, guard)
}

/// Where progress may be drawn, if the log is for people, and stderr a terminal that can be drawn on: lines of the log stand
/// above it.
pub fn screen(format: LogFormat) -> Option<&'static MultiProgress> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    (format == LogFormat::Console && io::stderr().is_terminal() && !dumb).then_some(&*console::SCREEN)
}

/// Whether colours suit an output: it is a terminal that knows them, and neither the flag nor
/// [`NO_COLOR`](https://no-color.org) forbids them.
pub fn use_color(no_color: bool, output: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !no_color && !set("NO_COLOR") && !dumb && output.is_terminal()
}
