//! Connecting, again and again if need be.

use slog::{Logger, info, warn};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{ReplicationError, Session, SessionOptions, StartFrom};
use crate::backoff::Backoff;
use crate::config::PgUrl;

/// Makes replication connections, with a pause after each failure that grows until a connection has proved to be good.
#[derive(Debug)]
pub struct Connector {
    /// The source.
    pub url: PgUrl,
    /// What is asked of it.
    pub options: SessionOptions,
    /// How long the pauses are.
    pub backoff: Backoff,
    /// How often it is tried again in a row, if that is bounded.
    pub max_retries: Option<u32>,
    /// Ends the waiting for a slot that is in use.
    pub stop: CancellationToken,
    /// Where it is told.
    pub log: Logger,
    /// How often it failed since a connection proved to be good.
    pub failures: u32,
}

impl Connector {
    /// Connects and starts the stream. Tries again as long as that may help.
    ///
    /// # Errors
    /// The last one, where it stays as it is, or was tried as often as is allowed.
    pub async fn connect(&mut self, from: &StartFrom) -> Result<Session, ReplicationError> {
        loop {
            match Session::start(&self.url, &self.options, from, &self.log, &self.stop).await {
                Ok(session) => return Ok(session),
                Err(error) => self.failed(error, self.max_retries).await?,
            }
        }
    }

    /// A connection failed, or making one did. Waits, or gives the error back where trying again is of no use.
    pub(super) async fn failed(
        &mut self,
        error: ReplicationError,
        limit: Option<u32>,
    ) -> Result<(), ReplicationError> {
        if error.is_permanent() || limit.is_some_and(|most| self.failures >= most) {
            return Err(error);
        }
        self.failures += 1;
        let pause = self.backoff.wait(self.failures, fastrand::f64());
        warn!(self.log, "no replication connection, trying again"; "event" => "not_connected", "error" => #&error,
            "failures" => self.failures, "pause_ms" => u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        sleep(pause).await;
        Ok(())
    }

    /// The connection is good: it has brought something new.
    pub(super) fn worked(&mut self) {
        if self.failures > 0 {
            info!(self.log, "the replication connection works again"; "failures" => self.failures);
        }
        self.failures = 0;
    }
}
