//! The throwaway server, and in it a database for each part.

use pgstream::config::{PgUrl, keys};
use pgstream::demo::cluster::{Cluster, Installation};
use pgstream::setup::{InitOptions, init};
use pgstream::store::SchemaLogMode;

use std::process::Command;
use std::time::Duration;

use crate::program::Program;
use crate::sql::Sql;

/// The slot that `init` makes. The program reads it, or copies of it.
pub(crate) const SLOT: &str = "pgstream_bench";

/// Nothing that runs now and then, and the whole text of a START_REPLICATION.
const SETTINGS: &[(&str, &str)] = &[
    ("autovacuum", "off"),
    ("checkpoint_timeout", "1h"),
    ("max_wal_size", "8GB"),
    ("shared_buffers", "256MB"),
    ("track_activity_query_size", "16kB"),
];

/// Rows of about 0.6 kB as records. The first column is the key, the second the version.
const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, version int NOT NULL, customer bigint, status text, \
     amount numeric(12, 2), created_at timestamptz, note text)";

/// A running server.
pub(crate) struct World {
    cluster: Cluster,
}

/// A database of its own, initialised, and a session in it. Dropping it drops its slots.
pub(crate) struct Stage<'a> {
    world: &'a World,
    name: &'static str,
    pub(crate) sql: Sql,
}

impl World {
    pub(crate) fn start() -> Self {
        let installation = Installation::find().unwrap_or_else(|error| panic!("{error}"));
        let cluster = Cluster::start(&installation, SETTINGS).unwrap_or_else(|error| panic!("{error}"));
        Self { cluster }
    }

    /// Makes a database of this name, with the table `orders`, and initialises it.
    pub(crate) fn stage(&self, name: &'static str) -> Stage<'_> {
        let mut postgres = Sql::open(&self.url("postgres"));
        postgres.run(&format!("CREATE DATABASE {name}"));
        let url = self.url(name);
        initialise(url.clone(), None);
        let mut sql = Sql::open(&url);
        sql.run(TABLE);
        Stage {
            world: self,
            name,
            sql,
        }
    }

    fn url(&self, dbname: &str) -> PgUrl {
        PgUrl::parse(&self.cluster.url(dbname)).expect("a cluster's URL is valid")
    }
}

/// Does what `pgstream init` does.
fn initialise(source: PgUrl, schema_log: Option<SchemaLogMode>) {
    let options = InitOptions {
        source,
        store: None,
        slot: SLOT.to_owned(),
        timeout: Duration::from_secs(30),
        schema_log,
        failover: false,
        allow_plugin: false,
    };
    tokio::runtime::Runtime::new()
        .expect("a runtime starts")
        .block_on(init(&options, &mut |_| ()))
        .expect("init succeeds");
}

impl Stage<'_> {
    /// Has entries of the schema log hold this from now on.
    pub(crate) fn set_schema_log(&self, mode: SchemaLogMode) {
        initialise(self.world.url(self.name), Some(mode));
    }

    /// The name of its database.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Its URL as text.
    pub(crate) fn url(&self) -> String {
        self.world.cluster.url(self.name)
    }

    /// One of the installation's programs.
    pub(crate) fn command(&self, name: &str) -> Command {
        self.world.cluster.command(name)
    }

    /// Subscribes `receiver` to all changes of a table.
    pub(crate) fn subscribe(&mut self, url: &str, table: &str) {
        self.sql.run(&format!(
            "INSERT INTO pgstream.webhook_subscriptions (url, schema_name, table_name) \
             VALUES ('{url}', 'public', '{table}')"
        ));
    }

    /// Lets the program stream from the slot that `init` made.
    pub(crate) fn program(&self) -> Program {
        Program::start(&self.url(), SLOT, &[])
    }

    /// Lets the program stream from another slot.
    pub(crate) fn program_on(&self, slot: &str) -> Program {
        Program::start(&self.url(), slot, &[])
    }

    /// Does the same with metadata filled in.
    pub(crate) fn injecting_program_on(&self, slot: &str) -> Program {
        let url = self.url();
        Program::start(&url, slot, &[(keys::INJECTOR_URL.name, &url)])
    }

    /// Copies the slot that `init` made: the same WAL once more.
    pub(crate) fn copy_slot(&mut self, copy: &str) {
        let _: String = self.sql.value(&format!(
            "SELECT slot_name::text FROM pg_copy_logical_replication_slot('{SLOT}', '{copy}')"
        ));
    }

    /// Drops a slot once nobody reads it any more.
    pub(crate) fn drop_slot(&mut self, slot: &str) {
        self.sql.wait_for(&format!(
            "SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{slot}'"
        ));
        self.sql
            .run(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    }

    /// Forgets what a run has left in the store, so that the next one meets the same changes anew.
    pub(crate) fn forget_deliveries(&mut self) {
        self.sql.run(
            "TRUNCATE pgstream.webhook_backlog, pgstream.webhook_backlog_marks, pgstream.webhook_dead_letters",
        );
    }

    /// Inserts rows with the keys from `first` on, each transaction of so many rows.
    pub(crate) fn insert(&mut self, first: usize, transactions: usize, rows: usize) {
        self.sql.run(&format!(
            "DO $$ BEGIN FOR t IN 0..{transactions} - 1 LOOP {}; COMMIT; END LOOP; END $$",
            insert_rows(&format!("{first} + t * {rows}"), rows)
        ));
    }

    /// The end of the WAL, with something behind it.
    pub(crate) fn end_of_wal(&mut self) -> String {
        let end = self.sql.value("SELECT pg_current_wal_insert_lsn()::text");
        self.sql
            .run("SELECT pg_logical_emit_message(false, 'bench', 'behind the end')");
        end
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.drop_slot(SLOT);
        }
    }
}

/// The statement that inserts rows with the keys from `first` on.
pub(crate) fn insert_rows(first: &str, rows: usize) -> String {
    format!(
        "INSERT INTO orders SELECT id, 1, id % 5000, 'pending', (id % 100000) / 100.0, now(), repeat('note ', 20) \
         FROM generate_series({first}, {first} + {rows} - 1) AS id"
    )
}
