//! Whether `run` would go on with the source, by what is remembered of it. Pure.
//!
//! Asks what `run` asks when it connects, as far as it can be told without a replication connection: where a timeline
//! branched off is left to `run`. While something streams from the slot there is nothing to be asked: it has been, and both
//! sides move.

use pgstream_proto::Lsn;

use super::document::RememberedReport;
use super::source::SourceFacts;
use super::store::StoreFacts;
use crate::config::Targets;
use crate::replication::history::{self, Found, Remembered, Switch};
use crate::replication::{Gap, Identity};
use crate::setup::findings::Finding;
use crate::store::sources::Source;

/// The problems and hints of what is remembered and what is there.
pub(super) fn findings(
    targets: &Targets,
    (of_source, of_store): (&SourceFacts, &StoreFacts),
    problems: &mut Vec<Finding>,
    hints: &mut Vec<Finding>,
) {
    let (Some(Some(known)), Some(Some(slot))) = (&of_store.remembered, &of_source.slot) else {
        return;
    };
    let confirmed = slot
        .confirmed_flush_lsn
        .as_deref()
        .and_then(|lsn| lsn.parse().ok());
    let (Some(Some((identity, wal_end))), Some(confirmed), false) =
        (of_source.identity, confirmed, slot.active)
    else {
        return;
    };
    match gap(known, identity, wal_end, confirmed) {
        Some(gap) => problems.push(problem(gap)),
        None if identity.timeline != known.timeline => {
            hints.push(hint(known, identity, targets.source == targets.store));
        }
        None => {}
    }
}

fn gap(known: &Source, identity: Identity, wal_end: Lsn, slot: Lsn) -> Option<Gap> {
    let remembered = Remembered {
        identity: Identity {
            system_identifier: known.system_identifier,
            timeline: known.timeline,
        },
        position: known.confirmed,
        bound: known.bound,
    };
    // Where a later timeline branched off is not known here: as if it had everything.
    let switches = if identity.timeline > known.timeline {
        vec![Switch {
            timeline: known.timeline,
            at: Lsn::new(u64::MAX),
        }]
    } else {
        Vec::new()
    };
    let found = Found {
        identity,
        switches,
        wal_end,
        slot,
    };
    history::compare(&remembered, &found).err()
}

fn problem(gap: Gap) -> Finding {
    Finding::new(
        "source_changed",
        format!("the source is not what was streamed before, so pgstream run ends with exit code 4: {gap}"),
        "if that is meant to be so, run pgstream run --accept-gap, which goes on from where the slot is, and pgstream \
         backfill for what receivers lack",
    )
}

fn hint(known: &Source, found: Identity, is_store: bool) -> Finding {
    let (hidden, remedy) = if is_store {
        (
            "; since the store is the source itself, a stand-by that lagged when it was promoted has brought back an older \
             position, and the gap cannot be seen",
            "if the stand-by may have lagged, run pgstream backfill for what receivers lack",
        )
    } else {
        (
            "",
            "start pgstream run; if it finds a gap, start it with --accept-gap, and run pgstream backfill for what receivers lack",
        )
    };
    Finding::new(
        "timeline_changed",
        format!(
            "the source is on timeline {}, and timeline {} was streamed before: pgstream run finds out whether all that was \
             streamed is there{hidden}",
            found.timeline, known.timeline
        ),
        remedy,
    )
}

/// What mends that there is no slot, where one was streamed before or not.
pub(super) fn remedy_of_a_missing_slot(of_store: &StoreFacts) -> &'static str {
    match of_store.remembered {
        Some(Some(_)) => {
            "run pgstream init, then pgstream run --accept-gap, since a new slot begins at the end of the WAL, and pgstream \
             backfill for what receivers lack: changes since the slot was dropped are not delivered"
        }
        _ => "run pgstream init; where there was one, changes since it was dropped are not delivered",
    }
}

pub(super) fn report(known: Source) -> RememberedReport {
    RememberedReport {
        system_identifier: known.system_identifier.to_string(),
        timeline: known.timeline,
        epoch: known.epoch,
        confirmed_lsn: known.confirmed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PgUrl;
    use crate::setup::slot_risk::tests::sample;

    const KNOWN: Source = Source {
        system_identifier: 7,
        timeline: 2,
        epoch: 1,
        confirmed: Lsn::new(0x100),
        bound: Lsn::new(0x200),
    };

    /// The codes for a source with this identifier, timeline, end of the WAL and slot.
    fn codes(
        system_identifier: u64,
        timeline: u32,
        wal_end: u64,
        slot: &str,
        active: bool,
    ) -> Vec<&'static str> {
        let identity = Identity {
            system_identifier,
            timeline,
        };
        let of_source = SourceFacts {
            identity: Some(Some((identity, Lsn::new(wal_end)))),
            slot: Some(Some(sample(|it| {
                it.active = active;
                it.confirmed_flush_lsn = Some(slot.to_owned());
            }))),
            ..SourceFacts::default()
        };
        let of_store = StoreFacts {
            remembered: Some(Some(KNOWN)),
            ..StoreFacts::default()
        };
        let url = PgUrl::parse("postgres://postgres@127.0.0.1/a").unwrap();
        let targets = Targets {
            source: url.clone(),
            store: url,
            slot: "s".to_owned(),
        };
        let (mut problems, mut hints) = (Vec::new(), Vec::new());
        findings(&targets, (&of_source, &of_store), &mut problems, &mut hints);
        problems.iter().chain(&hints).map(|found| found.code).collect()
    }

    #[test]
    fn what_run_refuses_is_a_problem_unless_something_streams() {
        for (identifier, timeline, wal_end, slot, expected) in [
            (7, 2, 0x900, "0/100", None),
            (7, 2, 0x900, "0/50", None),
            (8, 2, 0x900, "0/100", Some("source_changed")),
            (7, 1, 0x900, "0/100", Some("source_changed")),
            (7, 2, 0xFF, "0/50", Some("source_changed")),
            (7, 2, 0x900, "0/201", Some("source_changed")),
            (7, 3, 0x900, "0/201", Some("source_changed")),
            (7, 3, 0x900, "0/100", Some("timeline_changed")),
        ] {
            let found = codes(identifier, timeline, wal_end, slot, false);
            assert_eq!(
                found,
                Vec::from_iter(expected),
                "{identifier} {timeline} {wal_end} {slot}"
            );
            assert!(codes(identifier, timeline, wal_end, slot, true).is_empty());
        }
    }
}
