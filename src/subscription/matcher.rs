//! Who receives a change: an immutable set of subscriptions, indexed by schema and table.
//!
//! Pure: no clock, no I/O. [`super::cache`] builds the sets and puts them to use.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::model::{EventType, EventTypes, Subscription};

/// One set of subscriptions. A transaction is matched against one set from beginning to end.
#[derive(Debug)]
pub struct SubscriptionSet {
    generation: u64,
    subscriptions: Vec<Subscription>,
    /// Every URL once, in ascending order: the order of receivers.
    urls: Vec<Arc<str>>,
    /// By schema, then by table; the empty name stands for "every".
    index: HashMap<Box<str>, HashMap<Box<str>, Vec<Filter>>>,
}

/// What is left of a subscription once its schema and table are the way to it.
#[derive(Clone, Copy, Debug)]
struct Filter {
    /// Position in [`SubscriptionSet::urls`].
    url: usize,
    events: EventTypes,
}

impl SubscriptionSet {
    /// The set of these subscriptions. Two sets with the same `generation` are the same set, so that what
    /// was found in one can be remembered by generation, schema, table and event type.
    #[must_use]
    pub fn new(generation: u64, mut subscriptions: Vec<Subscription>) -> Self {
        subscriptions.sort_unstable();
        let distinct: BTreeSet<&str> = subscriptions
            .iter()
            .map(|subscription| &*subscription.url)
            .collect();
        let urls: Vec<Arc<str>> = distinct.into_iter().map(Arc::from).collect();
        let mut index: HashMap<Box<str>, HashMap<Box<str>, Vec<Filter>>> = HashMap::new();
        for subscription in &subscriptions {
            let url = urls.partition_point(|url| **url < *subscription.url);
            index
                .entry(subscription.schema.as_str().into())
                .or_default()
                .entry(subscription.table.as_str().into())
                .or_default()
                .push(Filter {
                    url,
                    events: subscription.event_types,
                });
        }
        Self {
            generation,
            subscriptions,
            urls,
            index,
        }
    }

    /// The number of this set: a later set has a higher one.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What the set was built from, in ascending order.
    #[must_use]
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// Every URL that is subscribed to anything, once, in ascending order.
    #[must_use]
    pub fn urls(&self) -> &[Arc<str>] {
        &self.urls
    }

    /// The URLs that receive this change of `schema.table`: each once, in ascending order.
    ///
    /// `root` is the schema and name of the topmost partitioned table when the table is a partition: what is
    /// subscribed for the root holds for its partitions. A table that is its own root may be given as such.
    #[must_use]
    pub fn receivers(
        &self,
        schema: &str,
        table: &str,
        root: Option<(&str, &str)>,
        event: EventType,
    ) -> Vec<&Arc<str>> {
        let mut found = Vec::new();
        self.collect(schema, table, event, &mut found);
        if let Some((root_schema, root_table)) = root.filter(|root| *root != (schema, table)) {
            self.collect(root_schema, root_table, event, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|url| &self.urls[url]).collect()
    }

    /// Adds the positions of the URLs subscribed to this very table, by name or by "every".
    fn collect(&self, schema: &str, table: &str, event: EventType, found: &mut Vec<usize>) {
        let tables = [schema, ""]
            .into_iter()
            .filter_map(|schema| self.index.get(schema));
        let filters = tables.flat_map(|tables| [table, ""].into_iter().filter_map(|table| tables.get(table)));
        found.extend(
            filters
                .flatten()
                .filter(|filter| filter.events.contains(event))
                .map(|filter| filter.url),
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subscription(url: &str, schema: &str, table: &str, letters: &[&str]) -> Subscription {
        Subscription {
            url: url.to_owned(),
            schema: schema.to_owned(),
            table: table.to_owned(),
            event_types: EventTypes::from_letters(letters).unwrap(),
        }
    }

    fn texts(receivers: &[&Arc<str>]) -> Vec<String> {
        receivers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_change_finds_its_receivers() {
        let set = SubscriptionSet::new(
            7,
            vec![
                subscription("http://table", "public", "orders", &["U"]),
                subscription("http://schema", "public", "", &[]),
                subscription("http://any-orders", "", "orders", &["I", "D"]),
                subscription("http://all", "", "", &["I"]),
                subscription("http://all", "public", "orders", &[]),
            ],
        );
        assert_eq!(set.generation(), 7);
        let cases: &[(&str, &str, EventType, &[&str])] = &[
            (
                "public",
                "orders",
                EventType::Insert,
                &["http://all", "http://any-orders", "http://schema"],
            ),
            (
                "public",
                "orders",
                EventType::Update,
                &["http://all", "http://schema", "http://table"],
            ),
            ("other", "orders", EventType::Delete, &["http://any-orders"]),
            ("other", "things", EventType::Insert, &["http://all"]),
            ("other", "things", EventType::Truncate, &[]),
            ("Public", "orders", EventType::Update, &[]),
        ];
        for (schema, table, event, expected) in cases {
            let receivers = set.receivers(schema, table, None, *event);
            assert_eq!(texts(&receivers), *expected, "{schema}.{table} {event:?}");
        }
    }

    #[test]
    fn a_subscription_on_a_root_matches_its_partitions() {
        let set = SubscriptionSet::new(
            1,
            vec![
                subscription("http://root", "public", "orders", &[]),
                subscription("http://leaf", "parts", "orders_2026", &[]),
            ],
        );
        let root = Some(("public", "orders"));
        let receivers = set.receivers("parts", "orders_2026", root, EventType::Insert);
        assert_eq!(texts(&receivers), ["http://leaf", "http://root"]);
        let receivers = set.receivers("parts", "orders_2025", root, EventType::Insert);
        assert_eq!(texts(&receivers), ["http://root"]);
        assert!(
            set.receivers("parts", "orders_2025", None, EventType::Insert)
                .is_empty()
        );
    }

    /// The matcher as one would explain it.
    fn naive(subscriptions: &[Subscription], names: &[(&str, &str)], event: EventType) -> Vec<String> {
        let matches = |wanted: &str, name: &str| wanted.is_empty() || wanted == name;
        let receivers: BTreeSet<String> = subscriptions
            .iter()
            .filter(|s| s.event_types.contains(event))
            .filter(|s| {
                names
                    .iter()
                    .any(|(schema, table)| matches(&s.schema, schema) && matches(&s.table, table))
            })
            .map(|s| s.url.clone())
            .collect();
        receivers.into_iter().collect()
    }

    fn any_subscription() -> impl Strategy<Value = Subscription> {
        (
            "http://[a-d]",
            "[ab]?",
            "[ab]?",
            prop::collection::vec(prop::sample::select(vec!["I", "U", "D", "T", "M"]), 0..4),
        )
            .prop_map(|(url, schema, table, letters)| subscription(&url, &schema, &table, &letters))
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(
            subscriptions in prop::collection::vec(any_subscription(), 0..12),
            schema in "[abc]",
            table in "[abc]",
            root in prop::option::of(("[abc]", "[abc]")),
            event in prop::sample::select(EventType::ALL.to_vec()),
        ) {
            let set = SubscriptionSet::new(1, subscriptions.clone());
            let root = root.as_ref().map(|(schema, table)| (schema.as_str(), table.as_str()));
            let names: Vec<_> = root.into_iter().chain([(schema.as_str(), table.as_str())]).collect();
            let receivers = set.receivers(&schema, &table, root, event);
            prop_assert_eq!(texts(&receivers), naive(&subscriptions, &names, event));
        }
    }
}
