//! Taking up what the store knows: at the start, and whenever another hand changes it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use slog::{debug, warn};
use tokio::time::sleep;

use super::dispatch::Shared;
use super::outbox::Configured;
use super::target::Target;
use crate::store::endpoints::{Change, Changes};
use crate::store::{StoreError, backlog, dead_letters, endpoints};

/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);
/// How often dead letters that are too old are looked for.
const CLEAN_INTERVAL: Duration = Duration::from_secs(60);
/// How many of them are deleted at one time.
const CLEAN_ROWS: usize = 1000;

/// Reads settings, backlogs and marks. Whatever has a backlog goes behind it from now on.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<Changes, StoreError> {
    // Listened to first, so that no change falls between the reading and the listening.
    let changes = Changes::listen(&shared.store).await?;
    configure(shared).await?;
    let ill = endpoints::ill(&shared.store).await?;
    let marks: HashMap<String, _> = backlog::marks(&shared.store).await?.into_iter().collect();
    let mut totals: HashMap<String, (u64, u64)> = backlog::totals(&shared.store)
        .await?
        .into_iter()
        .map(|totals| (totals.endpoint, (totals.rows, totals.bytes)))
        .collect();
    for url in marks.keys().chain(&ill) {
        totals.entry(url.clone()).or_default();
    }
    for (url, (rows, bytes)) in totals {
        let Some(target) = target(shared, &url) else {
            continue;
        };
        let outbox = shared.outbox(&target);
        let mark = marks.get(&url).copied();
        let next = outbox.recover(rows, bytes, mark, ill.contains(&url), Instant::now());
        shared.follow_up(&outbox, next);
    }
    Ok(changes)
}

/// Follows what operators do.
pub(super) async fn follow(shared: Arc<Shared>, mut changes: Changes) {
    loop {
        if let Err(error) = apply(&shared, &mut changes).await {
            warn!(shared.log, "cannot follow changes of the endpoints, trying again"; "error" => #error);
            sleep(PAUSE).await;
        }
    }
}

async fn apply(shared: &Arc<Shared>, changes: &mut Changes) -> Result<(), StoreError> {
    let urls: Vec<String> = match changes.changed().await? {
        Change::Backlogs(urls) => urls.into_iter().collect(),
        Change::Anything => shared
            .outboxes
            .all()
            .iter()
            .map(|outbox| outbox.target().url().to_string())
            .collect(),
    };
    configure(shared).await?;
    for url in urls {
        let Some(target) = target(shared, &url) else {
            continue;
        };
        debug!(shared.log, "an endpoint's backlog was changed by an operator"; "endpoint" => %target);
        let totals = backlog::totals_of(&shared.store, &url).await?;
        let outbox = shared.outbox(&target);
        shared.follow_up(
            &outbox,
            outbox.changed_elsewhere(totals.rows, totals.bytes, Instant::now()),
        );
    }
    Ok(())
}

/// Reads the settings of all endpoints and puts them in use.
async fn configure(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let overrides = endpoints::list(&shared.store).await?;
    let mut unconfigured: HashMap<Arc<str>, Arc<super::Outbox>> = shared
        .outboxes
        .all()
        .into_iter()
        .map(|outbox| (Arc::clone(outbox.target().url()), outbox))
        .collect();
    let now = Instant::now();
    shared
        .configured
        .retain(|url| overrides.iter().any(|row| row.url == url));
    for row in overrides {
        let url: Arc<str> = row.url.as_str().into();
        let configured = Configured {
            settings: row.settings(&shared.limits.defaults),
            standing: row.standing,
            changed_at: row.changed_at,
        };
        shared.configured.insert(&url, configured.clone());
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
                Err(error) => warn!(shared.log, "cannot delete old dead letters"; "error" => #&error),
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
