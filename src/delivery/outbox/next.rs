//! What is to be done after a look at an outbox, outside of its lock.

use std::sync::Arc;
use std::time::Instant;

use super::Work;
use crate::delivery::ready::Class;
use crate::endpoint::Transition;
use crate::event::Event;
use crate::progress::SettleToken;

/// What is to be done after a look at an outbox.
#[derive(Default)]
#[must_use]
pub(in crate::delivery) struct Next {
    /// The work to do now.
    pub(in crate::delivery) work: Option<Work>,
    /// Put the token into the ready queue.
    pub(in crate::delivery) requeue: bool,
    /// As what the endpoint is treated there.
    pub(in crate::delivery) class: Class,
    /// The token that is there waits among those of doubtful endpoints, and this is none any more.
    pub(in crate::delivery) promote: bool,
    /// Have a keeper come.
    pub(in crate::delivery) keep: bool,
    /// When the timer has to look at the outbox.
    pub(in crate::delivery) alarm: Option<Instant>,
    /// What an operator has to hear of.
    pub(in crate::delivery) changes: Vec<Change>,
    /// Deliveries that are settled.
    pub(in crate::delivery) settled: Vec<Settled>,
}

/// A delivery that is settled: its event goes first, so that what is settled holds nothing of the budget any more.
pub(in crate::delivery) struct Settled {
    pub(in crate::delivery) event: Arc<Event>,
    pub(in crate::delivery) token: Option<SettleToken>,
}

/// What an operator has to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::delivery) enum Change {
    /// How the endpoint does, and what its last failure was if it does not do well.
    Health(Transition, Option<Arc<str>>),
    /// Its deliveries go to the backlog from now on.
    Spilled(&'static str),
    /// Its backlog is drained.
    Drained,
    /// An event becomes a dead letter.
    Died {
        id: String,
        reason: &'static str,
        error: String,
    },
    /// In strict mode, an event that would become a dead letter.
    MustStop {
        id: String,
        reason: &'static str,
        error: String,
    },
}

/// What the choice of an endpoint to be spilled goes by.
#[derive(Debug, Clone, Copy)]
pub(in crate::delivery) struct Load {
    /// Bytes that a spill would move.
    pub(in crate::delivery) charge: u64,
    /// Whether it is behind its backlog already, and so would load again what it is spilled of.
    pub(in crate::delivery) behind: bool,
    /// Bytes on their way to the backlog.
    pub(in crate::delivery) leaving: u64,
    /// Whether its last outcome was not a success.
    pub(in crate::delivery) failing: bool,
    /// Whether it was given something in the last second and has dealt with all of it.
    pub(in crate::delivery) starving: bool,
}

impl Settled {
    /// Gives the event's share of the budget back, and says that it is settled.
    pub(in crate::delivery) fn settle(self) {
        drop(self.event);
        if let Some(token) = self.token {
            token.settle();
        }
    }

    /// Of a delivery that is done with.
    pub(super) fn new(event: Arc<Event>, token: Option<SettleToken>) -> Self {
        Self { event, token }
    }
}
