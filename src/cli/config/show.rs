//! `pgstream config show`.

use serde::Serialize;
use slog::warn;

use crate::cli::context::Context;
use crate::cli::database::database_command;
use crate::cli::failure::Failure;
use crate::cli::on_store::show;
use crate::cli::table::table;
use crate::config::{self, Origin, Position, Setting};

database_command! {
    /// show what `pgstream run` would be configured with, and where each value comes from; passwords are masked
    #[argh(
        name = "show",
        example = "pgstream config show -c pgstream.yaml --json"
    )]
    pub(super) struct ShowCommand {
        /// print JSON
        #[argh(switch)]
        json: bool,
    }
}

impl ShowCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let sources = self.sources();
        let (settings, warnings) = config::settings(&sources)?;
        for warning in &warnings {
            warn!(context.log, "{}", warning);
        }
        let lines: Vec<Line> = settings.into_iter().map(Line::of).collect();
        show(context, self.json, &lines, |lines| for_people(lines))
    }
}

/// A setting, as JSON has it.
#[derive(Serialize)]
struct Line {
    variable: &'static str,
    path: &'static str,
    value: Option<String>,
    origin: Place,
}

/// Where a value comes from.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Place {
    Flag {
        flag: &'static str,
    },
    Environment {
        variable: String,
    },
    File {
        file: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        column: Option<usize>,
    },
    Default,
}

impl Line {
    fn of(setting: Setting) -> Self {
        let Setting { key, value, origin } = setting;
        let origin = match origin {
            Origin::Flag(flag) => Place::Flag { flag },
            Origin::Environment(variable) => Place::Environment { variable },
            Origin::File { path, position, .. } => Place::File {
                file: path.display().to_string(),
                line: position.map(|Position { line, .. }| line),
                column: position.map(|Position { column, .. }| column),
            },
            Origin::Unset(_) => Place::Default,
        };
        Self {
            variable: key.name,
            path: key.path,
            value,
            origin,
        }
    }
}

fn for_people(lines: &[Line]) -> String {
    let rows: Vec<[String; 3]> = lines
        .iter()
        .map(|line| {
            let origin = match &line.origin {
                Place::Flag { flag } => format!("flag {flag}"),
                Place::Environment { .. } => "environment".to_owned(),
                Place::File {
                    file,
                    line: Some(line),
                    ..
                } => format!("{file}:{line}"),
                Place::File { file, .. } => file.clone(),
                Place::Default => "default".to_owned(),
            };
            let value = line.value.clone().unwrap_or_else(|| "-".to_owned());
            [line.variable.to_owned(), value, origin]
        })
        .collect();
    table(["VARIABLE", "VALUE", "ORIGIN"], &rows)
}
