//! The preconditions by name, and by which problems they are not met. Pure.

use super::document::Checked;

/// Stands for what the creation of the slot needs, which cannot be known of one that exists.
pub(super) const CREATION: &str = "creation";

/// A precondition, and by which problems it is not met.
#[derive(Debug)]
struct Item {
    name: &'static str,
    description: &'static str,
    /// The codes of these problems.
    codes: &'static [&'static str],
    /// The parts that have to be looked at to know.
    sections: &'static [&'static str],
}

impl Item {
    /// Whether it is met, by the codes of what is lacking and the parts that nothing is known about.
    fn is_met(&self, Told { lacking, missing }: &Told) -> Option<bool> {
        if self.codes.iter().any(|code| lacking.contains(code)) {
            return Some(false);
        }
        let is_known = !self.sections.iter().any(|section| missing.contains(section));
        is_known.then_some(true)
    }
}

/// What was found of one database.
#[derive(Debug)]
pub(super) struct Told {
    /// The codes of what is lacking.
    pub(super) lacking: Vec<&'static str>,
    /// The parts that could not be looked at.
    pub(super) missing: Vec<&'static str>,
}

/// The preconditions of one database.
#[derive(Debug)]
pub(super) struct Items {
    database: &'static str,
    items: &'static [Item],
}

macro_rules! item {
    ($name:literal, $description:literal, $codes:expr, $sections:expr) => {
        Item {
            name: $name,
            description: $description,
            codes: &$codes,
            sections: &$sections,
        }
    };
}

impl Items {
    pub(super) const SOURCE: Self = Self {
        database: "source",
        items: &[
            item!(
                "server_version",
                "PostgreSQL 14 or later",
                ["server_too_old"],
                ["server"]
            ),
            item!(
                "primary",
                "Primary, not a standby",
                ["server_is_standby"],
                ["server"]
            ),
            item!("encoding", "Encoding that JSON has", ["encoding"], ["server"]),
            item!("wal_level", "wal_level is logical", ["wal_level"], ["server"]),
            item!(
                "free_slot",
                "Replication slot free",
                ["no_free_slot"],
                ["server", "slot", CREATION]
            ),
            item!(
                "free_walsender",
                "Walsender free",
                ["no_free_walsender"],
                ["server", "slot", CREATION]
            ),
            item!(
                "replication_privilege",
                "Role may replicate",
                ["no_replication_privilege"],
                ["server", "slot"]
            ),
            item!(
                "create_privilege",
                "Role may create schema pgstream",
                ["no_create_privilege"],
                ["server", "source_migration"]
            ),
            item!(
                "event_triggers",
                "Role may create event triggers",
                ["no_event_trigger_privilege"],
                ["server", "source_migration", "event_triggers"]
            ),
            item!(
                "plugin",
                "Output plugin wal2json installed and allowed",
                ["plugin_missing", "plugin_not_allowed", "plugin_refused"],
                ["server", "slot", "plugin", CREATION]
            ),
            item!(
                "slot",
                "Replication slot of this name free or ours",
                ["slot_conflict", "slot_lost", "slot_synchronised"],
                ["slot"]
            ),
            item!(
                "release",
                "Schema pgstream of this release",
                ["other_release"],
                ["source_migration"]
            ),
            item!(
                "synchronous_standby",
                "Not a synchronous standby",
                ["synchronous_standby"],
                ["synchronous_standby"]
            ),
        ],
    };
    pub(super) const STORE: Self = Self {
        database: "store",
        items: &[
            item!(
                "primary",
                "Primary, not a standby",
                ["server_is_standby"],
                ["store_server"]
            ),
            item!(
                "create_privilege",
                "Role may create schema pgstream",
                ["no_create_privilege"],
                ["store_server", "store_migration"]
            ),
            item!(
                "release",
                "Schema pgstream of this release",
                ["other_release"],
                ["store_migration"]
            ),
        ],
    };

    /// What is known of them; nothing is told of a database that could not be reached.
    pub(super) fn told(&self, is_reachable: Option<bool>, told: Option<&Told>) -> Vec<Checked> {
        let reachable = Checked {
            database: self.database,
            name: "reachable",
            description: "Reachable",
            met: is_reachable,
        };
        let checked = self.items.iter().map(|item| Checked {
            database: self.database,
            name: item.name,
            description: item.description,
            met: told.and_then(|told| item.is_met(told)),
        });
        std::iter::once(reachable).chain(checked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_not_met_and_what_is_missing_is_not_known() {
        let told = Told {
            lacking: vec!["plugin_not_allowed"],
            missing: vec!["event_triggers"],
        };
        let checked = Items::SOURCE.told(Some(true), Some(&told));
        let met = |name: &str| checked.iter().find(|it| it.name == name).unwrap().met;
        assert_eq!(met("reachable"), Some(true));
        assert_eq!(met("plugin"), Some(false));
        assert_eq!(met("event_triggers"), None);
        assert_eq!(met("wal_level"), Some(true));
        let unreachable = Items::STORE.told(Some(false), None);
        assert!(unreachable[1..].iter().all(|checked| checked.met.is_none()));
    }
}
