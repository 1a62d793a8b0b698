//! Where values come from, and which of several wins: flags, then the environment, then the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::env_file::{self, Entry};
use super::error::{Origin, Problem};
use super::file;
use super::keys::{self, KEYS, Key, PREFIX, State};
use super::suggest::nearest;
use super::synonyms::{self, Synonym};
use super::yaml::{self, Document};

/// The places a configuration is read from. Not `Debug`: URLs with passwords are among the values.
#[derive(Clone, Default)]
pub struct Sources {
    /// What the command line sets.
    pub flags: Vec<FlagValue>,
    /// The environment, or what stands in for it in a test.
    pub environment: Vec<(OsString, OsString)>,
    /// The file of `-c`/`--config`.
    pub file: Option<PathBuf>,
}

/// One flag that sets a key.
#[derive(Clone)]
pub struct FlagValue {
    /// The flag with its dashes, for errors.
    pub flag: &'static str,
    /// The key that it sets.
    pub key: &'static Key,
    /// The value that was given.
    pub value: String,
}

impl Sources {
    /// The process's environment and nothing else yet.
    pub fn from_environment() -> Self {
        Self {
            environment: std::env::vars_os().collect(),
            ..Self::default()
        }
    }
}

/// A value that was set, and where.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// The sources read and laid over each other.
#[derive(Clone, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, Found>,
    /// What was set by another name.
    synonyms: BTreeMap<&'static str, Found>,
    /// What is wrong with the sources themselves.
    pub(super) problems: Vec<Problem>,
    /// What is probably a mistake and does no harm.
    pub(super) warnings: Vec<String>,
    /// Whether there is a file, and something in it that was not understood.
    pub(super) is_partly_read: bool,
}

impl Layers {
    /// Reads all sources. An empty value in the environment or the file counts as not set, as container
    /// set-ups pass on variables that nobody filled in.
    pub(super) fn read(sources: &Sources) -> Self {
        let mut layers = Self::default();
        layers.read_file(sources);
        layers.read_environment(sources);
        for FlagValue { flag, key, value } in &sources.flags {
            layers.values.insert(
                key.name,
                Found {
                    value: value.clone(),
                    origin: Origin::Flag(flag),
                },
            );
        }
        let set = std::mem::take(&mut layers.synonyms);
        synonyms::resolve(&set, &mut layers.values, &mut layers.problems);
        for key in &KEYS {
            layers.refuse_what_is_not_available(key);
        }
        layers
    }

    /// The value of a key that was set.
    pub(super) fn get(&self, key: &Key) -> Option<&Found> {
        self.values.get(key.name)
    }

    fn read_file(&mut self, sources: &Sources) {
        let Some(path) = &sources.file else { return };
        let read = file::read(path).and_then(|text| {
            if file::is_yaml(path) {
                self.take_yaml(path, &text);
                return Ok(());
            }
            self.take_env_file(path, env_file::parse(path, &text)?);
            Ok(())
        });
        if let Err(text) = read {
            self.problems.push(Problem::of_file(text));
        }
        // What was not understood may have been what is missing.
        self.is_partly_read = !self.problems.is_empty();
    }

    fn take_env_file(&mut self, path: &Path, entries: Vec<Entry>) {
        for entry in entries {
            let Entry {
                name,
                value,
                substituted,
            } = entry;
            let origin = Origin::File {
                path: path.to_owned(),
                key: name.clone(),
                position: None,
            };
            let Some(key) = keys::find(&name) else {
                if let Some(synonym) = synonyms::find(&name) {
                    self.take_synonym(synonym, value, origin);
                } else if name.starts_with(PREFIX) {
                    self.problems.push(Problem::new(origin, unknown(&name)));
                }
                continue;
            };
            if substituted {
                self.warnings.push(format!(
                    "{origin}: a '$' was replaced by the value of a variable: if it is meant as it stands, put the value in single quotes"
                ));
            }
            if self.values.contains_key(key.name) {
                self.problems
                    .push(Problem::new(origin, "is set twice: keep one of the lines"));
            } else {
                self.take(key, value, origin);
            }
        }
    }

    fn take_yaml(&mut self, path: &Path, text: &str) {
        let Document { entries, faults } = yaml::parse(text);
        let origin = |key: String, position| Origin::File {
            path: path.to_owned(),
            key,
            position: Some(position),
        };
        for entry in entries {
            let origin = origin(entry.key.path.to_owned(), entry.position);
            self.take(entry.key, entry.value, origin);
        }
        for fault in faults {
            let origin = origin(fault.path, fault.position);
            self.problems.push(Problem::new(origin, fault.text));
        }
    }

    /// Takes a value, unless it is empty.
    fn take(&mut self, key: &'static Key, value: String, origin: Origin) {
        if !value.is_empty() {
            self.values.insert(key.name, Found { value, origin });
        }
    }

    fn take_synonym(&mut self, synonym: &'static Synonym, value: String, origin: Origin) {
        if !value.is_empty() {
            self.synonyms.insert(synonym.name, Found { value, origin });
        }
    }

    fn read_environment(&mut self, sources: &Sources) {
        for (name, value) in &sources.environment {
            let is_key = |name: &&str| name.starts_with(PREFIX) && *name != keys::PROGRAMS_FOLDER;
            let Some(name) = name.to_str().filter(is_key) else {
                continue;
            };
            let origin = Origin::Environment(name.to_owned());
            let Some(key) = keys::find(name) else {
                if let (Some(synonym), Some(value)) = (synonyms::find(name), value.to_str()) {
                    self.take_synonym(synonym, value.to_owned(), origin);
                    continue;
                }
                self.warnings.push(format!("{origin}: {}", unknown(name)));
                continue;
            };
            match value.to_str() {
                Some(value) => self.take(key, value.to_owned(), origin),
                None => self.problems.push(Problem::new(origin, "is not valid UTF-8")),
            }
        }
    }

    fn refuse_what_is_not_available(&mut self, key: &Key) {
        let State::NotYet(feature) = key.state else { return };
        if let Some(found) = self.values.remove(key.name) {
            let text = format!("{feature} is not available yet: remove the setting");
            self.problems.push(Problem::new(found.origin, text));
        }
    }
}

fn unknown(name: &str) -> String {
    let without_prefix = |name: &'static str| name.strip_prefix(PREFIX).unwrap_or(name);
    let known = KEYS.iter().map(|key| key.name).chain(synonyms::names());
    let known = known.map(without_prefix);
    match nearest(name.strip_prefix(PREFIX).unwrap_or(name), known) {
        Some(known) => format!("is not a known key: did you mean {PREFIX}{known}?"),
        None => "is not a known key: see the README's table of the configuration".to_owned(),
    }
}
