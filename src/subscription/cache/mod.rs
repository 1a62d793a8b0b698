//! The subscription set in use: who asks for it, and what keeps it fresh.
//!
//! One task asks the store (`loader`), so sets are published in the order in which they were read, and
//! whoever waits for one may stop waiting at any time. A second one hears of changes made by others
//! (`listener`). Both belong to [`RefreshTasks`].
//!
//! A request for a fresh set is a number, a [`Ticket`]. Before each query the loader notes the highest ticket
//! given out; what it then reads was current at some moment after all of these were given out.

mod listener;
mod loader;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use slog::Logger;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::loader::Loader;
use super::matcher::SubscriptionSet;
use crate::store::{PgPool, StoreError};

/// The longest that the store may take for one query. A slow answer is better than none, so this only ends
/// the wait for a connection that is dead; whoever has less patience stops waiting.
const QUERY_LIMIT: Duration = Duration::from_secs(30);

/// How the set is kept fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// The set is read again at each interval, and at once whenever the store tells of a change.
    Refreshed {
        /// The longest time between a change that nobody told of and its effect.
        interval: Duration,
    },
    /// The set is read only when somebody asks for a fresh one.
    OnDemand,
}

/// The subscriptions in use. A cheap handle; all clones share one set.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    mode: CacheMode,
    shared: Arc<Shared>,
    answered: watch::Receiver<Answered>,
}

/// A request for a fresh set: see [`Subscriptions::request_fresh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What keeps the set fresh. It has to be joined after the cancellation of the token given to
/// [`Subscriptions::load`].
#[derive(Debug)]
pub struct RefreshTasks(JoinSet<()>);

/// Why there is no fresh set.
#[derive(Clone, Debug, Error)]
pub enum CacheError {
    /// The store refuses or cannot be reached.
    #[error("cannot read the subscriptions")]
    Store(#[source] Arc<StoreError>),
    /// The store takes too long.
    #[error("cannot read the subscriptions: the store did not answer within {} s", QUERY_LIMIT.as_secs())]
    Slow,
    /// The program is ending.
    #[error("the subscriptions are no longer read, because the program is ending")]
    Closed,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<SubscriptionSet>,
    /// The last ticket given out.
    requested: AtomicU64,
    /// Wakes the loader.
    asked: tokio::sync::Notify,
}

/// Which tickets the loader has dealt with.
#[derive(Clone, Debug, Default)]
struct Answered {
    /// Up to this ticket, [`Shared::current`] is fresh.
    fresh: u64,
    /// Up to this ticket, the store has failed at least once since, in this way.
    failed: Option<(u64, CacheError)>,
}

impl Subscriptions {
    /// Reads the set for the first time, and starts what keeps it fresh until `shutdown` is cancelled.
    ///
    /// # Errors
    /// [`CacheError`] when the store cannot be read now: there is no set to begin with.
    pub async fn load(
        pool: PgPool,
        mode: CacheMode,
        log: Logger,
        shutdown: CancellationToken,
    ) -> Result<(Self, RefreshTasks), CacheError> {
        let first = loader::read(&pool).await?;
        let shared = Arc::new(Shared {
            current: ArcSwap::from_pointee(SubscriptionSet::new(1, first)),
            requested: AtomicU64::new(0),
            asked: tokio::sync::Notify::new(),
        });
        let (answers, answered) = watch::channel(Answered::default());
        let mut tasks = JoinSet::new();
        let loader = Loader::new(pool.clone(), Arc::clone(&shared), answers, mode, log.clone());
        tasks.spawn(loader.run(shutdown.clone()));
        if let CacheMode::Refreshed { .. } = mode {
            tasks.spawn(listener::run(pool, Arc::clone(&shared), log, shutdown));
        }
        Ok((
            Self {
                mode,
                shared,
                answered,
            },
            RefreshTasks(tasks),
        ))
    }

    /// How the set is kept fresh. With [`CacheMode::OnDemand`], a transaction is not matched before
    /// [`fresh`](Self::fresh) has answered.
    #[must_use]
    pub const fn mode(&self) -> CacheMode {
        self.mode
    }

    /// The set in use now. Never waits.
    #[must_use]
    pub fn current(&self) -> Arc<SubscriptionSet> {
        self.shared.current.load_full()
    }

    /// Tells when another set may be in use.
    #[must_use]
    pub fn news(&self) -> News {
        News(self.answered.clone())
    }

    /// Asks for a set that holds every change committed before this call. Never waits; what comes of it is
    /// learnt from [`fresh`](Self::fresh).
    #[must_use]
    pub fn request_fresh(&self) -> Ticket {
        self.shared.request()
    }

    /// The set asked for with [`request_fresh`](Self::request_fresh), or a later one. It waits until the
    /// store answers, however long that takes, and is never an empty set instead.
    ///
    /// Cancel-safe: dropped and called again with the same ticket, it neither loses nor repeats the query,
    /// which is the loader's.
    ///
    /// # Errors
    /// [`CacheError::Closed`] when the program is ending.
    pub async fn fresh(&self, ticket: Ticket) -> Result<Arc<SubscriptionSet>, CacheError> {
        let mut answered = self.answered.clone();
        let answer = answered.wait_for(|answered| answered.fresh >= ticket.0).await;
        answer.map_err(|_| CacheError::Closed)?;
        Ok(self.current())
    }

    /// Puts a set in use that holds every change committed before this call, and returns it (or a later
    /// one). Unlike [`fresh`](Self::fresh) it gives up when the store fails; the loader keeps trying.
    ///
    /// # Errors
    /// [`CacheError`]
    pub async fn refresh(&self) -> Result<Arc<SubscriptionSet>, CacheError> {
        let ticket = self.request_fresh().0;
        let mut answered = self.answered.clone();
        let is_answered =
            |answered: &Answered| answered.fresh >= ticket || answered.failure(ticket).is_some();
        let answer = answered
            .wait_for(is_answered)
            .await
            .map_err(|_| CacheError::Closed)?;
        match answer.failure(ticket) {
            Some(error) if answer.fresh < ticket => Err(error.clone()),
            _ => Ok(self.current()),
        }
    }
}

/// See [`Subscriptions::news`].
#[derive(Debug)]
pub struct News(watch::Receiver<Answered>);

impl News {
    /// Waits until the subscriptions have been read again; false when they are no longer read.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Shared {
    fn request(&self) -> Ticket {
        let ticket = Ticket(self.requested.fetch_add(1, Ordering::SeqCst) + 1);
        self.asked.notify_one();
        ticket
    }
}

impl Answered {
    fn failure(&self, ticket: u64) -> Option<&CacheError> {
        self.failed
            .as_ref()
            .filter(|(failed, _)| *failed >= ticket)
            .map(|(_, error)| error)
    }
}

impl RefreshTasks {
    /// Waits until everything that keeps the set fresh has ended.
    pub async fn join(mut self) {
        // A task only fails by a panic, which its thread has already reported.
        while self.0.join_next().await.is_some() {}
    }
}
