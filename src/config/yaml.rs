//! The YAML file: sections of settings, each of which is one of the [`keys`](super::keys).
//!
//! Values are handed on as the text that they are written as, so that `60s`, `60` and `true` mean here what they mean in
//! a variable. Of [YAML 1.2](https://yaml.org/spec/1.2.2/) it leaves out, and refuses, what a configuration does not need:
//! several documents, aliases and tags of one's own.

use std::collections::BTreeSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::error::Position;
use super::keys::{self, KEYS, Key, Kind};
use super::suggest::nearest;

/// What a file sets, and what is wrong with it.
#[derive(Default)]
pub(super) struct Document {
    pub(super) entries: Vec<Entry>,
    pub(super) faults: Vec<Fault>,
}

/// One setting. Not `Debug`: values may hold passwords.
pub(super) struct Entry {
    pub(super) key: &'static Key,
    pub(super) value: String,
    pub(super) position: Position,
}

/// Something wrong at one place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) position: Position,
    /// The path of the setting or section, empty where there is none.
    pub(super) path: String,
    pub(super) text: String,
}

/// Reads the whole text; after a fault in its syntax nothing more is understood.
pub(super) fn parse(text: &str) -> Document {
    let mut walk = Walk {
        events: Parser::new_from_str(text),
        known_paths: BTreeSet::new(),
        document: Document::default(),
    };
    if let Err(error) = walk.stream() {
        let hint = if error.info().contains("anchor") {
            "; a text that begins with `*` or `&` belongs in quotes"
        } else {
            ""
        };
        let text = format!("is not YAML: {}{hint}", error.info());
        walk.fault(position(error.marker()), "", text);
    }
    walk.document
}

/// What stands at a path.
enum Meaning {
    Setting(&'static Key),
    Section,
    Unknown,
}

impl Meaning {
    fn of(path: &str) -> Self {
        match keys::find_path(path) {
            Some(key) => Self::Setting(key),
            None if names_below(path).next().is_some() => Self::Section,
            None => Self::Unknown,
        }
    }
}

/// The parser's events, taken one after another.
struct Walk<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Settings and sections that were there before.
    known_paths: BTreeSet<String>,
    document: Document,
}

impl<'a> Walk<'a> {
    fn stream(&mut self) -> Result<(), ScanError> {
        let mut documents = 0;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) => documents += 1,
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                _ if documents > 1 => {
                    self.fault(
                        at,
                        "",
                        "a second document begins here: a configuration is one document",
                    );
                    return Ok(());
                }
                event => self.section(event, at, "")?,
            }
        }
    }

    /// The mapping of a section, or nothing, where all in it is commented out.
    fn section(&mut self, event: Event<'a>, at: Position, path: &str) -> Result<(), ScanError> {
        match event {
            Event::MappingStart(_, tag) => {
                self.refuse_tag(at, path, tag.as_deref());
                self.mapping(path)
            }
            Event::Scalar(text, style, _, _) if is_null(&text, style) => Ok(()),
            event => {
                let names: Vec<&str> = names_below(path).collect();
                let subject = match path {
                    "" => {
                        "has no sections, as a file of YAML does (one of KEY=VALUE lines has another name): what it holds "
                    }
                    _ => "",
                };
                let text = format!(
                    "{subject}is a section: write what is in it below, indented, as `name: value`; known here: {}",
                    names.join(", ")
                );
                self.fault(at, path, text);
                self.skip(&event)
            }
        }
    }

    fn mapping(&mut self, parent: &str) -> Result<(), ScanError> {
        loop {
            let (name, at) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(()),
                (Event::Scalar(name, ..), at) => (name, at),
                (other, at) => {
                    self.fault(
                        at,
                        parent,
                        "has something here that is no name: write `name: value`",
                    );
                    self.skip(&other)?;
                    self.skip_next()?;
                    continue;
                }
            };
            if !is_name(&name) {
                // It is not shown: it may be a setting with its value.
                let text =
                    "has something here that is no name: write `name: value`, with a blank behind the colon";
                self.fault(at, parent, text);
                self.skip_next()?;
                continue;
            }
            let path = join(parent, &name);
            let meaning = Meaning::of(&path);
            if matches!(meaning, Meaning::Unknown) {
                self.fault(at, &path, unknown(parent, &name));
                self.skip_next()?;
            } else if !self.known_paths.insert(path.clone()) {
                self.fault(at, &path, "is there twice: keep one of them");
                self.skip_next()?;
            } else if let Meaning::Setting(key) = meaning {
                self.setting(key, at)?;
            } else {
                let (event, at) = self.next()?;
                self.section(event, at, &path)?;
            }
        }
    }

    /// The value of a setting, whose errors are told at its name.
    fn setting(&mut self, key: &'static Key, position: Position) -> Result<(), ScanError> {
        let (event, at) = self.next()?;
        let value = match (event, key.kind) {
            (Event::Scalar(text, style, _, tag), _) => {
                self.refuse_tag(at, key.path, tag.as_deref());
                if is_null(&text, style) {
                    return Ok(());
                }
                without_line_end(&text, style).to_owned()
            }
            (Event::SequenceStart(_, tag), Kind::List(separator)) => {
                self.refuse_tag(at, key.path, tag.as_deref());
                self.list(key)?.join(separator)
            }
            (event, kind) => {
                let text = match (&event, kind) {
                    (Event::Alias(_), _) => "is an alias: write the value itself",
                    (_, Kind::List(_)) => "takes one value or a list of them",
                    (_, Kind::Text | Kind::Url) => "takes one value",
                };
                self.fault(at, key.path, text);
                return self.skip(&event);
            }
        };
        self.document.entries.push(Entry { key, value, position });
        Ok(())
    }

    fn list(&mut self, key: &'static Key) -> Result<Vec<String>, ScanError> {
        let mut elements = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(elements),
                (Event::Scalar(text, style, _, tag), at) => {
                    self.refuse_tag(at, key.path, tag.as_deref());
                    if text.is_empty() || is_null(&text, style) {
                        self.fault(at, key.path, "has an element without a value: remove it");
                    } else {
                        elements.push(text.into_owned());
                    }
                }
                (event, at) => {
                    self.fault(
                        at,
                        key.path,
                        "has an element that is not one value; `*` and what holds `: ` or ` #` belongs in quotes",
                    );
                    self.skip(&event)?;
                }
            }
        }
    }

    fn refuse_tag(&mut self, at: Position, path: &str, tag: Option<&Tag>) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            self.fault(
                at,
                path,
                format!("has the tag {tag}, which means nothing here: remove it"),
            );
        }
    }

    /// Goes past the rest of what this event begins. The parser sees to it that all that begins ends.
    fn skip(&mut self, event: &Event<'a>) -> Result<(), ScanError> {
        let depth = |event: &Event<'a>| match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => 1,
            Event::MappingEnd | Event::SequenceEnd => -1,
            _ => 0,
        };
        let mut open = depth(event);
        while open > 0 {
            open += depth(&self.next()?.0);
        }
        Ok(())
    }

    fn skip_next(&mut self) -> Result<(), ScanError> {
        let (event, _) = self.next()?;
        self.skip(&event)
    }

    fn next(&mut self) -> Result<(Event<'a>, Position), ScanError> {
        match self.events.next() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, position(&start))),
            Some(Err(error)) => Err(error),
            None => Ok((Event::StreamEnd, Position { line: 1, column: 1 })),
        }
    }

    fn fault(&mut self, position: Position, path: &str, text: impl Into<String>) {
        self.document.faults.push(Fault {
            position,
            path: path.to_owned(),
            text: text.into(),
        });
    }
}

fn position(marker: &Marker) -> Position {
    Position {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// The ways to write nothing, of the [core schema](https://yaml.org/spec/1.2.2/#103-core-schema).
fn is_null(text: &str, style: ScalarStyle) -> bool {
    style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether this may be the name of a setting, known or not.
fn is_name(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(is_of_name)
}

/// A block of lines ends with the last line's end, which belongs to no value.
fn without_line_end(text: &str, style: ScalarStyle) -> &str {
    match style {
        ScalarStyle::Literal | ScalarStyle::Folded => text.trim_end_matches('\n'),
        ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => text,
    }
}

fn join(parent: &str, name: &str) -> String {
    match parent {
        "" => name.to_owned(),
        parent => format!("{parent}.{name}"),
    }
}

/// What may stand in a section, each once and in the order of the keys.
fn names_below(section: &str) -> impl Iterator<Item = &'static str> {
    let mut seen = BTreeSet::new();
    let below = move |key: &'static Key| match section {
        "" => Some(key.path),
        section => key.path.strip_prefix(section)?.strip_prefix('.'),
    };
    let names: Vec<&str> = KEYS
        .iter()
        .filter_map(below)
        .filter_map(|rest| rest.split('.').next())
        .filter(|name| seen.insert(*name))
        .collect();
    names.into_iter()
}

fn unknown(parent: &str, name: &str) -> String {
    let near = nearest(name, names_below(parent)).map(|near| join(parent, near));
    let meant = elsewhere(parent, name).map(str::to_owned).or(near);
    match meant {
        Some(path) => format!("is not a known key: did you mean {path}?"),
        None => {
            let names: Vec<&str> = names_below(parent).collect();
            format!("is not a known key: known here: {}", names.join(", "))
        }
    }
}

/// The one setting of this name further down in the same section.
fn elsewhere(section: &str, name: &str) -> Option<&'static str> {
    let mut paths = KEYS.iter().map(|key| key.path).filter(|path| {
        let below = path.strip_prefix(section).filter(|rest| rest.starts_with('.'));
        below.is_some() && path.rsplit('.').next() == Some(name)
    });
    paths.next().filter(|_| paths.next().is_none())
}

#[cfg(test)]
mod tests;
