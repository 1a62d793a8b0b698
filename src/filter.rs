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

/// What the settings `PGSTREAM_POSTGRES_REPLICATION_PLUGIN_ADD_TABLES` and `…_FILTER_TABLES` tell the plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginOptions {
    /// The only tables that it sends; whatever the filter includes, if there is none.
    pub add: Patterns,
    /// Tables that it leaves out, beside those that the filter excludes.
    pub filter: Patterns,
}

/// What the plugin is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginTables {
    /// Its option `add-tables`: nothing, if it cannot express all that is taken, or all is.
    pub add: Vec<String>,
    /// What its option `filter-tables` gets.
    pub filter: Vec<String>,
    /// Whether `add` says what the filter includes, and so is wrong once there are partitions.
    pub follows_includes: bool,
}

/// These patterns, unless one of them leaves out what is always taken.
///
/// # Errors
/// Text for the operator.
pub fn without_own_tables(patterns: Patterns) -> Result<Patterns, String> {
    match ALWAYS
        .iter()
        .find(|(schema, table)| patterns.matches(schema, table))
    {
        None => Ok(patterns),
        Some((schema, table)) => Err(format!(
            "leaves out {schema}.{table}, which pgstream needs: name the tables, or their schemas, one by one"
        )),
    }
}

impl PluginOptions {
    /// Whether the plugin sends changes of this table, as far as these options say. It knows no partition roots.
    #[must_use]
    pub fn sends(&self, (schema, table): (&str, &str)) -> bool {
        (self.add.is_empty() || self.add.matches(schema, table)) && !self.filter.matches(schema, table)
    }

    /// What the plugin is told altogether, where this follows from the filter. What is added by name takes the place of
    /// what is included: the plugin sends what one of the two lists has, and what is to be taken has to be in both.
    #[must_use]
    pub fn combined_with(&self, mut told: PluginTables) -> PluginTables {
        if !self.add.is_empty() {
            told.add = self.add.iter().filter_map(Pattern::for_plugin).collect();
            told.add.extend(always());
            told.follows_includes = false;
        }
        told.filter
            .extend(self.filter.iter().filter_map(Pattern::for_plugin));
        told
    }
}

/// What is always taken, as the plugin has it.
fn always() -> impl Iterator<Item = String> {
    ALWAYS.iter().map(|(schema, table)| format!("{schema}.{table}"))
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
            add.extend(always());
        }
        let is_spared = |pattern: &&Pattern| {
            !ALWAYS
                .iter()
                .any(|(schema, table)| pattern.matches(schema, table))
        };
        let excluded = self.exclude.iter().filter(is_spared);
        PluginTables {
            follows_includes: !add.is_empty(),
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

    #[test]
    fn what_is_added_by_name_takes_the_place_of_what_is_included() {
        let options = |add: &str, filter: &str| PluginOptions {
            add: Patterns::of_plugin(add).unwrap(),
            filter: Patterns::of_plugin(filter).unwrap(),
        };
        let told = filter("orders,sales.*", "*.secret").plugin_tables(false);
        assert!(told.follows_includes);
        assert_eq!(options("", "").combined_with(told.clone()), told);
        let combined = options(r"public.a\ b,s.*", r"*.lo\.g").combined_with(told);
        let add = [
            r"public.a\ b",
            "s.*",
            "pgstream.schema_log",
            "pgstream.schema_log_tables",
        ];
        assert_eq!(combined.add, add);
        assert_eq!(combined.filter, ["*.secret", r"*.lo\.g"]);
        assert!(!combined.follows_includes);
        assert!(without_own_tables(Patterns::of_plugin("pgstream.webhook_backlog").unwrap()).is_ok());
        assert!(without_own_tables(Patterns::of_plugin("pgstream.*").unwrap()).is_err());
    }
}
