//! Connecting to the source for the first time, with what is remembered of it.

use std::sync::Arc;

use pgstream_proto::Lsn;
use slog::{Logger, info, warn};
use tokio_util::sync::CancellationToken;

use super::refusal::explained;
use super::{OnGap, RunError};
use crate::config::Config;
use crate::event::Source;
use crate::pipeline;
use crate::replication::{
    Connector, Gap, Identity, Link, Remembered, ReplicationError, SessionOptions, StartFrom, Vitals, Witness,
};
use crate::store::slots::{self, Walsender};
use crate::store::sources::{self, Source as Row};
use crate::store::{self, PgPool, StoreError, backlog};

/// The source's epoch as long as its history is unbroken.
pub(super) const FIRST_EPOCH: u32 = 1;

/// A source that is connected to.
pub(super) struct Connected {
    pub(super) link: Link,
    /// Part of the ids of its changes.
    pub(super) source: Source,
    /// What is remembered of it from now on.
    pub(super) row: Row,
    /// The highest position up to which an endpoint's backlog has everything.
    pub(super) highest_mark: Lsn,
}

/// Where it is remembered, and for whose term.
pub(super) struct Memory<'a> {
    pub(super) store: &'a PgPool,
    pub(super) term: i64,
    pub(super) on_gap: OnGap,
}

/// Connects, and takes over what is remembered of the source.
pub(super) async fn connect(
    config: &Config,
    options: SessionOptions,
    memory: &Memory<'_>,
    catalog: &PgPool,
    stop: &CancellationToken,
    log: &Logger,
) -> Result<Connected, RunError> {
    let Memory { store, term, on_gap } = *memory;
    let slot = &config.slot;
    let vitals = Arc::clone(&options.vitals);
    let mut connector = Connector {
        url: config.source.clone(),
        options,
        backoff: config.reconnect.backoff,
        max_retries: config.reconnect.max_retries,
        stop: stop.clone(),
        log: log.clone(),
        failures: 0,
    };
    let mut known = sources::claim(store, slot, term).await?;
    let session = loop {
        let from = StartFrom {
            remembered: known.as_ref().map(remembered),
            received: None,
            accept_gap: on_gap == OnGap::Accept,
        };
        let connected = stop.run_until_cancelled(connector.connect(&from)).await;
        match connected.unwrap_or(Err(ReplicationError::Stopped)) {
            Ok(session) => break session,
            Err(error @ ReplicationError::Gap(Gap::SlotMoved { .. })) => {
                // Somebody may have skipped something while the slot was waited for.
                let now = sources::claim(store, slot, term).await?;
                if now == known {
                    return Err(error.into());
                }
                known = now;
            }
            Err(error) => return Err(explained(error, catalog).await),
        }
    };
    let Identity {
        system_identifier,
        timeline,
    } = session.identity;
    let mark = highest_mark(store, known.as_ref()).await?;
    let diverged = session.branched_off.is_some_and(|at| mark > at);
    let found = Now {
        identity: session.identity,
        slot: session.slot,
        gap: session.gap,
        diverged,
        remembers_itself: is_of_cluster(store, system_identifier).await?,
    };
    let (row, is_broken) = next(known, &found, on_gap);
    if let Some(gap) = session.gap {
        warn!(log, "commits may be missing, and that is accepted: from here on the ids of changes have another epoch";
            "event" => "gap_accepted", "slot" => slot, "epoch" => row.epoch, "from" => %session.slot,
            "gap" => gap.to_string());
    } else if is_broken {
        warn!(log, "the source is on another timeline, and it cannot be known how far the old one was streamed: from here on \
            the ids of changes have another epoch";
            "event" => "epoch_raised", "slot" => slot, "epoch" => row.epoch, "from" => %session.slot);
    } else if let Some(known) = known.filter(|known| known.confirmed > session.slot) {
        info!(log, "the slot is behind what was settled before; what lies between may be sent again";
            "event" => "slot_behind", "slot" => slot, "slot_confirmed" => %session.slot, "settled" => %known.confirmed);
    }
    // Positions and numbers of transactions of the history that ended mean something else in this one.
    let ended_at = session.branched_off.filter(|_| !is_broken);
    if let Some(at) = ended_at {
        info!(log, "the source is on another timeline; nothing of what was streamed is missing there";
            "event" => "timeline_switched", "timeline" => timeline, "branched_off_at" => %at);
    }
    if is_broken || ended_at.is_some() {
        let at = ended_at.unwrap_or(Lsn::ZERO);
        store::snapshot::history_ended(store, slot, at, session.slot).await?;
    }
    if !sources::take_over(store, slot, &row, term).await? {
        // A later one has it, which is about to be noticed.
        return Err(ReplicationError::Stopped.into());
    }
    let source = Source {
        system_identifier,
        epoch: row.epoch,
    };
    Ok(Connected {
        highest_mark: if is_broken { Lsn::ZERO } else { mark },
        link: Link {
            session,
            connector,
            witness: witness(catalog.clone(), slot.clone(), vitals),
        },
        source,
        row,
    })
}

/// How a source was found.
struct Now {
    identity: Identity,
    /// Where the slot is.
    slot: Lsn,
    /// Why commits may be missing, which was accepted.
    gap: Option<Gap>,
    /// Whether backlogs have changes of a history that is not the source's any more.
    diverged: bool,
    /// Whether what is remembered lies in the source itself. Then a stand-by that was promoted, or a backup that was restored,
    /// brings back what it knew, and how far the program before this one came cannot be seen any more.
    remembers_itself: bool,
}

/// What is remembered of a source as it was found, and whether its history is broken: then the same positions mean other
/// changes, which must not have the same ids.
fn next(known: Option<Row>, now: &Now, on_gap: OnGap) -> (Row, bool) {
    let is_another_timeline = known.is_some_and(|known| known.timeline != now.identity.timeline);
    let may_be_unseen = is_another_timeline && (now.remembers_itself || on_gap == OnGap::Accept);
    let is_broken = now.gap.is_some() || now.diverged || may_be_unseen;
    let (epoch, confirmed) = match known {
        None => (FIRST_EPOCH, now.slot),
        Some(known) if is_broken => (known.epoch.saturating_add(1), now.slot),
        Some(known) => (known.epoch, known.confirmed.max(now.slot)),
    };
    let row = Row {
        system_identifier: now.identity.system_identifier,
        timeline: now.identity.timeline,
        epoch,
        confirmed,
        bound: pipeline::bound(confirmed, 0),
    };
    (row, is_broken)
}

fn remembered(row: &Row) -> Remembered {
    Remembered {
        identity: Identity {
            system_identifier: row.system_identifier,
            timeline: row.timeline,
        },
        position: row.confirmed,
        bound: row.bound,
    }
}

/// The highest position up to which backlogs have everything of the history that is remembered.
async fn highest_mark(store: &PgPool, known: Option<&Row>) -> Result<Lsn, RunError> {
    let marks = backlog::marks(store).await?;
    let marks = marks.iter().map(|(_, mark)| mark);
    let ours = marks.filter(|mark| {
        known.is_some_and(|known| (mark.source, mark.epoch) == (known.system_identifier, known.epoch))
    });
    Ok(ours.map(|mark| mark.commit_lsn).max().unwrap_or(Lsn::ZERO))
}

/// Whether the store lies in this database cluster, whatever database of it or way to it.
async fn is_of_cluster(store: &PgPool, system_identifier: u64) -> Result<bool, StoreError> {
    let found = store::schema_log::identify(store).await?.system_identifier;
    Ok(u64::from_ne_bytes(found.to_ne_bytes()) == system_identifier)
}

/// Asks the source itself, over another connection. The silence of a walsender that is at work means nothing.
fn witness(catalog: PgPool, slot: String, vitals: Arc<Vitals>) -> Witness {
    Box::new(move |pid| {
        let (catalog, slot, vitals) = (catalog.clone(), slot.clone(), Arc::clone(&vitals));
        Box::pin(async move {
            let walsender = slots::walsender(&catalog, &slot, pid).await?;
            if walsender == Walsender::AtWork {
                vitals.is_alive();
            }
            Some(walsender != Walsender::Gone)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(timeline: u32) -> Row {
        Row {
            system_identifier: 7,
            timeline,
            epoch: 3,
            confirmed: Lsn::new(100),
            bound: Lsn::new(120),
        }
    }

    #[test]
    fn ids_have_another_epoch_where_positions_may_mean_something_else() {
        let gap = Gap::SlotMoved {
            slot: Lsn::new(130),
            bound: Lsn::new(120),
        };
        // What is remembered, the gap, diverged, in the source itself, what is done; whether the epoch is another one
        for (row, gap, diverged, remembers_itself, on_gap, is_raised) in [
            (Some(known(1)), None, false, true, OnGap::Stop, false),
            (Some(known(1)), None, false, true, OnGap::Accept, false),
            (Some(known(1)), Some(gap), false, false, OnGap::Accept, true),
            // On another one until now.
            (Some(known(2)), None, false, false, OnGap::Stop, false),
            (Some(known(2)), None, false, true, OnGap::Stop, true),
            (Some(known(2)), None, false, false, OnGap::Accept, true),
            (Some(known(2)), None, true, false, OnGap::Stop, true),
            (None, None, false, true, OnGap::Stop, false),
        ] {
            let now = Now {
                identity: Identity {
                    system_identifier: 7,
                    timeline: 1,
                },
                slot: Lsn::new(90),
                gap,
                diverged,
                remembers_itself,
            };
            let (next, is_broken) = next(row, &now, on_gap);
            assert_eq!(
                is_broken, is_raised,
                "{row:?} {gap:?} {diverged} {remembers_itself} {on_gap:?}"
            );
            let before = row.map_or(FIRST_EPOCH, |row| row.epoch);
            assert_eq!(next.epoch, before + u32::from(is_raised));
            assert_eq!(next.timeline, 1);
        }
    }

    #[test]
    fn what_was_settled_is_not_forgotten_where_the_slot_is_behind() {
        let now = Now {
            identity: Identity {
                system_identifier: 7,
                timeline: 1,
            },
            slot: Lsn::new(90),
            gap: None,
            diverged: false,
            remembers_itself: true,
        };
        assert_eq!(next(Some(known(1)), &now, OnGap::Stop).0.confirmed, Lsn::new(100));
        assert_eq!(next(None, &now, OnGap::Stop).0.confirmed, Lsn::new(90));
    }
}
