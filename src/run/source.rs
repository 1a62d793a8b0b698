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
use crate::store::{PgPool, backlog};

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
    let known = sources::find(store, slot).await?;
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
    let from = StartFrom {
        remembered: known.as_ref().map(remembered),
        received: None,
        accept_gap: on_gap == OnGap::Accept,
    };
    let connected = stop.run_until_cancelled(connector.connect(&from)).await;
    let session = match connected.unwrap_or(Err(ReplicationError::Stopped)) {
        Ok(session) => session,
        Err(error) => return Err(explained(error, catalog).await),
    };
    let Identity {
        system_identifier,
        timeline,
    } = session.identity;
    let (row, is_broken) = next(known, session.identity, session.slot, session.gap, on_gap);
    if is_broken {
        warn!(log, "the source's history is broken, and that is accepted: from here on the ids of its changes have another \
            epoch"; "event" => "gap_accepted", "slot" => slot, "epoch" => row.epoch, "from" => %session.slot,
            "gap" => session.gap.map(|gap| gap.to_string()));
    } else if let Some(known) = known.filter(|known| known.confirmed > session.slot) {
        info!(log, "the slot is behind what was settled before; what lies between may be sent again";
            "event" => "slot_behind", "slot" => slot, "slot_confirmed" => %session.slot, "settled" => %known.confirmed);
    }
    if let Some(at) = session.branched_off {
        info!(log, "the source is on another timeline; nothing of what was streamed is missing there";
            "event" => "timeline_switched", "timeline" => timeline, "branched_off_at" => %at);
        backlog::lower_marks(store, system_identifier, row.epoch, at).await?;
    }
    sources::take_over(store, slot, &row, term).await?;
    let source = Source {
        system_identifier,
        epoch: row.epoch,
    };
    Ok(Connected {
        highest_mark: highest_mark(store, &source).await?,
        link: Link {
            session,
            connector,
            witness: witness(catalog.clone(), slot.clone(), vitals),
        },
        source,
        row,
    })
}

/// What is remembered of a source as it was found, and whether its history is broken.
fn next(known: Option<Row>, found: Identity, slot: Lsn, gap: Option<Gap>, on_gap: OnGap) -> (Row, bool) {
    // Where the store is the source, a stand-by that was promoted brings back what it knew, and a gap that the program
    // before this one found cannot be seen any more.
    let may_be_unseen = known.is_some_and(|known| known.timeline != found.timeline);
    let is_broken = gap.is_some() || (on_gap == OnGap::Accept && may_be_unseen);
    let (epoch, confirmed) = match known {
        None => (FIRST_EPOCH, slot),
        Some(known) if is_broken => (known.epoch.saturating_add(1), slot),
        Some(known) => (known.epoch, known.confirmed.max(slot)),
    };
    let row = Row {
        system_identifier: found.system_identifier,
        timeline: found.timeline,
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

async fn highest_mark(store: &PgPool, source: &Source) -> Result<Lsn, RunError> {
    let marks = backlog::marks(store).await?;
    let marks = marks.iter().map(|(_, mark)| mark);
    let ours = marks.filter(|mark| mark.source == source.system_identifier && mark.epoch == source.epoch);
    Ok(ours.map(|mark| mark.commit_lsn).max().unwrap_or(Lsn::ZERO))
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
