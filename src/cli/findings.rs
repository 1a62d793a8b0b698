//! What `status` and `check` have in common: what they look at, how they list what they found, and their exit code.

use std::fmt::Write;

use bytesize::ByteSize;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::config::{Config, Sources, Targets};
use crate::setup::findings::{Finding, Verdict};

/// What the configuration says, as far as it can be read.
pub(super) struct Read {
    pub(super) config: Option<Config>,
    pub(super) targets: Option<Targets>,
    pub(super) errors: Vec<String>,
}

/// Reads the configuration. One that is wrong is a finding, and what it says of the databases is looked at all the same.
pub(super) fn read(context: &Context, sources: &Sources) -> Read {
    match Config::load(sources) {
        Ok(config) => {
            for warning in &config.warnings {
                slog::warn!(context.log, "{}", warning);
            }
            Read {
                targets: Some(Targets::from(&config)),
                config: Some(config),
                errors: Vec::new(),
            }
        }
        Err(error) => Read {
            targets: Targets::load(sources),
            config: None,
            errors: error.problems.iter().map(ToString::to_string).collect(),
        },
    }
}

/// The first line for people: what it came to.
pub(super) fn headline(context: &Context, command: &str, verdict: Verdict, problems: &[Finding]) -> String {
    match (verdict, problems.len()) {
        (Verdict::Healthy, _) => {
            context.headline("SUCCESS", &format!("pgstream {command} encountered no issues"))
        }
        (Verdict::Problems, 1) => {
            context.headline("WARNING", &format!("pgstream {command} identified 1 problem"))
        }
        (Verdict::Problems, count) => context.headline(
            "WARNING",
            &format!("pgstream {command} identified {count} problems"),
        ),
        (Verdict::Unknown, _) => context.headline(
            "WARNING",
            &format!("pgstream {command} could not look at anything"),
        ),
    }
}

/// A part of the text for people: its heading, and a line for each thing that is known.
pub(super) fn section(text: &mut String, heading: &str, lines: &[(&str, Option<String>)]) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{heading}:");
    for (name, value) in lines {
        let value = value.as_deref().unwrap_or("unknown");
        let _ = writeln!(text, " - {name}: {}", printable(value));
    }
}

/// Findings, each with what mends it.
pub(super) fn list(text: &mut String, heading: &str, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    let _ = writeln!(text, "{heading}:");
    for Finding { message, remedy, .. } in findings {
        let _ = writeln!(
            text,
            " - {}\n   Remedy: {}",
            printable(message),
            printable(remedy)
        );
    }
}

/// What could move a terminal's cursor is shown as an escape.
fn printable(text: &str) -> String {
    let shown = text.chars().map(|c| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    shown.collect()
}

/// The end of the command: its exit code says what it came to.
pub(super) fn end(verdict: Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Healthy => Ok(()),
        Verdict::Problems => Err(Failure::told(Exit::Failure)),
        Verdict::Unknown => Err(Failure::told(Exit::Unknown)),
    }
}

/// A number of bytes for people, or what there is instead.
pub(super) fn bytes_or(bytes: Option<u64>, none: &str) -> String {
    bytes.map_or_else(
        || none.to_owned(),
        |bytes| format!("{bytes} ({})", ByteSize::b(bytes).display().iec()),
    )
}
