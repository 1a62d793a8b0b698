//! Rows that were read from tables: encode, submit.
//!
//! Stands where [`StreamIntake`](super::StreamIntake) stands for the stream: the same encoder, the same order of the lanes,
//! the same outboxes. Several readers may be at work at once, each with its own [`RowIntake`].

use std::sync::Arc;

use bytes::Bytes;
use pgstream_proto::Lsn;
use pgstream_proto::wal2json::Record;
use slog::Logger;
use tokio::sync::Mutex;

use super::batch::Batch;
use super::burial::{self, RawLetter, bury};
use super::counts::IntakeCounts;
use super::holds::Holds;
use super::intake::{DELIVERY_OVERHEAD, EVENT_OVERHEAD};
use super::routes::{Receivers, Routes};
use crate::delivery::{Dispatcher, Outbox};
use crate::event::{
    self, Description, Event, Injection, Origin, Position, RowVersion, Source, TableKey, TableName,
    table_hash,
};
use crate::progress::{Budget, Group, Share};
use crate::store::PgPool;
use crate::subscription::matcher::SubscriptionSet;
use crate::subscription::model::EventType;
use crate::telemetry::Seldom;

/// So many rows, or bytes of them, are submitted at one time.
const FLUSH_ROWS: usize = 64;
/// See [`FLUSH_ROWS`].
const FLUSH_BYTES: usize = 256 * 1024;

/// What all readers share.
pub struct RowEntrance {
    source: Source,
    dispatcher: Arc<Dispatcher>,
    budget: Arc<Budget>,
    /// Who holds this may wait for room, as only one may.
    waiting_for_room: Mutex<()>,
    routes: Routes,
    store: PgPool,
    counts: Arc<IntakeCounts>,
    /// What was told of rows that cannot be read.
    told: Arc<Seldom>,
    log: Logger,
}

/// Who rows are read for.
#[derive(Clone)]
pub enum Audience {
    /// Whoever receives inserts of their table according to these subscriptions.
    Subscribers(Arc<SubscriptionSet>),
    /// This endpoint alone, whether it is subscribed or not: an operator asked for it.
    Endpoint(Arc<str>),
}

/// What all rows of a table share.
pub struct RowTable {
    name: Arc<TableName>,
    key: TableKey,
    /// Its OID, and the number of its file.
    numbers: (u32, u64),
    run: i64,
    origin: Origin,
    replay_run: i64,
    receivers: Receivers,
    description: Option<Description>,
}

/// Takes rows of one table in.
pub struct RowIntake {
    entrance: Arc<RowEntrance>,
    table: Arc<RowTable>,
    batch: Batch,
    rows: usize,
    bytes: usize,
}

impl RowEntrance {
    /// An entrance to this dispatcher.
    #[must_use]
    pub fn new(
        source: Source,
        dispatcher: Arc<Dispatcher>,
        budget: Arc<Budget>,
        store: PgPool,
        counts: Arc<IntakeCounts>,
        log: Logger,
    ) -> Self {
        Self {
            source,
            routes: Routes::new(Arc::clone(&dispatcher), log.clone()),
            dispatcher,
            budget,
            waiting_for_room: Mutex::default(),
            store,
            counts,
            told: Arc::new(burial::told()),
            log,
        }
    }

    /// Who gets the rows of this table.
    #[must_use]
    pub fn receivers(&self, audience: &Audience, name: &TableName) -> Receivers {
        match audience {
            Audience::Subscribers(set) => self.routes.resolve(set, name, EventType::Insert),
            Audience::Endpoint(url) => self.routes.outbox(url).into_iter().collect(),
        }
    }

    /// What has to be held for whom while the rows of this table are read; and what the table itself is in the order.
    #[must_use]
    pub fn to_be_held(&self, audience: &Audience, name: &TableName) -> Vec<(Arc<str>, TableKey, TableKey)> {
        let receivers = self.receivers(audience, name);
        let held = |outbox: &Arc<Outbox>| {
            let own = key(name);
            (Arc::clone(outbox.target().url()), Holds::table(outbox, own), own)
        };
        receivers.iter().map(held).collect()
    }

    /// A table whose rows are read in this run. None if nobody gets them.
    #[must_use]
    pub fn table(
        &self,
        audience: &Audience,
        name: TableName,
        (numbers, run): ((u32, u64), i64),
        description: Option<Description>,
    ) -> Option<RowTable> {
        let receivers = self.receivers(audience, &name);
        let (origin, replay_run) = match audience {
            Audience::Subscribers(_) => (Origin::Snapshot, 0),
            Audience::Endpoint(_) => (Origin::Replay, run),
        };
        (!receivers.is_empty()).then(|| RowTable {
            key: key(&name),
            name: Arc::new(name),
            numbers,
            run,
            origin,
            replay_run,
            receivers,
            description,
        })
    }
}

/// What its rows are ordered among.
fn key(name: &TableName) -> TableKey {
    let root = name.root.as_ref();
    let (schema, table) = root.map_or((&name.schema, &name.table), |(schema, table)| (schema, table));
    TableKey(table_hash(schema, table))
}

impl RowTable {
    /// The URLs of those who get its rows.
    #[must_use]
    pub fn endpoints(&self) -> Vec<&str> {
        let urls = self.receivers.iter().map(|outbox| &**outbox.target().url());
        urls.collect()
    }
}

impl RowIntake {
    /// An intake of rows of this table.
    #[must_use]
    pub fn new(entrance: Arc<RowEntrance>, table: Arc<RowTable>) -> Self {
        Self {
            entrance,
            table,
            batch: Batch::default(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes a row in, as the record of its insert. Waits while too much is in flight.
    ///
    /// `group` is settled only after this row is.
    pub async fn row(&mut self, version: RowVersion<'_>, record: &Record<'_>, len: usize, group: &Group) {
        let table = Arc::clone(&self.table);
        let injection = table.description.as_ref();
        let injection = injection.map(|description| Injection::new(description, record));
        let bound = event::encoded_len_bound(record, len, injection.as_ref());
        let charge = bound + EVENT_OVERHEAD + table.receivers.len() * DELIVERY_OVERHEAD;
        let share = self.share(charge as u64).await;
        let encoded = event::encode(record, Lsn::ZERO, bound, injection.as_ref());
        let source = &self.entrance.source;
        self.bytes += encoded.payload.len();
        let event = Arc::new(Event {
            id: source.row_id(table.run, table.numbers, version),
            table: Arc::clone(&table.name),
            action: 'I',
            position: self.position(),
            origin: table.origin,
            replay_run: table.replay_run,
            place: event::row_place(record, table.key, version),
            payload: encoded.payload,
            share,
        });
        for outbox in table.receivers.iter() {
            self.batch.push(outbox, &event, group.token());
        }
        self.rows += 1;
        if self.rows >= FLUSH_ROWS || self.bytes >= FLUSH_BYTES {
            self.flush();
        }
    }

    /// Keeps a row that cannot be read as it came.
    pub async fn unreadable(&mut self, version: RowVersion<'_>, raw: Bytes, problem: String) {
        let entrance = &self.entrance;
        let letter = RawLetter {
            webhook_id: entrance
                .source
                .row_id(self.table.run, self.table.numbers, version),
            position: self.position(),
            raw,
            problem,
        };
        let told = Arc::clone(&entrance.told);
        bury(entrance.store.clone(), letter, told, entrance.log.clone()).await;
    }

    /// Submits what was taken in.
    pub fn flush(&mut self) {
        self.batch.flush(&self.entrance.dispatcher);
        self.entrance.counts.rows(self.rows as u64);
        self.rows = 0;
        self.bytes = 0;
    }

    /// Rows have no place in the history of the source.
    fn position(&self) -> Position {
        let source = &self.entrance.source;
        Position {
            source: source.system_identifier,
            epoch: source.epoch,
            commit_lsn: Lsn::ZERO,
            lsn: Lsn::ZERO,
        }
    }

    async fn share(&mut self, bytes: u64) -> Share {
        let entrance = Arc::clone(&self.entrance);
        loop {
            if let Some(share) = entrance.budget.try_take_for_row(bytes) {
                return share;
            }
            // What is held back here would never become less.
            self.flush();
            let _waiting = entrance.waiting_for_room.lock().await;
            entrance.budget.room_for_row(bytes).await;
        }
    }
}
