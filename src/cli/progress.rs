//! How far a long command is, told now and then.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use slog::{Logger, info};

/// How often.
const INTERVAL: Duration = Duration::from_secs(2);

/// Tells the log how far a command is.
pub(super) struct Progress<'a> {
    log: &'a Logger,
    last: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(log: &'a Logger) -> Self {
        Self {
            log,
            last: Instant::now(),
        }
    }

    /// Tells that so many rows are done, if nothing was told for a while. Always goes on: a signal ends the command.
    pub(super) fn tell(&mut self, what: &str, rows: u64) -> ControlFlow<()> {
        if self.last.elapsed() >= INTERVAL {
            self.last = Instant::now();
            info!(self.log, "{} so far", what; "rows" => rows);
        }
        ControlFlow::Continue(())
    }
}
