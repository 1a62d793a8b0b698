//! Tables whose updates and deletes somebody is subscribed to, and which name no row in them. Pure.

use super::document::UnidentifiedTable;
use super::source::SourceFacts;
use super::store::StoreFacts;
use crate::filter::{PluginOptions, TableFilter};
use crate::setup::findings::Finding;
use crate::setup::precondition::Quoted;
use crate::store::replica_identity::Unidentified;
use crate::subscription::model::{EventType, Subscription};

/// The tables without a replica identity whose updates or deletes somebody is subscribed to.
pub(super) fn unidentified(
    of_source: &SourceFacts,
    of_store: &StoreFacts,
    (filter, plugin): (&TableFilter, &PluginOptions),
) -> Option<Vec<UnidentifiedTable>> {
    let tables = of_source.unidentified.as_ref()?;
    let subscriptions = of_store.subscriptions.as_ref()?;
    let is_wanted = |table: &&Unidentified| {
        let root = table
            .root
            .as_ref()
            .map(|(schema, table)| (schema.as_str(), table.as_str()));
        let own = (table.schema.as_str(), table.table.as_str());
        let is_subscribed = |subscription: &Subscription| asks_for(subscription, own, root);
        filter.takes(own, root) && plugin.sends(own) && subscriptions.iter().any(is_subscribed)
    };
    let report = |table: &Unidentified| UnidentifiedTable {
        schema: table.schema.clone(),
        table: table.table.clone(),
        remedy: remedy(table),
    };
    Some(tables.iter().filter(is_wanted).map(report).collect())
}

fn asks_for(subscription: &Subscription, own: (&str, &str), root: Option<(&str, &str)>) -> bool {
    let types = subscription.event_types;
    let is_any_or = |wanted: &str, name: &str| wanted.is_empty() || wanted == name;
    let names = |(schema, table): (&str, &str)| {
        is_any_or(&subscription.schema, schema) && is_any_or(&subscription.table, table)
    };
    (types.contains(EventType::Update) || types.contains(EventType::Delete))
        && (names(own) || root.is_some_and(names))
}

fn remedy(table: &Unidentified) -> String {
    let name = format!("{}.{}", Quoted(&table.schema), Quoted(&table.table));
    match (table.has_key, &table.index) {
        (true, _) => format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT"),
        (false, Some(index)) => format!(
            "ALTER TABLE {name} REPLICA IDENTITY USING INDEX {}",
            Quoted(index)
        ),
        (false, None) => format!("ALTER TABLE {name} REPLICA IDENTITY FULL"),
    }
}

pub(super) fn problem(table: &UnidentifiedTable) -> Finding {
    let UnidentifiedTable {
        schema,
        table,
        remedy,
    } = table;
    let also = if remedy.ends_with(" FULL") {
        "; better still, ALTER TABLE … ADD PRIMARY KEY (…)"
    } else {
        ""
    };
    Finding::new(
        "no_replica_identity",
        format!("updates and deletes of {schema}.{table} are not sent: the table has no replica identity"),
        format!("run {remedy}{also}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::model::EventTypes;

    fn table(root: Option<(&str, &str)>, has_key: bool, index: Option<&str>) -> Unidentified {
        Unidentified {
            schema: "s".to_owned(),
            table: "o'\"dd".to_owned(),
            root: root.map(|(schema, table)| (schema.to_owned(), table.to_owned())),
            has_key,
            index: index.map(str::to_owned),
        }
    }

    #[test]
    fn the_statement_that_gives_a_table_an_identity() {
        for (table, statement) in [
            (table(None, true, Some("i")), "DEFAULT"),
            (table(None, false, Some("I x")), "USING INDEX \"I x\""),
            (table(None, false, None), "FULL"),
        ] {
            let expected = format!("ALTER TABLE \"s\".\"o'\"\"dd\" REPLICA IDENTITY {statement}");
            assert_eq!(remedy(&table), expected);
        }
    }

    #[test]
    fn only_updates_and_deletes_need_an_identity() {
        let subscription = |schema: &str, table: &str, types: &[&str]| {
            Subscription::new(
                "http://a",
                schema,
                table,
                EventTypes::from_letters(types).unwrap(),
            )
            .unwrap()
        };
        let own = ("parts", "orders_1");
        let root = Some(("public", "orders"));
        for (subscription, asks) in [
            (subscription("", "", &["U"]), true),
            (subscription("", "", &["I", "T"]), false),
            (subscription("parts", "", &["D"]), true),
            (subscription("public", "orders", &["I", "D"]), true),
            (subscription("public", "orders_1", &["U"]), false),
            (subscription("public", "other", &["U"]), false),
        ] {
            assert_eq!(asks_for(&subscription, own, root), asks, "{subscription:?}");
        }
    }
}
