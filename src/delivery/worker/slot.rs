//! Connection slots.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::config::AutoHeaderValue;
use ureq::unversioned::transport::{Connector, DefaultConnector};

use super::names::{CachingResolver, Names};
use super::probe::{Probe, ProbeConnector};
use crate::delivery::request::USER_AGENT;

/// What each connection may buffer in each direction.
const BUFFER_LEN: usize = 16 * 1024;
/// How long the head of a response may be: it has to fit the input buffer.
const MAX_HEAD_LEN: usize = BUFFER_LEN;
/// How long the body of an answer is read; it never changes the outcome.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Counts the connections of all endpoints against the limit of open files.
#[derive(Debug)]
pub(in crate::delivery) struct Connections {
    open: AtomicUsize,
    /// Above this number, a connection is closed after its exchange instead of kept for the next.
    keep: usize,
    /// Above this number, an endpoint keeps no more than one that rests: what rests takes memory.
    spare: usize,
}

impl Connections {
    /// Keeps connections open as long as there are at most `keep`, and more than one at rest for an endpoint as long as
    /// there are at most `spare`.
    pub(in crate::delivery) fn new(keep: usize, spare: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            keep,
            spare,
        })
    }

    /// Whether there is room for one more at rest, of an endpoint that has so many at rest already.
    fn may_rest(&self, resting: usize) -> bool {
        let most = if resting == 0 {
            self.keep
        } else {
            self.keep.min(self.spare)
        };
        self.open.load(Ordering::Relaxed) <= most
    }
}

/// One connection to one endpoint, or the ability to open one. Lent to one worker at a time.
#[derive(Debug)]
pub(in crate::delivery) struct Slot {
    pub(super) agent: Agent,
    pub(super) probe: Arc<Probe>,
    connections: Arc<Connections>,
}

impl Slot {
    fn open(timeout: Duration, names: &Arc<Names>, connections: &Arc<Connections>) -> Self {
        connections.open.fetch_add(1, Ordering::Relaxed);
        let probe = Arc::new(Probe::default());
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(USER_AGENT)
            .accept(AutoHeaderValue::None)
            .accept_encoding(AutoHeaderValue::None)
            .input_buffer_size(BUFFER_LEN)
            .output_buffer_size(BUFFER_LEN)
            .max_response_header_size(MAX_HEAD_LEN)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .timeout_global(Some(timeout))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .build();
        let connector = DefaultConnector::new().chain(ProbeConnector(Arc::clone(&probe)));
        let agent = Agent::with_parts(config, connector, CachingResolver(Arc::clone(names)));
        Self {
            agent,
            probe,
            connections: Arc::clone(connections),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The slots of one endpoint: those at rest on a stack, so that few stay in use, and those that are lent.
#[derive(Debug)]
pub(in crate::delivery) struct Slots {
    idle: Vec<(Arc<Slot>, Instant)>,
    lent: Vec<Arc<Slot>>,
    /// Lent slots that are not to be used again.
    outdated: Vec<Arc<Slot>>,
    timeout: Duration,
    names: Arc<Names>,
    connections: Arc<Connections>,
}

impl Slots {
    /// No slots yet. Exchanges on them may take `timeout` up to the complete head of the response.
    pub(in crate::delivery) fn new(
        timeout: Duration,
        names: Arc<Names>,
        connections: Arc<Connections>,
    ) -> Self {
        Self {
            idle: Vec::new(),
            lent: Vec::new(),
            outdated: Vec::new(),
            timeout,
            names,
            connections,
        }
    }

    /// Lends the slot that was used last, or a new one.
    pub(in crate::delivery) fn lend(&mut self) -> Arc<Slot> {
        let slot = self.idle.pop().map_or_else(
            || Arc::new(Slot::open(self.timeout, &self.names, &self.connections)),
            |(slot, _)| slot,
        );
        self.lent.push(Arc::clone(&slot));
        slot
    }

    /// Takes a slot back.
    pub(in crate::delivery) fn give_back(&mut self, slot: Arc<Slot>, now: Instant) {
        if let Some(index) = self.lent.iter().position(|lent| Arc::ptr_eq(lent, &slot)) {
            self.lent.swap_remove(index);
        }
        if let Some(index) = self.outdated.iter().position(|old| Arc::ptr_eq(old, &slot)) {
            self.outdated.swap_remove(index);
        } else if self.connections.may_rest(self.idle.len()) {
            self.idle.push((slot, now));
        }
    }

    /// Uses this timeout from now on: slots at rest, whose agents have the old one, are closed.
    pub(in crate::delivery) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.idle.clear();
        self.outdated = self.lent.clone();
    }

    /// Since when the slot that has rested longest rests.
    pub(in crate::delivery) fn idle_since(&self) -> Option<Instant> {
        self.idle.first().map(|(_, since)| *since)
    }

    /// Closes the slots that have rested since `limit` or longer.
    pub(in crate::delivery) fn close_idle_since(&mut self, limit: Option<Instant>) {
        let Some(limit) = limit else { return };
        // A stack: what rests longest is at the bottom.
        let kept = self.idle.partition_point(|(_, since)| *since <= limit);
        self.idle.drain(..kept);
    }

    /// Breaks off the exchanges on all slots that are lent.
    pub(in crate::delivery) fn interrupt(&self) {
        for slot in &self.lent {
            slot.agent.clone().shutdown();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_spare_ones_an_endpoint_keeps_one_and_beyond_the_limit_none() {
        let connections = Connections::new(5, 2);
        let names = Names::start().unwrap();
        let mut slots = Slots::new(Duration::from_secs(1), names, Arc::clone(&connections));
        let used_at_once = |slots: &mut Slots, count: usize| {
            let lent: Vec<_> = (0..count).map(|_| slots.lend()).collect();
            lent.into_iter()
                .for_each(|slot| slots.give_back(slot, Instant::now()));
            slots.idle.len()
        };
        assert_eq!(used_at_once(&mut slots, 3), 2, "as many as are to spare");
        // Other endpoints have some, too.
        connections.open.fetch_add(2, Ordering::Relaxed);
        assert_eq!(used_at_once(&mut slots, 2), 1);
        assert_eq!(used_at_once(&mut slots, 1), 1);
        connections.open.fetch_add(5, Ordering::Relaxed);
        assert_eq!(used_at_once(&mut slots, 1), 0);
    }
}
