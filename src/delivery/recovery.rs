//! Taking up what the store knows: at the start, and whenever another hand changes it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use slog::{debug, info, warn};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::dispatch::Shared;
use super::outbox::Configured;
use super::target::Target;
use crate::store::endpoints::{Change, Changes};
use crate::store::{StoreError, backlog, dead_letters, endpoints};
use crate::telemetry::Seldom;

/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);
/// How often dead letters that are too old are looked for.
const CLEAN_INTERVAL: Duration = Duration::from_secs(60);
/// How many of them are deleted at one time.
const CLEAN_ROWS: usize = 1000;

/// Takes up what the store knows, however long that takes; then follows what operators do.
///
/// The stream is connected meanwhile and waits, with its feedback going on: only the holder of the slot may drain.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut failed = false;
    let changes = loop {
        match recover(&shared).await {
            Ok(changes) => break changes,
            Err(error) => {
                if !failed {
                    warn!(shared.log, "cannot take up the backlog, trying again until it works; reading waits for it";
                        "event" => "backlog_not_taken_up", "error" => #&error);
                }
                failed = true;
                sleep(PAUSE).await;
            }
        }
    };
    info!(shared.log, "the backlog is taken up";
        "event" => "backlog_taken_up", "endpoints" => shared.outboxes.all().len());
    shared.recovered.send_replace(true);
    for outbox in shared.outboxes.all() {
        shared.uncounted.add(Arc::clone(outbox.target().url()));
    }
    tokio::join!(count(&shared), follow(&shared, changes));
}

/// Endpoints whose backlog is to be counted, which takes as long as it is large.
#[derive(Default)]
pub(super) struct Uncounted {
    urls: Mutex<BTreeSet<Arc<str>>>,
    more: Notify,
}

impl Uncounted {
    pub(super) fn add(&self, url: Arc<str>) {
        self.lock().insert(url);
        self.more.notify_one();
    }

    async fn next(&self) -> Arc<str> {
        loop {
            let first = self.lock().pop_first();
            if let Some(first) = first {
                return first;
            }
            self.more.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads settings, backlogs and marks. Whatever has a backlog goes behind it from now on.
async fn recover(shared: &Arc<Shared>) -> Result<Changes, StoreError> {
    // Listened to first, so that no change falls between the reading and the listening.
    let changes = Changes::listen(&shared.store).await?;
    configure(shared).await?;
    let ill = endpoints::ill(&shared.store).await?;
    let marks: HashMap<String, _> = backlog::marks(&shared.store).await?.into_iter().collect();
    let waiting: BTreeSet<String> = backlog::waiting(&shared.store).await?.into_iter().collect();
    let known: BTreeSet<&String> = waiting.iter().chain(marks.keys()).chain(&ill).collect();
    for url in known {
        let Some(target) = target(shared, url) else {
            continue;
        };
        let outbox = shared.outbox(&target);
        // How many there are is counted later: with many it takes longer than the walsender waits for us.
        let rows = u64::from(waiting.contains(url));
        let mark = marks.get(url).copied();
        let next = outbox.recover(rows, 0, mark, ill.contains(url), Instant::now());
        shared.follow_up(&outbox, next);
    }
    Ok(changes)
}

/// Follows what operators do.
async fn follow(shared: &Arc<Shared>, mut changes: Changes) {
    // What was heard and not applied yet: it is heard once only.
    let mut pending = None;
    let seldom = Seldom::once_a_minute();
    loop {
        if let Err(error) = apply(shared, &mut changes, &mut pending).await {
            if let Some(suppressed) = seldom.admit(Instant::now()) {
                warn!(shared.log, "cannot follow changes of the endpoints, trying again";
                    "event" => "endpoints_not_followed", "error" => #error, "suppressed" => suppressed);
            }
            sleep(PAUSE).await;
        }
    }
}

async fn apply(
    shared: &Arc<Shared>,
    changes: &mut Changes,
    pending: &mut Option<BTreeSet<String>>,
) -> Result<(), StoreError> {
    if pending.is_none() {
        *pending = Some(match changes.changed().await? {
            Change::Backlogs(urls) => urls,
            Change::Anything => {
                // Those that have rows need not be known yet: an operator may have moved them there.
                let waiting = backlog::waiting(&shared.store).await?;
                let outboxes = shared.outboxes.all();
                let known = outboxes.iter().map(|outbox| outbox.target().url().to_string());
                known.chain(waiting).collect()
            }
        });
    }
    configure(shared).await?;
    while let Some(url) = pending.as_ref().and_then(|urls| urls.first().cloned()) {
        if let Some(target) = target(shared, &url) {
            debug!(shared.log, "an endpoint's backlog was changed by an operator"; "endpoint" => %target);
            // Only whether there are any: an operator does not wait for the counting of large backlogs.
            let has_rows = backlog::has_rows(&shared.store, &url).await?;
            let outbox = shared.outbox(&target);
            shared.follow_up(&outbox, outbox.changed_elsewhere(has_rows, Instant::now()));
            if has_rows {
                shared.uncounted.add(Arc::clone(outbox.target().url()));
            }
        }
        if let Some(urls) = pending {
            urls.remove(&url);
        }
    }
    *pending = None;
    Ok(())
}

/// Counts backlogs, one after the other.
async fn count(shared: &Arc<Shared>) {
    loop {
        let url = shared.uncounted.next().await;
        let Some(outbox) = shared.outboxes.get(&url) else {
            continue;
        };
        let totals = loop {
            match backlog::totals_of(&shared.store, &url).await {
                Ok(totals) => break totals,
                Err(error) => {
                    debug!(shared.log, "cannot count a backlog, trying again"; "error" => #&error);
                    sleep(PAUSE).await;
                }
            }
        };
        shared.follow_up(&outbox, outbox.counted(totals.rows, totals.bytes, Instant::now()));
    }
}

/// Reads the settings of all endpoints and puts them in use.
async fn configure(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let overrides = endpoints::list(&shared.store).await?;
    let now = Instant::now();
    shared
        .configured
        .retain(|url| overrides.iter().any(|row| row.url == url));
    let mut configured = Vec::with_capacity(overrides.len());
    for row in overrides {
        let url: Arc<str> = row.url.as_str().into();
        let settings = Configured {
            settings: row.settings(&shared.limits.defaults),
            standing: row.standing,
            changed_at: row.changed_at,
        };
        shared.configured.insert(&url, settings.clone());
        configured.push((url, settings));
    }
    // Only now: whoever comes after this was made with its settings.
    let mut unconfigured: HashMap<Arc<str>, Arc<super::Outbox>> = shared
        .outboxes
        .all()
        .into_iter()
        .map(|outbox| (Arc::clone(outbox.target().url()), outbox))
        .collect();
    for (url, configured) in configured {
        if let Some(outbox) = unconfigured.remove(&url) {
            shared.follow_up(&outbox, outbox.configure(configured, now));
        }
    }
    for outbox in unconfigured.into_values() {
        shared.follow_up(&outbox, outbox.configure(shared.unconfigured(), now));
    }
    Ok(())
}

/// Deletes dead letters that are older than they are kept, a few at a time.
pub(super) async fn clean_dead_letters(shared: Arc<Shared>) {
    loop {
        let before = SystemTime::now().checked_sub(shared.limits.dead_letters);
        if let Some(before) = before {
            match dead_letters::clean(&shared.store, before, CLEAN_ROWS).await {
                Ok(deleted) if deleted >= CLEAN_ROWS as u64 => continue,
                Ok(_) => {}
                Err(error) => {
                    warn!(shared.log, "cannot delete old dead letters"; "event" => "dead_letters_not_deleted",
                        "error" => #&error);
                }
            }
        }
        sleep(CLEAN_INTERVAL).await;
    }
}

fn target(shared: &Shared, url: &str) -> Option<Target> {
    Target::parse(&url.into())
        .inspect_err(|problem| {
            warn!(shared.log, "the store has a backlog for what is no URL of an endpoint"; "problem" => %problem);
        })
        .ok()
}
