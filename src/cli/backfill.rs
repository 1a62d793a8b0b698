//! `pgstream backfill`.

use std::convert::Infallible;

use bytesize::ByteSize;

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use super::on_store::{failure, on_store, show};
use super::table::table;
use crate::operator::backfills::{self, Backfill, BackfillList, BackfillTable};
use crate::patterns::{PatternError, Patterns};
use crate::run::{self, BackfillError};

database_command! {
    /// have the rows of tables sent once more to one endpoint, while changes are streamed
    #[argh(
        name = "backfill",
        example = "pgstream backfill --url https://example.com/hook --tables \"orders sales.*\"",
        example = "pgstream backfill --list",
        example = "pgstream backfill --cancel 7",
        note = "`pgstream run` does it: the rows come behind what the endpoint is still to get of the same rows, and before what changes later. Other endpoints get nothing of it.",
        note = "Its requests have the header webhook-replay: true."
    )]
    pub struct BackfillCommand {
        /// URL of the endpoint, exactly as it was subscribed
        #[argh(option)]
        url: Option<String>,
        /// tables to read, separated by blanks: table (of schema public) or schema.table, * for any text
        #[argh(option, arg_name = "tables")]
        tables: Option<String>,
        /// tables to leave out of these
        #[argh(option, arg_name = "tables")]
        excluded_tables: Option<String>,
        /// list the backfills of the last days, and how far they are
        #[argh(switch)]
        list: bool,
        /// break off the backfill of this number
        #[argh(option, arg_name = "id")]
        cancel: Option<i64>,
        /// print JSON
        #[argh(switch)]
        json: bool,
    }
}

/// What was asked for makes no sense.
#[derive(Debug, thiserror::Error)]
enum Senseless {
    #[error("a backfill is of tables, for an endpoint: pass --url and --tables; or --list, or --cancel ID")]
    Incomplete,
    #[error("--list, --cancel and --url with --tables are three things: pass one of them")]
    TooMuch,
    #[error("{option}: {problem}")]
    Pattern {
        option: &'static str,
        problem: PatternError,
    },
}

impl BackfillCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let asks = self.url.is_some() || self.tables.is_some() || self.excluded_tables.is_some();
        match (self.list, self.cancel, asks) {
            (true, None, false) => {
                let found = on_store(context, &self.sources(), async |pool| {
                    backfills::list(&pool).await
                })?;
                show(context, self.json, &found, list)
            }
            (false, Some(id), false) => {
                let cancelled = on_store(context, &self.sources(), async |pool| {
                    backfills::cancel(&pool, id).await
                })?;
                show(context, self.json, &cancelled, |cancelled| {
                    match cancelled.tables {
                        0 => format!("backfill {id} was over already"),
                        tables => format!(
                            "backfill {id} is cancelled: {tables} tables are read no further. What is on its way is still delivered"
                        ),
                    }
                })
            }
            (false, None, true) => self.ask(context),
            (false, None, false) => Err(Failure::of_usage(Senseless::Incomplete)),
            _ => Err(Failure::of_usage(Senseless::TooMuch)),
        }
    }

    fn ask(&self, context: &Context) -> Result<(), Failure> {
        let (Some(url), Some(tables)) = (&self.url, &self.tables) else {
            return Err(Failure::of_usage(Senseless::Incomplete));
        };
        let excluded = self.excluded_tables.as_deref().unwrap_or_default();
        let tables = patterns("--tables", tables)?;
        let excluded = patterns("--excluded-tables", excluded)?;
        if tables.is_empty() {
            return Err(Failure::of_usage(Senseless::Incomplete));
        }
        let config = context.load(&self.sources())?;
        let asked = context.block_on_interruptible(async {
            let asked = run::backfill(&config, url, (&tables, &excluded), &context.log);
            Ok::<_, Infallible>(asked.await)
        })?;
        let asked = asked.map_err(|error| match error {
            BackfillError::Operator(error) => failure(error),
            other => Failure::of_work(other),
        })?;
        show(context, self.json, &asked, |asked| {
            format!(
                "backfill {} is asked for: {} tables. `pgstream run` does it; `pgstream backfill --list` shows how far it is",
                asked.id,
                asked.tables.len()
            )
        })
    }
}

fn patterns(option: &'static str, text: &str) -> Result<Patterns, Failure> {
    Patterns::separated_by_blanks(text)
        .map_err(|problem| Failure::of_usage(Senseless::Pattern { option, problem }))
}

fn list(found: &BackfillList) -> String {
    if found.backfills.is_empty() {
        return "no backfill was asked for in the last days".to_owned();
    }
    let of_backfill = |backfill: &Backfill| -> Vec<[String; 8]> {
        let of_table = |table: &BackfillTable| row(backfill, table);
        backfill.tables.iter().map(of_table).collect()
    };
    let rows: Vec<[String; 8]> = found.backfills.iter().flat_map(of_backfill).collect();
    table(
        [
            "ID", "URL", "TABLE", "STATE", "ROWS", "OF ABOUT", "ON DISK", "PROBLEM",
        ],
        &rows,
    )
}

fn row(backfill: &Backfill, table: &BackfillTable) -> [String; 8] {
    let read = &table.read;
    [
        backfill.id.to_string(),
        backfill.url.clone(),
        format!("{}.{}", read.schema, read.table),
        read.state.to_owned(),
        read.rows.to_string(),
        read.estimated_rows.to_string(),
        ByteSize(read.total_bytes).to_string(),
        table.problem.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
