//! Which tables' changes are taken from the stream at all.
//!
//! Pure. Owns what the settings `PGSTREAM_FILTER_INCLUDE_TABLES` and `PGSTREAM_FILTER_EXCLUDE_TABLES` mean, and what of them
//! the output plugin can be told. Must not know: subscriptions, and where the settings come from.
//!
//! # The rule
//!
//! A change is taken if its table matches a pattern that is included, or none is given, and none that is excluded. A
//! partition matches by its own name and by that of its root. What describes tables, `pgstream.schema_log` and
//! `pgstream.schema_log_tables`, is always taken. The plugin is told as much of that as it can express, so that the rest is
//! not even sent: never more, so that what is asked here again stays true. It knows no partitions, so that it is told what
//! is included only while there are none.

use crate::patterns::{Pattern, Patterns};

/// Tables that are taken whatever the patterns say.
const ALWAYS: [(&str, &str); 2] = [("pgstream", "schema_log"), ("pgstream", "schema_log_tables")];

/// Which tables' changes are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFilter {
    /// What is taken; all if it is empty.
    pub include: Patterns,
    /// What is not, whatever is included.
    pub exclude: Patterns,
}

/// What the plugin is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginTables {
    /// Its option `add-tables`: nothing, if it cannot express all that is taken, or all is.
    pub add: Vec<String>,
    /// What its option `filter-tables` gets.
    pub filter: Vec<String>,
}

impl TableFilter {
    /// Whether changes of this table are taken, which may have a partition root, both given by schema and name.
    #[must_use]
    pub fn takes(&self, table: (&str, &str), root: Option<(&str, &str)>) -> bool {
        let names = || [Some(table), root].into_iter().flatten();
        let is_included =
            || self.include.is_empty() || names().any(|(schema, table)| self.include.matches(schema, table));
        ALWAYS.contains(&table)
            || !names().any(|(schema, table)| self.exclude.matches(schema, table)) && is_included()
    }

    /// Whether changes of this table are not taken whatever root it has.
    #[must_use]
    pub fn excludes(&self, schema: &str, table: &str) -> bool {
        !ALWAYS.contains(&(schema, table)) && self.exclude.matches(schema, table)
    }

    /// Whether all tables are taken.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// What the plugin can be told of it, in a database that has partitioned tables or has none.
    #[must_use]
    pub fn plugin_tables(&self, has_partitions: bool) -> PluginTables {
        let included = self.include.iter().filter(|_| !has_partitions);
        let included: Option<Vec<String>> = included.map(Pattern::for_plugin).collect();
        let mut add = included.unwrap_or_default();
        if !add.is_empty() {
            add.extend(ALWAYS.map(|(schema, table)| format!("{schema}.{table}")));
        }
        let is_spared = |pattern: &&Pattern| {
            !ALWAYS
                .iter()
                .any(|(schema, table)| pattern.matches(schema, table))
        };
        let excluded = self.exclude.iter().filter(is_spared);
        PluginTables {
            add,
            filter: excluded.filter_map(Pattern::for_plugin).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &str, exclude: &str) -> TableFilter {
        TableFilter {
            include: include.parse().unwrap(),
            exclude: exclude.parse().unwrap(),
        }
    }

    #[test]
    fn patterns_take_tables_and_leave_others() {
        let all = filter("", "");
        assert!(all.takes_all() && all.takes(("any", "table"), None));
        let some = filter(
            r#"orders, sales.*, *.audit_*_log, "odd.schema"."a ""b"", *""#,
            "sales.secret,tmp*",
        );
        for (schema, table, taken) in [
            ("public", "orders", true),
            ("other", "orders", false),
            ("sales", "anything", true),
            ("sales", "secret", false),
            ("x", "audit_2026_log", true),
            ("x", "audit__log", true),
            ("x", "audit_log", false),
            ("x", "audit_2026_logs", false),
            ("odd.schema", r#"a "b", *"#, true),
            ("odd.schema", r#"a "b", x"#, false),
            ("pgstream", "schema_log", true),
            ("pgstream", "schema_log_tables", true),
        ] {
            assert_eq!(some.takes((schema, table), None), taken, "{schema}.{table}");
        }
        assert!(!filter("*.*", "public.tmp*").takes(("public", "tmp1"), None));
        assert!(filter("", "*.*").takes(("pgstream", "schema_log"), None));
    }

    #[test]
    fn partitions_match_by_their_own_name_and_by_their_roots() {
        let leaf = ("parts", "orders_1");
        let root = Some(("public", "orders"));
        for (include, exclude, taken) in [
            ("orders", "", true),
            ("parts.*", "", true),
            ("orders", "parts.orders_1", false),
            ("parts.*", "orders", false),
            ("", "orders", false),
            ("other", "", false),
        ] {
            let filter = filter(include, exclude);
            assert_eq!(filter.takes(leaf, root), taken, "{include} but {exclude}");
            assert_eq!(filter.excludes(leaf.0, leaf.1), exclude == "parts.orders_1");
        }
    }

    #[test]
    fn the_plugin_is_told_what_it_can_express() {
        assert_eq!(filter("", "").plugin_tables(false), PluginTables::default());
        let some = filter(r#"orders,sales.*,"a.b"."c d""#, "*.secret,tmp*,pgstream.*,*.*");
        let told = some.plugin_tables(false);
        let add = [
            "public.orders",
            "sales.*",
            r"a\.b.c\ d",
            "pgstream.schema_log",
            "pgstream.schema_log_tables",
        ];
        assert_eq!(told.add, add);
        assert_eq!(told.filter, ["*.secret"]);
        assert!(filter("orders,tmp*", "").plugin_tables(false).add.is_empty());
        let told = some.plugin_tables(true);
        assert_eq!((told.add.len(), told.filter), (0, vec!["*.secret".to_owned()]));
    }
}
