//! The one who asks the store, one query at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Answered, CacheError, CacheMode, QUERY_LIMIT, Shared};
use crate::store::{PgPool, subscriptions};
use crate::subscription::matcher::SubscriptionSet;
use crate::subscription::model::Subscription;

/// The first pause after a failure of the store; each further one is twice as long, up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One query, with its deadline.
pub(super) async fn read(pool: &PgPool) -> Result<Vec<Subscription>, CacheError> {
    let subscriptions = timeout(QUERY_LIMIT, subscriptions::list(pool))
        .await
        .map_err(|_| CacheError::Slow)?;
    subscriptions.map_err(|error| CacheError::Store(Arc::new(error)))
}

pub(super) struct Loader {
    pool: PgPool,
    shared: Arc<Shared>,
    answers: watch::Sender<Answered>,
    mode: CacheMode,
    log: Logger,
    /// How long to wait before the next try, while the store fails.
    pause: Option<Duration>,
}

impl Loader {
    pub(super) fn new(
        pool: PgPool,
        shared: Arc<Shared>,
        answers: watch::Sender<Answered>,
        mode: CacheMode,
        log: Logger,
    ) -> Self {
        Self {
            pool,
            shared,
            answers,
            mode,
            log,
            pause: None,
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.load_for_ever()).await;
    }

    async fn load_for_ever(&mut self) {
        loop {
            self.wait().await;
            // Noted before the query, so that the query sees whatever was committed before these requests.
            let asked = self.shared.requested.load(Ordering::SeqCst);
            match read(&self.pool).await {
                Ok(subscriptions) => self.publish(asked, subscriptions),
                Err(error) => self.fail(asked, error),
            }
        }
    }

    /// Waits until a set is wanted: because somebody asks, the interval is over, or the last try failed.
    async fn wait(&self) {
        match (self.pause, self.mode) {
            (None, CacheMode::OnDemand) => self.request().await,
            (Some(time), _) | (None, CacheMode::Refreshed { interval: time }) => {
                // Either is a reason to read.
                let _ = timeout(time, self.request()).await;
            }
        }
    }

    /// Waits for a request that no set has answered. One that came just before the last query has left its
    /// signal, but is answered.
    async fn request(&self) {
        loop {
            self.shared.asked.notified().await;
            if self.shared.requested.load(Ordering::SeqCst) > self.answers.borrow().fresh {
                return;
            }
        }
    }

    fn publish(&mut self, asked: u64, mut subscriptions: Vec<Subscription>) {
        if self.pause.take().is_some() {
            info!(self.log, "the subscriptions can be read again"; "event" => "subscriptions_restored");
        }
        let current = self.shared.current.load();
        subscriptions.sort_unstable();
        // The same subscriptions stay the same set, so that what was remembered of it stays valid.
        if subscriptions != current.subscriptions() {
            let next = SubscriptionSet::new(current.generation() + 1, subscriptions);
            info!(self.log, "subscriptions changed"; "event" => "subscriptions_changed",
                "subscriptions" => next.subscriptions().len(), "urls" => next.urls().len());
            self.shared.current.store(Arc::new(next));
        }
        self.answers.send_replace(Answered {
            fresh: asked,
            failed: None,
        });
    }

    /// Notes a failure. The set in use stays: an empty one would lose events.
    fn fail(&mut self, asked: u64, error: CacheError) {
        if self.pause.is_none() {
            warn!(self.log, "cannot read the subscriptions, trying again until it works; the last ones stay in use";
                "event" => "subscriptions_failing", "error" => #&error);
        }
        self.pause = Some(
            self.pause
                .map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)),
        );
        self.answers
            .send_modify(|answered| answered.failed = Some((asked, error)));
    }
}
