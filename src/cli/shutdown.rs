//! SIGINT and SIGTERM for commands that run until they are told to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the signals ask for.
pub(super) struct Shutdown {
    /// Cancelled by the first signal: finish what is under way, then end.
    pub(super) graceful: CancellationToken,
    /// Cancelled by the second one: end at once.
    pub(super) immediate: CancellationToken,
}

impl Shutdown {
    /// Begins to listen for signals. Needs a runtime.
    pub(super) fn on_signal() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (graceful, immediate) = (CancellationToken::new(), CancellationToken::new());
        let in_order = [graceful.clone(), immediate.clone()];
        tokio::spawn(async move {
            for token in in_order {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self { graceful, immediate })
    }
}
