//! What happened on a slot's connection during an exchange: ureq does not tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Marks made during one exchange.
#[derive(Debug, Default)]
pub(super) struct Probe {
    connected: AtomicBool,
    sent: AtomicBool,
    received: AtomicBool,
}

impl Probe {
    /// A new exchange begins.
    pub(super) fn reset(&self) {
        self.connected.store(false, Ordering::Relaxed);
        self.sent.store(false, Ordering::Relaxed);
        self.received.store(false, Ordering::Relaxed);
    }

    /// Whether the exchange used a connection from an earlier one, and nothing of an answer came over it: the
    /// receiver had most likely closed it before our request arrived.
    pub(super) fn stale_connection(&self) -> bool {
        let marked = |mark: &AtomicBool| mark.load(Ordering::Relaxed);
        marked(&self.sent) && !marked(&self.connected) && !marked(&self.received)
    }
}

/// The last link of the connector chain: wraps each new connection so that it makes its marks.
#[derive(Debug)]
pub(super) struct ProbeConnector(pub(super) Arc<Probe>);

/// A connection that makes its marks.
#[derive(Debug)]
pub(super) struct Probed<T> {
    inner: T,
    probe: Arc<Probe>,
}

impl<In: Transport> Connector<In> for ProbeConnector {
    type Out = Probed<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        self.0.connected.store(true, Ordering::Relaxed);
        Ok(chained.map(|inner| Probed {
            inner,
            probe: Arc::clone(&self.0),
        }))
    }
}

impl<T: Transport> Transport for Probed<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.probe.sent.store(true, Ordering::Relaxed);
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let progress = self.inner.await_input(timeout)?;
        if progress {
            self.probe.received.store(true, Ordering::Relaxed);
        }
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_used_connection_without_an_answer_is_stale() {
        for (connected, sent, received, stale) in [
            (false, true, false, true),
            (false, true, true, false),
            (true, true, false, false),
            // No connection could be made at all.
            (false, false, false, false),
        ] {
            let probe = Probe {
                connected: connected.into(),
                sent: sent.into(),
                received: received.into(),
            };
            assert_eq!(probe.stale_connection(), stale, "{probe:?}");
        }
    }
}
