//! A delivery engine with a store of its own, fed by hand.

use std::sync::Arc;
use std::time::Duration;

use pgstream::backoff::Backoff;
use pgstream::delivery::retry::{Retries, RetryPolicy};
use pgstream::delivery::{Dispatcher, Limits, Outbox, Retention, Target};
use pgstream::demo::cluster::Cluster;
use pgstream::endpoint::EndpointSettings;
use pgstream::event::{Event, KeySet, LaneKey, LaneKeys, Origin, Place, Position, TableKey, TableName};
use pgstream::progress::{Budget, Ledger, Transaction};
use pgstream::store::{self, MigrationSet, PgPool};
use pgstream_proto::Lsn;
use slog::{Discard, Logger, o};
use tokio::sync::Notify;

use super::database;

/// By when everything that is waited for has to have happened.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// So long that no test could wait for it: what comes again all the same was not waiting for its next try.
pub(crate) const NEVER: Duration = Duration::from_secs(3_600);
/// The one table of these tests.
const TABLE: TableKey = TableKey(1);

/// A dispatcher, and what is settled of what it was given.
pub(crate) struct Engine {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) ledger: Ledger,
    settled: Arc<Notify>,
    pub(crate) budget: Arc<Budget>,
    submitted: u64,
    pub(crate) store: PgPool,
    /// Stops with the last engine on it.
    _cluster: Option<Arc<Cluster>>,
}

impl Engine {
    /// An engine with an empty store.
    pub(crate) async fn start(limits: Limits) -> Self {
        let cluster = database::cluster(&[]);
        let store = store::connect(&database::url(&cluster, "postgres"))
            .await
            .unwrap();
        store::migrate(&store, MigrationSet::Store).await.unwrap();
        let engine = Self::on(store, limits, u64::MAX).await;
        Self {
            _cluster: Some(Arc::new(cluster)),
            ..engine
        }
    }

    /// An engine with the store of another one, and room for so many bytes.
    pub(crate) async fn on(store: PgPool, limits: Limits, max_bytes: u64) -> Self {
        let settled = Arc::new(Notify::new());
        let budget = Budget::new(max_bytes);
        let log = Logger::root(Discard, o!());
        let dispatcher = Dispatcher::start(limits, store.clone(), Arc::clone(&budget), log).unwrap();
        dispatcher.recovered().await;
        Self {
            dispatcher,
            ledger: Ledger::new(Lsn::ZERO, Arc::clone(&settled)),
            settled,
            budget,
            submitted: 0,
            store,
            _cluster: None,
        }
    }

    /// The dead letters, each with its reason.
    pub(crate) async fn dead_letters(&self) -> Vec<(String, String)> {
        sqlx::query_as("SELECT webhook_id, reason FROM pgstream.webhook_dead_letters ORDER BY id")
            .fetch_all(&self.store)
            .await
            .unwrap()
    }

    /// Ends it in order: how many exchanges were broken off, and how many deliveries are in memory only.
    pub(crate) async fn stop(&self, grace: Duration) -> (usize, usize) {
        let broken_off = self.dispatcher.stop_exchanges(grace);
        (broken_off, self.dispatcher.stop_keeping(DEADLINE).await)
    }

    pub(crate) fn outbox(&self, url: &str) -> Arc<Outbox> {
        self.dispatcher.outbox(&Target::parse(&url.into()).unwrap())
    }

    /// Submits one change of the row `key`, as a transaction of its own.
    pub(crate) fn submit(&mut self, outbox: &Arc<Outbox>, key: u64) {
        self.submit_at(outbox, LaneKeys::Row(LaneKey(key)));
    }

    pub(crate) fn submit_at(&mut self, outbox: &Arc<Outbox>, keys: LaneKeys) {
        self.submitted += 1;
        let number = self.submitted;
        let mut transaction = Transaction::default();
        let token = self.ledger.token(&mut transaction);
        let lsn = Lsn::new(number);
        let event = Event {
            id: format!("id-{number}"),
            table: Arc::new(TableName {
                schema: "public".to_owned(),
                table: "test".to_owned(),
                root: None,
            }),
            action: 'I',
            position: Position {
                source: 1,
                epoch: 1,
                commit_lsn: lsn,
                lsn,
            },
            origin: Origin::Stream,
            replay_run: 0,
            place: Place {
                table: TABLE,
                keys,
                key_set: Some(KeySet(1)),
            },
            payload: format!(r#"{{"Data":{{"number":{number},"keys":"{keys:?}"}}}}"#).into_bytes(),
            share: self.budget.try_take(1).unwrap(),
        };
        self.ledger.commit(transaction, lsn);
        self.dispatcher.submit(outbox, [(Arc::new(event), token)]);
    }

    /// Waits until everything is settled.
    pub(crate) async fn wait_until_settled(&mut self) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !self.ledger.is_settled() {
            let notified = tokio::time::timeout_at(deadline, self.settled.notified());
            assert!(
                notified.await.is_ok(),
                "settled only up to {}",
                self.ledger.confirmed()
            );
        }
    }
}

/// Retries with exponential backoff.
pub(crate) fn exponential(initial: Duration, maximum: Duration) -> RetryPolicy {
    RetryPolicy {
        backoff: Backoff::Exponential { initial, maximum },
        retries: Retries::AtMost(1_000_000),
    }
}

/// Limits under which everything goes fast.
pub(crate) fn limits() -> Limits {
    Limits {
        workers: 64,
        defaults: EndpointSettings::default(),
        retry: exponential(Duration::from_millis(1), Duration::from_millis(5)),
        retention: Retention {
            age: NEVER,
            bytes: u64::MAX,
            rows: u64::MAX,
        },
        dead_letters: NEVER,
        strict: false,
    }
}

/// Limits under which nothing is tried again within a test, unless at once.
pub(crate) fn no_second_try() -> Limits {
    Limits {
        retry: exponential(NEVER, NEVER),
        ..limits()
    }
}

/// Limits with this timeout of an exchange.
pub(crate) fn with_timeout(timeout: Duration) -> Limits {
    Limits {
        defaults: EndpointSettings {
            timeout,
            ..EndpointSettings::default()
        },
        ..limits()
    }
}
