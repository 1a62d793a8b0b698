//! What is seen of the program from outside, once its databases are open. Before that, [`answering`](crate::api::answering)
//! answers probes.

use std::sync::Arc;
use std::time::Instant;

use slog::Logger;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{MetricsServer, Shown};
use crate::config::Config;
use crate::delivery::Dispatcher;
use crate::monitoring::{Engine, Monitor, MonitorParts};
use crate::pipeline::IntakeCounts;
use crate::progress::Budget;
use crate::replication::Vitals;
use crate::store::PgPool;
use crate::subscription::cache::Subscriptions;
use crate::telemetry::Figure;

/// Where rooms tell and count what is shown.
pub(super) struct Watched {
    /// How the stream does.
    pub(super) vitals: Arc<Vitals>,
    /// What is taken in.
    pub(super) counts: Arc<IntakeCounts>,
    monitor: Arc<Monitor>,
    serving: Option<JoinHandle<()>>,
}

impl Watched {
    /// Begins to watch, and to serve metrics where they have a server of their own.
    pub(super) fn start(
        server: Option<MetricsServer>,
        config: &Config,
        (store, subscriptions): (&PgPool, &Subscriptions),
        log: &Logger,
        end: CancellationToken,
    ) -> Self {
        let vitals = Arc::new(Vitals::new(Instant::now()));
        let counts = Arc::<IntakeCounts>::default();
        let monitor = Arc::new(Monitor::start(MonitorParts {
            vitals: Arc::clone(&vitals),
            counts: Arc::clone(&counts),
            slot: config.slot.clone(),
            store: store.clone(),
            subscriptions: subscriptions.clone(),
            log: log.clone(),
        }));
        let serve =
            |server: MetricsServer| tokio::spawn(server.serve(Arc::clone(&monitor), log.clone(), end));
        Self {
            serving: server.map(serve),
            vitals,
            counts,
            monitor,
        }
    }

    /// What the subscription server shows of it.
    pub(super) fn shown(&self) -> Shown {
        Shown {
            monitor: Arc::clone(&self.monitor),
            with_metrics: self.serving.is_none(),
        }
    }

    /// From now on changes are delivered.
    pub(super) fn delivers(&self, dispatcher: &Arc<Dispatcher>, budget: &Arc<Budget>) {
        self.monitor.watch(Engine {
            dispatcher: Arc::clone(dispatcher),
            budget: Arc::clone(budget),
        });
    }

    /// No changes are delivered until they are again. The next life of the engine may be long in coming.
    pub(super) fn delivers_no_more(&self) {
        self.monitor.forget();
        self.vitals.begun_anew(Instant::now());
    }

    /// Where it is told how far the slot is behind.
    pub(super) fn slot_lag(&self) -> Figure {
        self.monitor.slot_lag()
    }

    /// Waits until the server of metrics has ended.
    pub(super) async fn end(self) {
        if let Some(serving) = self.serving {
            // Its only way to fail is a panic, which was printed when it happened.
            let _ = serving.await;
        }
    }
}
