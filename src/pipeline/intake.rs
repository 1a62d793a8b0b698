//! The intake of the stream.

mod message;
mod seen;
mod stream;
mod transaction;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use pgstream_proto::Lsn;
use pgstream_proto::replication::XLogData;
use pgstream_proto::wal2json::{self, Action, Header, JsonStr, ParseError, Parser, Record};
use slog::Logger;

use self::seen::{Replay, Seen};
use self::transaction::OpenTransaction;
use super::batch::Batch;
use super::burial::{self, RawLetter, bury};
use super::catalog::{self, Answer, Question};
use super::counts::IntakeCounts;
use super::hand_over::{HandOver, LeftOut, Snapshots};
use super::holds::Holds;
use super::parked::{Burial, Parked, Taken, Wait};
use super::position::Position;
use super::relations::{Kind, Relation, Relations};
use super::routes::{Receivers, Routes};
use super::{OWN_SCHEMA, PipelineError};
use crate::delivery::{Dispatcher, Outbox};
use crate::event::{self, Event, IdKind, Injection, Occurrences, Origin, Position as EventPosition, Source};
use crate::filter::TableFilter;
use crate::progress::{Budget, Ledger};
use crate::schema_log::Injector;
use crate::store::{PgPool, StoreError};
use crate::subscription::cache::Subscriptions;
use crate::subscription::model::EventType;
use crate::telemetry::Seldom;

/// What an event takes in memory beside its payload, in bytes.
pub(super) const EVENT_OVERHEAD: usize = 320;
/// What each delivery of it takes.
pub(super) const DELIVERY_OVERHEAD: usize = 160;

/// Stands for records that cannot be read where tables are told apart.
const RAW: u64 = 0;

/// The problem of a change that belongs to no transaction.
const OUTSIDE: &str = "a change outside of a transaction";

/// An injector that is still to find out what was known when the stream last stopped.
pub type StartingInjector = Pin<Box<dyn Future<Output = Result<Injector, StoreError>> + Send>>;

/// What the intake is made of.
pub struct Parts {
    /// Where the changes come from.
    pub source: Source,
    /// The source database, for its catalogs.
    pub catalog: PgPool,
    /// What is subscribed to.
    pub subscriptions: Subscriptions,
    /// What fills in the metadata, if it is to be filled in.
    pub injector: Option<StartingInjector>,
    /// Which tables' changes are taken.
    pub filter: TableFilter,
    /// The tables whose rows are still to be read.
    pub snapshots: Box<dyn Snapshots>,
    /// Whose changes are held while rows are read.
    pub holds: Holds,
    /// What is left out of the stream because it has come as rows.
    pub left_out: Vec<LeftOut>,
    /// Whether the plugin sends those tables only that are included by their own names.
    pub includes_are_sent_only: bool,
    /// What is settled.
    pub ledger: Ledger,
    /// What may be in flight.
    pub budget: Arc<Budget>,
    /// Remembers how far the stream is.
    pub position: RememberedPosition,
    /// Where deliveries go.
    pub dispatcher: Arc<Dispatcher>,
    /// Where records that cannot be read are kept.
    pub store: PgPool,
    /// Whether such a record ends the stream instead.
    pub strict: bool,
    /// Where it is counted.
    pub counts: Arc<IntakeCounts>,
    /// Where trouble is logged.
    pub log: Logger,
}

/// What is remembered of the stream.
pub struct RememberedPosition {
    /// Where it is told how far it is.
    pub position: Position,
    /// The highest position up to which an endpoint's backlog, as it was left by an earlier program, has everything.
    pub highest_mark: Lsn,
}

/// Takes the records of the stream in and turns them into deliveries.
pub struct StreamIntake {
    source: Source,
    catalog: PgPool,
    subscriptions: Subscriptions,
    ledger: Ledger,
    position: RememberedPosition,
    /// The end of the last transaction, or position behind it, that was received as a whole.
    received: Lsn,
    /// The end of the last transaction that changed anything that is not our own.
    notable: Lsn,
    /// What was received of the transaction that is being read.
    seen: Seen,
    /// What of it comes again, after the connection was lost.
    replay: Option<Replay>,
    budget: Arc<Budget>,
    dispatcher: Arc<Dispatcher>,
    store: PgPool,
    strict: bool,
    counts: Arc<IntakeCounts>,
    /// What was told of records that cannot be read.
    told: Arc<Seldom>,
    log: Logger,
    parser: Parser,
    relations: Relations,
    routes: Routes,
    occurrences: Occurrences,
    /// Counts the records that cannot be read.
    raw: Occurrences,
    batch: Batch,
    open: Option<OpenTransaction>,
    parked: Option<Parked>,
    starting_injector: Option<StartingInjector>,
    injector: Option<Injector>,
    /// The taking up of the backlog, which everything that is delivered has to be behind.
    recovering: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    hand_over: HandOver,
    holds: Holds,
    /// Whether partitioned tables have to be looked out for, which the plugin would not send the partitions of.
    partitions_are_missed: bool,
}

impl StreamIntake {
    /// An intake that begins between transactions.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            source,
            catalog,
            subscriptions,
            injector,
            filter,
            snapshots,
            holds,
            left_out,
            includes_are_sent_only,
            mut ledger,
            budget,
            position,
            dispatcher,
            store,
            strict,
            counts,
            log,
        } = parts;
        let start = ledger.confirmed();
        Self {
            recovering: Some(Box::pin(dispatcher.recovered())),
            routes: Routes::new(Arc::clone(&dispatcher), log.clone()),
            source,
            catalog,
            subscriptions,
            ledger,
            position,
            received: start,
            notable: start,
            seen: Seen::default(),
            replay: None,
            budget,
            dispatcher,
            store,
            strict,
            counts,
            told: Arc::new(burial::told()),
            log,
            parser: Parser::new(),
            relations: Relations::new(filter),
            occurrences: Occurrences::default(),
            raw: Occurrences::default(),
            batch: Batch::default(),
            open: None,
            parked: None,
            starting_injector: injector,
            injector: None,
            hand_over: HandOver::new(snapshots, left_out, start),
            holds,
            partitions_are_missed: includes_are_sent_only,
        }
    }

    /// Takes a record in, or parks it.
    fn take(&mut self, record: XLogData) -> Result<(), PipelineError> {
        match self.try_take(record.wal_start, &record.payload) {
            Ok(Taken::Done) => self.counts.parsed(),
            Ok(Taken::Wait(wait)) => self.parked = Some(Parked { record, wait }),
            Err(PipelineError::Unparsable { problem, .. }) if !self.strict && self.open.is_some() => {
                let wait = Wait::Burial(self.bury(&record, &problem));
                self.parked = Some(Parked { record, wait });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Keeps a record that cannot be read as it is, and goes on without it: within a transaction it can only be a change.
    fn bury(&mut self, record: &XLogData, problem: &ParseError) -> Burial {
        self.counts.unparsable();
        let commit_lsn = self
            .open
            .as_ref()
            .map_or(record.wal_start, |open| open.commit_lsn);
        let occurrence = self.raw.next(record.wal_start, RAW);
        let letter = RawLetter {
            webhook_id: self.source.raw_id(commit_lsn, record.wal_start, occurrence),
            position: EventPosition {
                source: self.source.system_identifier,
                epoch: self.source.epoch,
                commit_lsn,
                lsn: record.wal_start,
            },
            raw: record.payload.clone(),
            problem: problem.to_string(),
        };
        let told = Arc::clone(&self.told);
        Box::pin(bury(self.store.clone(), letter, told, self.log.clone()))
    }

    fn try_take(&mut self, wal_start: Lsn, payload: &Bytes) -> Result<Taken, PipelineError> {
        let header = wal2json::header(payload).map_err(self.unparsable(wal_start))?;
        match header.action {
            Action::Begin => self.begin(wal_start, &header)?,
            Action::Commit => self.commit(wal_start, &header)?,
            Action::Message => return self.message(wal_start, payload, &header),
            Action::Insert => return self.change(wal_start, payload, &header, EventType::Insert),
            Action::Update => return self.change(wal_start, payload, &header, EventType::Update),
            Action::Delete => return self.change(wal_start, payload, &header, EventType::Delete),
            Action::Truncate => return self.change(wal_start, payload, &header, EventType::Truncate),
        }
        Ok(Taken::Done)
    }

    /// What makes an error of a record that cannot be read.
    fn unparsable(&self, wal_start: Lsn) -> impl FnOnce(ParseError) -> PipelineError + use<> {
        let transaction_end = self.open.as_ref().and_then(|open| open.end);
        move |problem| PipelineError::Unparsable {
            wal_start,
            transaction_end,
            problem,
        }
    }

    fn change(
        &mut self,
        wal_start: Lsn,
        payload: &Bytes,
        header: &Header<'_>,
        event: EventType,
    ) -> Result<Taken, PipelineError> {
        let incomplete = |field| PipelineError::Incomplete { wal_start, field };
        let schema = header.schema.ok_or(incomplete("schema"))?;
        let table = header.table.ok_or(incomplete("table"))?;
        let lsn = header.lsn.ok_or(incomplete("lsn"))?;
        if self.open.is_none() {
            return Err(out_of_place(wal_start, OUTSIDE));
        }
        let injector = self.injector.as_ref();
        let known = self.relations.get(schema, table, injector).cloned();
        let relation = match known {
            Some(known) => known,
            None if schema.is(OWN_SCHEMA) || self.relations.excludes(schema, table) => {
                self.relations.insert(schema, table, Answer::NOTHING, injector)
            }
            None => return Ok(self.look_up(schema, table)),
        };
        match (relation.kind, event) {
            (Kind::User, _) | (Kind::SchemaLog, EventType::Insert) => {}
            (Kind::SchemaLogTables, EventType::Insert) => return self.touched(wal_start, payload),
            _ => return Ok(Taken::Done),
        }
        let Some(open) = &mut self.open else {
            return Err(out_of_place(wal_start, OUTSIDE));
        };
        open.is_notable = true;
        let Some(set) = &open.set else {
            return Ok(Taken::Wait(Wait::Subscriptions(
                self.subscriptions.request_fresh(),
            )));
        };
        if let Some(beginning) = self.hand_over.begin(set) {
            return Ok(Taken::Wait(Wait::HandOver(set.generation(), beginning)));
        }
        let receivers = self.routes.receivers(set, &relation, event);
        if self.holds.is_closing(relation.key, &receivers) {
            return Ok(Taken::Wait(Wait::Hold));
        }
        if receivers.is_empty() && relation.kind == Kind::User {
            self.occurrences.next(lsn, relation.hash);
            return Ok(Taken::Done);
        }
        self.matched(wal_start, payload, (event, lsn), &relation, &receivers)
    }

    /// A table that was not seen before, or whose schema has changed since.
    fn look_up(&self, schema: JsonStr<'_>, table: JsonStr<'_>) -> Taken {
        let (schema, table) = (schema.unescape().into_owned(), table.unescape().into_owned());
        let open = self.open.as_ref();
        let injector = self.injector.as_ref();
        let question = Question {
            look_ahead: injector.and_then(|injector| injector.look_ahead(&schema, &table)),
            schema,
            table,
            xid: open.and_then(|open| open.xid),
            after_ddl: open.is_some_and(|open| open.version.is_some()),
            is_unseen: open.is_some_and(|open| open.is_unseen),
            version: open.and_then(|open| open.version).unwrap_or_default(),
        };
        let answer = catalog::ask(self.catalog.clone(), question, self.log.clone());
        Taken::Wait(Wait::Table(Box::pin(answer)))
    }

    /// A row that says what an entry of the schema log touches, which comes after it.
    fn touched(&mut self, wal_start: Lsn, payload: &Bytes) -> Result<Taken, PipelineError> {
        let unparsable = self.unparsable(wal_start);
        let record = self.parser.parse(payload).map_err(unparsable)?;
        if let Some(open) = &mut self.open {
            open.touched.extend(text(&record, "table_name"));
        }
        if let Some(injector) = &mut self.injector {
            injector.note(&record);
        }
        Ok(Taken::Done)
    }

    /// A change that somebody receives, or an entry of the schema log.
    fn matched(
        &mut self,
        wal_start: Lsn,
        payload: &Bytes,
        (kind, lsn): (EventType, Lsn),
        relation: &Relation,
        receivers: &Receivers,
    ) -> Result<Taken, PipelineError> {
        let unparsable = self.unparsable(wal_start);
        let record = self.parser.parse(payload).map_err(unparsable)?;
        let is_entry = relation.kind == Kind::SchemaLog;
        if is_entry
            && self
                .injector
                .as_ref()
                .is_some_and(|injector| !injector.has_room())
        {
            return Ok(Taken::Wait(Wait::Injector));
        }
        if is_entry
            && self.partitions_are_missed
            && let Some(open) = &self.open
            && !open.has_no_partitions
        {
            let xid = open.xid.filter(|_| !open.is_unseen);
            let looking = catalog::has_partitions(self.catalog.clone(), xid, self.log.clone());
            return Ok(Taken::Wait(Wait::Partitions(Box::pin(looking))));
        }
        let injection = relation.description.as_deref();
        let injection = injection.map(|description| Injection::new(description, &record));
        let bound = event::encoded_len_bound(&record, payload.len(), injection.as_ref());
        let charge = (bound + EVENT_OVERHEAD + receivers.len() * DELIVERY_OVERHEAD) as u64;
        let Some(share) = self.budget.try_take(charge) else {
            return Ok(Taken::Wait(Wait::Room(charge)));
        };
        // From here on the record goes through: only now may it count.
        let occurrence = self.occurrences.next(lsn, relation.hash);
        let Some(open) = &mut self.open else {
            return Err(out_of_place(wal_start, OUTSIDE));
        };
        if is_entry {
            if let Some(changed) = text(&record, "schema_name") {
                self.relations.doubt(&changed, &std::mem::take(&mut open.touched));
            }
            open.version = number(&record, "version").or(open.version).or(Some(0));
            if let Some(injector) = &mut self.injector {
                let token = self.ledger.token(&mut open.settling);
                injector.apply(&record, open.commit_lsn, token)?;
            }
        }
        let encoded = event::encode(&record, lsn, bound, injection.as_ref());
        if let Some(injector) = &mut self.injector
            && let Some(injection) = &injection
            && (encoded.has_unknown_columns || !injection.is_described())
        {
            injector.incomplete(&relation.name, relation.hash);
        }
        let id_kind = if kind == EventType::Message {
            IdKind::Message
        } else {
            IdKind::Change
        };
        let event = Arc::new(Event {
            id: self
                .source
                .id(id_kind, open.commit_lsn, lsn, relation.hash, occurrence),
            table: Arc::clone(&relation.name),
            action: kind.letter().chars().next().unwrap_or_default(),
            position: EventPosition {
                source: self.source.system_identifier,
                epoch: self.source.epoch,
                commit_lsn: open.commit_lsn,
                lsn,
            },
            origin: Origin::Stream,
            replay_run: 0,
            place: event::place(&record, relation.key),
            payload: encoded.payload,
            share,
        });
        if !receivers.is_empty() {
            self.counts.matched();
        }
        let (xid, commit_lsn) = (open.xid, open.commit_lsn);
        let is_row = |outbox: &Arc<Outbox>| {
            let endpoint = outbox.target().url();
            self.hand_over
                .leaves_out(relation.hash, xid, commit_lsn, endpoint)
        };
        for outbox in receivers.iter().filter(|outbox| !is_row(outbox)) {
            let token = self.ledger.token(&mut open.settling);
            match self.holds.hold(relation.key, commit_lsn, outbox.target().url()) {
                None => self.batch.push(outbox, &event, token),
                Some(hold) => self.holds.keep(hold, outbox, (&event, xid), token),
            }
        }
        Ok(Taken::Done)
    }
}

fn out_of_place(wal_start: Lsn, problem: &'static str) -> PipelineError {
    PipelineError::OutOfPlace { wal_start, problem }
}

/// The text of a column of an entry of the schema log.
fn text(record: &Record<'_>, column: &str) -> Option<String> {
    serde_json::from_str(record.columns?.get(column)?.value()).ok()
}

/// The number in one.
fn number(record: &Record<'_>, column: &str) -> Option<i64> {
    record.columns?.get(column)?.value().parse().ok()
}
