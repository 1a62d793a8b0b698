//! The memo of who receives what.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use slog::{Logger, error};

use super::relations::Relation;
use crate::delivery::{Dispatcher, Outbox, Target};
use crate::event::TableName;
use crate::subscription::matcher::SubscriptionSet;
use crate::subscription::model::EventType;

/// How many routes are remembered. Beyond that all are forgotten and matched anew.
const MAX_ROUTES: usize = 100_000;

/// Who receives one kind of change of one table.
pub type Receivers = Arc<[Arc<Outbox>]>;

/// What stands behind one entry of the memo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Route {
    generation: u64,
    relation: u64,
    event: EventType,
}

/// Remembers the receivers of each route, so that matching is one look-up a change.
pub(super) struct Routes {
    memo: DashMap<Route, Receivers>,
    /// The newest generation of subscriptions seen; what is older goes.
    newest: u64,
    dispatcher: Arc<Dispatcher>,
    /// URLs that were reported as impossible.
    reported: Mutex<HashSet<Arc<str>>>,
    log: Logger,
}

impl Routes {
    pub(super) fn new(dispatcher: Arc<Dispatcher>, log: Logger) -> Self {
        Self {
            memo: DashMap::new(),
            newest: 0,
            dispatcher,
            reported: Mutex::default(),
            log,
        }
    }

    /// The endpoints that receive this kind of change of `relation` according to `set`.
    pub(super) fn receivers(
        &mut self,
        set: &SubscriptionSet,
        relation: &Relation,
        event: EventType,
    ) -> Receivers {
        let route = Route {
            generation: set.generation(),
            relation: relation.number,
            event,
        };
        if let Some(known) = self.memo.get(&route) {
            return Arc::clone(&known);
        }
        if route.generation > self.newest {
            self.newest = route.generation;
            self.reported
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            self.memo.retain(|route, _| route.generation >= self.newest);
        }
        let receivers = self.resolve(set, &relation.name, event);
        if self.memo.len() >= MAX_ROUTES {
            // Tables that are created, changed and dropped all day get new numbers each time.
            self.memo.clear();
        }
        self.memo.insert(route, Arc::clone(&receivers));
        receivers
    }

    /// The same for a table by its name, without the memo.
    pub(super) fn resolve(&self, set: &SubscriptionSet, name: &TableName, event: EventType) -> Receivers {
        let TableName { schema, table, root } = name;
        let root = root
            .as_ref()
            .map(|(schema, table)| (schema.as_str(), table.as_str()));
        let urls = set.receivers(schema, table, root, event);
        urls.into_iter().filter_map(|url| self.outbox(url)).collect()
    }

    /// The outbox of a URL. One that cannot be an endpoint, which only SQL can have put there, is reported once.
    pub(super) fn outbox(&self, url: &Arc<str>) -> Option<Arc<Outbox>> {
        match Target::parse(url) {
            Ok(target) => Some(self.dispatcher.outbox(&target)),
            Err(problem) => {
                let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
                if reported.insert(Arc::clone(url)) {
                    error!(self.log, "a subscription's URL cannot be delivered to: correct it in pgstream.webhook_subscriptions; \
                        until then it gets nothing"; "endpoint" => shown(url), "problem" => %problem);
                }
                None
            }
        }
    }
}

/// What may be shown of a URL that is none of an endpoint: its scheme and host, as far as it has them.
fn shown(url: &str) -> String {
    let host = |parsed: &url::Url| parsed.host_str().unwrap_or_default().to_owned();
    url::Url::parse(url).map_or_else(
        |_| format!("a text of {} bytes", url.len()),
        |parsed| format!("{}://{}", parsed.scheme(), host(&parsed)),
    )
}
