//! The injector: applies the entries that the stream brings, and says what is known of a table.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pgstream_proto::Lsn;
use pgstream_proto::wal2json::{Columns, Record};
use slog::{Logger, error, info, warn};

use super::known::{KnownTables, MAX_GONE, describe_from};
use super::model::{Entry, Touched, read_tables};
use super::recorder::{self, Ended, Recorder, Recording};
use crate::event::{Description, TableName};
use crate::progress::SettleToken;
use crate::store::schema_log::{self as table, At};
use crate::store::{PgPool, StoreError};

/// How many tables are remembered as reported.
const MAX_REPORTED: usize = 20_000;

/// The way to entries that the stream has not brought yet.
#[derive(Debug, Clone)]
pub struct LookAhead(PgPool);

impl LookAhead {
    /// The table as the first entry beyond version `after` describes it with which the transaction `xid` has made it.
    ///
    /// # Errors
    /// [`StoreError::Table`]
    pub async fn made_by(
        &self,
        xid: u32,
        after: i64,
        (schema, table): (&str, &str),
    ) -> Result<Option<Description>, StoreError> {
        let made = table::made_by(&self.0, xid, after, (schema, table)).await?;
        Ok(made.and_then(|(entry, json)| describe_from(&entry, &json, table)))
    }
}

/// Knows the tables as of the change that is being read. Its owner is the task that reads the stream.
#[derive(Debug)]
pub struct Injector {
    known: KnownTables,
    /// What the entries touch that are still to come in the transaction that is being read, by their ids.
    touched: HashMap<String, Vec<Touched>>,
    recorder: Recorder,
    pool: PgPool,
    /// The hashes of the tables that were reported as unknown.
    reported: HashSet<u64>,
    /// How many events went without some of their metadata.
    incomplete: u64,
    /// How many entries could not be read.
    unreadable: u64,
    log: Logger,
}

impl Injector {
    /// Knows what was known at `start`, the position from which `slot` is read, and starts the task that writes down what
    /// becomes known from there on.
    ///
    /// The future does not touch the database before it is polled; the task is there at once.
    pub fn start(
        pool: PgPool,
        slot: String,
        start: Lsn,
        retention: Option<Duration>,
        log: Logger,
    ) -> (
        impl Future<Output = Result<Self, StoreError>> + Send + use<>,
        Recording,
    ) {
        let (recorder, recording) = recorder::start(pool.clone(), slot.clone(), retention, log.clone());
        let loading = async move {
            let mut known = KnownTables::default();
            let mut superseded = Vec::new();
            let mut entries = 0_u64;
            for id in table::dropped(&pool, &slot, start, MAX_GONE as i64).await? {
                known.dropped(&id);
            }
            table::applied(&pool, &slot, start, |entry| {
                let gone = known.apply(&entry).into_iter();
                superseded.extend(gone.map(|id| (id, entry.commit_lsn)));
                entries += 1;
            })
            .await?;
            info!(log, "metadata is filled in from the schema log"; "tables" => known.len(), "entries" => entries);
            if !superseded.is_empty() {
                // Only to be written down some time: the channel is empty, and if the task has ended, that is found soon.
                let _ = recorder.superseded(superseded);
            }
            Ok(Self {
                known,
                touched: HashMap::new(),
                recorder,
                pool,
                reported: HashSet::new(),
                incomplete: 0,
                unreadable: 0,
                log,
            })
        };
        (loading, recording)
    }

    /// Changes whenever what is known may have changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.known.generation()
    }

    /// What is known of this table.
    #[must_use]
    pub fn describe(&self, schema: &str, table: &str) -> Arc<Description> {
        Arc::new(self.known.describe(schema, table))
    }

    /// Where to look for the entry of a table that is made with its rows, if nothing is known of it.
    #[must_use]
    pub fn look_ahead(&self, schema: &str, table: &str) -> Option<LookAhead> {
        let is_known = self.known.describe(schema, table).is_described();
        (!is_known).then(|| LookAhead(self.pool.clone()))
    }

    /// A transaction begins.
    pub fn begin(&mut self) {
        self.touched.clear();
    }

    /// A row was inserted into `pgstream.schema_log_tables`: what an entry touches that comes later.
    pub fn note(&mut self, record: &Record<'_>) {
        let Some(columns) = record.columns else { return };
        let entry = text(columns, "schema_log_id");
        let (Some(entry), Some(table_id)) = (entry, text(columns, "table_id")) else {
            return;
        };
        let dropped = columns
            .get("dropped")
            .is_some_and(|column| column.value() == "true");
        let touched = self.touched.entry(entry).or_default();
        touched.push(Touched { table_id, dropped });
    }

    /// Whether an entry can be applied now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.recorder.has_room()
    }

    /// Waits until one can be. Cancel-safe.
    ///
    /// # Errors
    /// [`Ended`] when none ever can be again.
    pub async fn room(&self) -> Result<(), Ended> {
        self.recorder.room().await
    }

    /// An entry was inserted into `pgstream.schema_log` by the transaction that commits at `commit_lsn`. It holds from here
    /// on; its transaction is held back by `token` until that is written down.
    ///
    /// # Errors
    /// [`Ended`] when it cannot be written down; then the stream must not go on.
    pub fn apply(&mut self, record: &Record<'_>, commit_lsn: Lsn, token: SettleToken) -> Result<(), Ended> {
        let names = record
            .columns
            .and_then(|columns| Some((columns, text(columns, "id")?, text(columns, "schema_name")?)));
        let Some((columns, id, schema)) = names else {
            self.unreadable(None, "it has no id or no schema_name");
            token.settle();
            return Ok(());
        };
        let json = text(columns, "schema").unwrap_or_default();
        let tables = read_tables(&json);
        if let Err(problem) = &tables {
            self.unreadable(Some(&id), &problem.to_string());
        }
        let touched = self.touched.remove(&id).unwrap_or_default();
        let entry = Entry {
            id,
            schema,
            commit_lsn,
            tables: tables.ok(),
            touched,
        };
        let superseded: Vec<At> = self
            .known
            .apply(&entry)
            .into_iter()
            .map(|id| (id, commit_lsn))
            .collect();
        self.recorder.applied((entry.id, commit_lsn), superseded, token)
    }

    fn unreadable(&mut self, id: Option<&str>, problem: &str) {
        self.unreadable += 1;
        error!(self.log, "an entry of pgstream.schema_log cannot be read, and what it says of its tables is not known: \
            log the schema again with SELECT pgstream.refresh_schema('<schema>')"; "entry" => id, "problem" => problem);
    }

    /// An event of this table, which `hash` stands for, goes without some of its metadata.
    pub fn incomplete(&mut self, table: &TableName, hash: u64) {
        self.incomplete += 1;
        if self.reported.len() >= MAX_REPORTED {
            self.reported.clear();
        }
        if self.reported.insert(hash) {
            let TableName { schema, table, .. } = table;
            warn!(self.log, "events of a table go without some of their metadata, because no entry of the schema log that was \
                read since the injector was switched on describes it as it is: change its schema, or log it again with \
                SELECT pgstream.refresh_schema('<schema>')"; "table" => format!("{schema}.{table}"));
        }
    }

    /// Says what was counted.
    pub fn finish(&self) {
        if self.incomplete > 0 || self.unreadable > 0 {
            info!(self.log, "not all metadata was known"; "incomplete_events" => self.incomplete,
                "unreadable_entries" => self.unreadable);
        }
    }
}

/// The text of a column of this name.
fn text(columns: Columns<'_>, name: &str) -> Option<String> {
    serde_json::from_str(columns.get(name)?.value()).ok()
}
