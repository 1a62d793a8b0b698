//! Names that later releases of the original have for settings of the snapshot, so that files written for them work.

use std::collections::BTreeMap;

use super::error::{Origin, Problem};
use super::keys::{self, Key};
use super::sources::Found;
use super::value;

/// PostgreSQL's pages have this many bytes, unless it was built otherwise.
const PAGE_BYTES: u64 = 8192;

/// Another name for something.
#[derive(Debug)]
pub(super) struct Synonym {
    pub(super) name: &'static str,
    meaning: Meaning,
}

#[derive(Debug)]
enum Meaning {
    /// The same as this key.
    Same(&'static Key),
    /// The number of pages that this key names the bytes of.
    Pages(&'static Key),
    /// How many tables of one schema are read at one time: the key counts the schemas then.
    TimesWorkers,
    /// Whether tables are read at all.
    Switch,
}

const fn synonym(name: &'static str, meaning: Meaning) -> Synonym {
    Synonym { name, meaning }
}

const SYNONYMS: [Synonym; 9] = [
    synonym(
        "PGSTREAM_POSTGRES_LISTENER_INITIAL_SNAPSHOT_ENABLED",
        Meaning::Switch,
    ),
    synonym(
        "PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_STORE_URL",
        Meaning::Same(&keys::SNAPSHOT_URL),
    ),
    synonym(
        "PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_TABLES",
        Meaning::Same(&keys::SNAPSHOT_TABLES),
    ),
    synonym(
        "PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_WORKERS",
        Meaning::Same(&keys::SNAPSHOT_WORKERS),
    ),
    synonym(
        "PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_SCHEMA_WORKERS",
        Meaning::TimesWorkers,
    ),
    synonym("PGSTREAM_POSTGRES_SNAPSHOT_SCHEMA_WORKERS", Meaning::TimesWorkers),
    synonym(
        "PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_TABLE_WORKERS",
        Meaning::Same(&keys::SNAPSHOT_TABLE_WORKERS),
    ),
    synonym(
        "PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_BATCH_PAGE_SIZE",
        Meaning::Pages(&keys::SNAPSHOT_BATCH_BYTES),
    ),
    synonym(
        "PGSTREAM_POSTGRES_SNAPSHOT_BATCH_PAGE_SIZE",
        Meaning::Pages(&keys::SNAPSHOT_BATCH_BYTES),
    ),
];

/// The synonym of this name.
pub(super) fn find(name: &str) -> Option<&'static Synonym> {
    SYNONYMS.iter().find(|synonym| synonym.name == name)
}

/// All their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SYNONYMS.iter().map(|synonym| synonym.name)
}

/// Has what was set by synonyms stand where it belongs. Problems are added to `problems`.
pub(super) fn resolve(
    set: &BTreeMap<&'static str, Found>,
    values: &mut BTreeMap<&'static str, Found>,
    problems: &mut Vec<Problem>,
) {
    // In the order of the table: schemas before their tables.
    for synonym in &SYNONYMS {
        let Some(found) = set.get(synonym.name) else {
            continue;
        };
        if let Err(problem) = apply(synonym, found, values) {
            problems.push(Problem::new(found.origin.clone(), problem));
        }
    }
    let is_off = |found: &Found| value::boolean(&found.value) == Ok(false);
    let switch = SYNONYMS
        .iter()
        .find(|synonym| matches!(synonym.meaning, Meaning::Switch))
        .and_then(|switch| set.get(switch.name));
    if switch.is_some_and(is_off) {
        let tables = keys::SNAPSHOT_TABLES.name;
        if values
            .get(tables)
            .is_some_and(|found| !matches!(found.origin, Origin::Flag(_)))
        {
            values.remove(tables);
        }
    }
}

fn apply(synonym: &Synonym, found: &Found, values: &mut BTreeMap<&'static str, Found>) -> Result<(), String> {
    let with = |value: String| Found {
        value,
        origin: found.origin.clone(),
    };
    match synonym.meaning {
        Meaning::Switch => value::boolean(&found.value).map(drop),
        Meaning::Same(key) => insert(key, with(found.value.clone()), values),
        Meaning::Pages(key) => {
            let pages: Option<u64> = found.value.trim().parse().ok().filter(|pages| *pages > 0);
            let bytes = pages.and_then(|pages| pages.checked_mul(PAGE_BYTES));
            let bytes = bytes.ok_or_else(|| {
                format!(
                    "is no number of pages of {PAGE_BYTES} bytes: write one, for example 1000, or set {} instead",
                    key.name
                )
            })?;
            insert(key, with(bytes.to_string()), values)
        }
        Meaning::TimesWorkers => {
            let key = &keys::SNAPSHOT_WORKERS;
            let tables = value::sessions(&found.value)?;
            let schemas = match values.get(key.name) {
                // What is wrong with it is told where it is read.
                Some(workers) => value::sessions(&workers.value).unwrap_or(1),
                None => 1,
            };
            if !is_flag(values.get(key.name)) {
                values.insert(key.name, with(tables.saturating_mul(schemas).to_string()));
            }
            Ok(())
        }
    }
}

/// A value under its own name wins where it is of a flag, or of the environment and the other one is not. Otherwise it cannot be
/// known which is meant.
fn insert(key: &Key, found: Found, values: &mut BTreeMap<&'static str, Found>) -> Result<(), String> {
    let is_of_environment = |origin: &Origin| matches!(origin, Origin::Environment(_));
    match values.get(key.name) {
        other if is_flag(other) => Ok(()),
        Some(other) if is_of_environment(&other.origin) && !is_of_environment(&found.origin) => Ok(()),
        Some(other) if is_of_environment(&other.origin) == is_of_environment(&found.origin) => Err(format!(
            "means the same as {}, which is set too: keep one of them",
            key.name
        )),
        _ => {
            values.insert(key.name, found);
            Ok(())
        }
    }
}

fn is_flag(found: Option<&Found>) -> bool {
    found.is_some_and(|found| matches!(found.origin, Origin::Flag(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these: the values by key, and the problems.
    fn resolved(set: &[(&'static str, &str)]) -> (BTreeMap<&'static str, String>, Vec<String>) {
        let (mut synonyms, mut values, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, value) in set {
            let found = Found {
                value: (*value).to_owned(),
                origin: Origin::Environment((*name).to_owned()),
            };
            match find(name) {
                Some(synonym) => synonyms.insert(synonym.name, found),
                None => values.insert(*name, found),
            };
        }
        resolve(&synonyms, &mut values, &mut problems);
        let values = values.into_iter().map(|(name, found)| (name, found.value));
        let problems = problems.iter().map(ToString::to_string);
        (values.collect(), problems.collect())
    }

    #[test]
    fn they_stand_for_what_they_mean() {
        let (values, problems) = resolved(&[
            ("PGSTREAM_POSTGRES_LISTENER_INITIAL_SNAPSHOT_ENABLED", "true"),
            ("PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_TABLES", "a b.*"),
            ("PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_WORKERS", "2"),
            ("PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_SCHEMA_WORKERS", "3"),
            ("PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_TABLE_WORKERS", "5"),
            ("PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_BATCH_PAGE_SIZE", "1000"),
        ]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(values[keys::SNAPSHOT_TABLES.name], "a b.*");
        assert_eq!(values[keys::SNAPSHOT_WORKERS.name], "6");
        assert_eq!(values[keys::SNAPSHOT_TABLE_WORKERS.name], "5");
        assert_eq!(values[keys::SNAPSHOT_BATCH_BYTES.name], "8192000");
    }

    #[test]
    fn switched_off_no_table_is_read() {
        let off = ("PGSTREAM_POSTGRES_LISTENER_INITIAL_SNAPSHOT_ENABLED", "false");
        let (values, problems) = resolved(&[off, (keys::SNAPSHOT_TABLES.name, "*")]);
        assert!(values.is_empty() && problems.is_empty());
    }

    #[test]
    fn what_is_unclear_is_a_problem() {
        for (set, expected) in [
            (
                &[
                    ("PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_TABLES", "a"),
                    ("PGSTREAM_POSTGRES_SNAPSHOT_TABLES", "b"),
                ][..],
                "keep one of them",
            ),
            (
                &[("PGSTREAM_POSTGRES_SNAPSHOT_BATCH_PAGE_SIZE", "0")],
                "is no number of pages",
            ),
            (
                &[("PGSTREAM_POSTGRES_SNAPSHOT_BATCH_PAGE_SIZE", "1MB")],
                "is no number of pages",
            ),
            (
                &[("PGSTREAM_POSTGRES_SNAPSHOT_SCHEMA_WORKERS", "none")],
                "SCHEMA_WORKERS",
            ),
            (
                &[("PGSTREAM_POSTGRES_LISTENER_INITIAL_SNAPSHOT_ENABLED", "perhaps")],
                "INITIAL_SNAPSHOT_ENABLED",
            ),
        ] {
            let (_, problems) = resolved(set);
            assert_eq!(problems.len(), 1, "{set:?}");
            assert!(problems[0].contains(expected), "{problems:?}");
        }
    }

    #[test]
    fn a_flag_and_the_environment_win_over_the_file() {
        let found = |value: &str, origin| Found {
            value: value.to_owned(),
            origin,
        };
        let file = || Origin::File {
            path: "f.env".into(),
            key: "PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_TABLES".to_owned(),
            position: None,
        };
        let environment = || Origin::Environment(keys::SNAPSHOT_TABLES.name.to_owned());
        for (origin, of_synonym, expected) in [
            (Origin::Flag("--tables"), environment(), "key"),
            (environment(), file(), "key"),
            (file(), environment(), "synonym"),
        ] {
            let synonym = "PGSTREAM_POSTGRES_INITIAL_SNAPSHOT_TABLES";
            let set = BTreeMap::from([(synonym, found("synonym", of_synonym))]);
            let mut values = BTreeMap::from([(keys::SNAPSHOT_TABLES.name, found("key", origin))]);
            let mut problems = Vec::new();
            resolve(&set, &mut values, &mut problems);
            assert!(problems.is_empty());
            assert_eq!(values[keys::SNAPSHOT_TABLES.name].value, expected);
        }
    }
}
