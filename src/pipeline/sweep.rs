//! Discarding what nobody is subscribed to any more.

use std::sync::Arc;

use crate::delivery::Dispatcher;
use crate::event::TableName;
use crate::subscription::cache::Subscriptions;
use crate::subscription::matcher::SubscriptionSet;
use crate::subscription::model::EventType;

/// Sweeps whenever another set of subscriptions is in use, until that is no longer read.
pub async fn sweep(subscriptions: Subscriptions, dispatcher: Arc<Dispatcher>) {
    let mut news = subscriptions.news();
    let mut swept = subscriptions.current();
    // What was unsubscribed while nothing ran may still be in a backlog.
    dispatcher.recovered().await;
    discard(&subscriptions, &dispatcher);
    while news.changed().await {
        let current = subscriptions.current();
        if current.subscriptions() == swept.subscriptions() {
            continue;
        }
        swept = current;
        discard(&subscriptions, &dispatcher);
    }
}

fn discard(subscriptions: &Subscriptions, dispatcher: &Dispatcher) {
    let latest = subscriptions.clone();
    dispatcher.sweep(move |url, table, action| is_subscribed(&latest.current(), url, table, action));
}

/// Whether anything in `set` wants this kind of change of this table delivered to `url`.
fn is_subscribed(set: &SubscriptionSet, url: &str, table: &TableName, action: char) -> bool {
    let mut letter = [0; 4];
    let Some(event) = EventType::from_letter(action.encode_utf8(&mut letter)) else {
        return true;
    };
    let TableName { schema, table, root } = table;
    let root = root
        .as_ref()
        .map(|(schema, table)| (schema.as_str(), table.as_str()));
    set.receivers(schema, table, root, event)
        .into_iter()
        .any(|receiver| **receiver == *url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::model::{EventTypes, Subscription};

    #[test]
    fn what_is_subscribed_to_is_kept() {
        let subscription = |table: &str| Subscription {
            url: "http://a/".into(),
            schema: "public".into(),
            table: table.into(),
            event_types: EventTypes::from_letters(["I"]).unwrap(),
        };
        let set = SubscriptionSet::new(1, vec![subscription("t"), subscription("root")]);
        let name = |table: &str, root: Option<&str>| TableName {
            schema: "public".into(),
            table: table.into(),
            root: root.map(|root| ("public".into(), root.into())),
        };
        assert!(is_subscribed(&set, "http://a/", &name("t", None), 'I'));
        assert!(is_subscribed(&set, "http://a/", &name("leaf", Some("root")), 'I'));
        assert!(!is_subscribed(&set, "http://a/", &name("t", None), 'D'));
        assert!(!is_subscribed(&set, "http://a/", &name("u", None), 'I'));
        assert!(!is_subscribed(&set, "http://b/", &name("t", None), 'I'));
    }
}
