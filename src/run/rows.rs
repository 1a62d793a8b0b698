//! The reading of rows, beside the stream and by itself.

use std::sync::Arc;

use pgstream_proto::Lsn;
use slog::Logger;
use tokio::sync::Notify;

use super::RunError;
use super::databases::Databases;
use crate::config::Config;
use crate::delivery::Dispatcher;
use crate::event::Source;
use crate::pipeline::{HoldParts, Holds, IntakeCounts, RowEntrance, Snapshots};
use crate::progress::Budget;
use crate::snapshot::model::Relation;
use crate::snapshot::{self, How, Left, Parts, StreamSnapshots, Watch, left_out};
use crate::store::snapshot::{TableRow, stream_starts};
use crate::store::{self, PgPool, StoreError, server, slots};
use crate::subscription::cache::Subscriptions;

/// The tables that are to be read before their changes.
pub(super) struct Planned {
    /// The database, as they are read.
    readable: PgPool,
    tables: Vec<(Relation, TableRow)>,
}

impl Planned {
    /// Plans the reading of tables before the stream of a slot is started for the first time: only then it is known that
    /// nobody was sent a change of them.
    pub(super) async fn before_the_stream(
        config: &Config,
        databases: &Databases,
        log: &Logger,
    ) -> Result<Self, RunError> {
        let Databases { store, catalog, .. } = databases;
        let Config {
            snapshot,
            filter,
            slot,
            ..
        } = config;
        let (mut readable, mut tables) = (catalog.clone(), Vec::new());
        if !snapshot.tables.is_empty() {
            readable = self::readable(config, databases).await?;
            let how = (filter, How::BeforeTheStream);
            tables = snapshot::plan(&readable, store, slot, snapshot, how, log).await?;
        }
        let oids: Vec<u32> = tables.iter().map(|(table, _)| table.oid).collect();
        // Where there is no slot, nothing is started.
        if slots::find(catalog, slot).await?.is_some() {
            stream_starts(store, slot, &oids).await?;
        }
        Ok(Self { readable, tables })
    }

    /// Has them read while the stream goes on, and whatever backfills are asked for. Takes up what an earlier program has left.
    pub(super) fn start(
        self,
        (config, databases): (&Config, &Databases),
        beside: Beside,
        log: &Logger,
    ) -> (Box<dyn Snapshots>, Holds) {
        let store = &databases.store;
        let Beside {
            source,
            start,
            left,
            dispatcher,
            budget,
            counts,
            wake,
        } = beside;
        let (holds, releases) = Holds::start(HoldParts {
            start,
            open: left.holds.clone(),
            store: store.clone(),
            dispatcher: Arc::clone(&dispatcher),
            budget: Arc::clone(&budget),
            wake: Arc::clone(&wake),
            max_bytes: config.notifier.backlog.max_bytes,
            log: log.clone(),
        });
        let entrance = RowEntrance::new(source, dispatcher, budget, store.clone(), counts, log.clone());
        let parts = parts(config, databases, self.readable, entrance, Watch::default(), log);
        let snapshots = StreamSnapshots::start(&parts, self.tables, releases, left, wake);
        (Box::new(snapshots), holds)
    }
}

/// What an earlier program has left of the reading of tables, for the stream of a slot from `start` on.
pub(super) async fn left(
    store: &PgPool,
    slot: &str,
    source: &Source,
    start: Lsn,
) -> Result<Left, StoreError> {
    let marks = store::backlog::marks(store).await?.into_iter();
    // Positions of another history are none of this one.
    let ours =
        marks.filter(|(_, mark)| (mark.source, mark.epoch) == (source.system_identifier, source.epoch));
    Ok(Left {
        holds: store::snapshot::holds(store, slot).await?,
        marks: ours.map(|(endpoint, mark)| (endpoint, mark.commit_lsn)).collect(),
        left_out: left_out(store, slot, start).await?,
    })
}

/// The stream that tables are read beside.
pub(super) struct Beside {
    pub(super) source: Source,
    /// Where it starts.
    pub(super) start: Lsn,
    /// What an earlier program has left.
    pub(super) left: Left,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) budget: Arc<Budget>,
    pub(super) counts: Arc<IntakeCounts>,
    /// Wakes it.
    pub(super) wake: Arc<Notify>,
}

/// Wakes the stream whenever the subscriptions have been read again: between two transactions, somebody may have begun to
/// receive rows.
pub(super) async fn wake(subscriptions: Subscriptions, stream: Arc<Notify>) {
    let mut news = subscriptions.news();
    while news.changed().await {
        stream.notify_one();
    }
}

/// What is needed to read tables.
pub(super) fn parts(
    config: &Config,
    databases: &Databases,
    readable: PgPool,
    entrance: RowEntrance,
    watch: Watch,
    log: &Logger,
) -> Parts {
    let Config { snapshot, filter, .. } = config;
    Parts {
        url: snapshot.url.clone().unwrap_or_else(|| config.source.clone()),
        source: readable,
        store: databases.store.clone(),
        schema_log: databases.schema_log.clone(),
        slot: config.slot.clone(),
        config: snapshot.clone(),
        filter: filter.clone(),
        entrance: Arc::new(entrance),
        watch,
        log: log.clone(),
    }
}

/// The database as it is read, which has to be the one that is streamed.
pub(super) async fn readable(config: &Config, databases: &Databases) -> Result<PgPool, RunError> {
    let source = &databases.catalog;
    let Some(url) = config.snapshot.url.as_ref().filter(|url| **url != config.source) else {
        return Ok(source.clone());
    };
    let pool = store::connect(url).await?;
    if server::is_standby(&pool).await? {
        return Err(RunError::Standby);
    }
    let found = store::schema_log::identify(&pool).await?;
    let expected = store::schema_log::identify(source).await?;
    if found == expected {
        Ok(pool)
    } else {
        Err(RunError::OtherDatabase { found, expected })
    }
}
