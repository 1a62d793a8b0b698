//! One event on its way to one endpoint, and what backs it: where it would come from again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime};

use super::model::Attempts;
use crate::event::Event;
use crate::progress::SettleToken;

/// One event on its way to one endpoint.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) event: Arc<Event>,
    pub(super) backing: Backing,
    /// What was tried; boxed, since most are delivered at the first try.
    pub(super) attempts: Option<Box<Attempts>>,
    /// When its row was written, if it was loaded.
    pub(super) appended_at: Option<SystemTime>,
    /// When it came into memory.
    pub(super) since: Instant,
}

/// What a delivery would come from again if the program ended now.
#[derive(Debug)]
pub(super) enum Backing {
    /// The stream: its LSN is not confirmed as long as the token is not settled.
    Stream(SettleToken),
    /// The backlog's row of this `seq`.
    Row(i64),
    /// A row that is still to be appended, while this delivery is in flight. Whoever appends it has the token.
    Appending(Arc<RowCell>),
}

/// Tells the two halves of a delivery that was in flight when its endpoint was spilled what has become of the other:
/// the one that is in flight, and the one that waits to be appended. Read and written under the outbox's lock only.
#[derive(Debug)]
pub(super) struct RowCell(AtomicI64);

/// See [`RowCell`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    /// Both exist: in flight, and not appended yet.
    Pending,
    /// It is settled: the row is superfluous.
    Settled,
    /// It has left the lanes unsettled: the row alone counts.
    Dissolved,
    /// It is in the backlog under this `seq`.
    Row(i64),
    /// The backlog had a row of this event before, under a `seq` that is not known here.
    Known,
}

impl RowCell {
    const PENDING: i64 = 0;
    const SETTLED: i64 = -1;
    const DISSOLVED: i64 = -2;
    const KNOWN: i64 = -3;

    pub(super) fn pending() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Self::PENDING)))
    }

    pub(super) fn get(&self) -> Half {
        match self.0.load(Ordering::Relaxed) {
            Self::PENDING => Half::Pending,
            Self::SETTLED => Half::Settled,
            Self::DISSOLVED => Half::Dissolved,
            Self::KNOWN => Half::Known,
            seq => Half::Row(seq),
        }
    }

    pub(super) fn set(&self, half: Half) {
        let value = match half {
            Half::Pending => Self::PENDING,
            Half::Settled => Self::SETTLED,
            Half::Dissolved => Self::DISSOLVED,
            Half::Known => Self::KNOWN,
            Half::Row(seq) => seq,
        };
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Delivery {
    /// A delivery of an event of the stream.
    pub(super) fn of_stream(event: Arc<Event>, token: SettleToken, now: Instant) -> Self {
        Self {
            event,
            backing: Backing::Stream(token),
            attempts: None,
            appended_at: None,
            since: now,
        }
    }

    /// The bytes it is charged with.
    pub(super) fn charge(&self) -> u64 {
        self.event.share.bytes()
    }

    /// When it was first tried or written to the backlog, whichever is earlier.
    pub(super) fn waits_since(&self) -> Option<SystemTime> {
        let tried = self.attempts.as_ref().and_then(|attempts| attempts.first_at);
        [tried, self.appended_at].into_iter().flatten().min()
    }

    /// The row of the backlog it has, if any.
    pub(super) fn row(&self) -> Option<i64> {
        match &self.backing {
            Backing::Row(seq) => Some(*seq),
            Backing::Appending(cell) => match cell.get() {
                Half::Row(seq) => Some(seq),
                _ => None,
            },
            Backing::Stream(_) => None,
        }
    }
}
