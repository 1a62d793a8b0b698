//! `pgstream check`.

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use super::findings::{self, end, headline, list, read, section};
use super::on_store::show;
use crate::setup::check::check;
use crate::setup::check::document::Check;

database_command! {
    /// look whether `pgstream init` would work, and what is in its way; changes nothing
    #[argh(
        name = "check",
        example = "pgstream check --pgurl \"postgres://postgres:postgres@localhost:5432?sslmode=disable\"",
        note = "Answers within 5 seconds, whatever is down.",
        error_code(1, "there are problems, each told with its remedy"),
        error_code(2, "nothing could be looked at, or the arguments are wrong")
    )]
    pub struct CheckCommand {
        /// print JSON
        #[argh(switch)]
        json: bool,
    }
}

impl CheckCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let findings::Read { targets, errors, .. } = read(context, &self.sources());
        let found = context.block_on_in_time(check(targets.as_ref(), &errors))?;
        show(context, self.json, &found, |found| for_people(context, found))?;
        end(found.status)
    }
}

fn for_people(context: &Context, found: &Check) -> String {
    let mut text = headline(context, "check", found.status, &found.problems);
    text.push('\n');
    let valid = ("Valid", Some(found.config.valid.to_string()));
    section(&mut text, "Config status", &[valid]);
    for (heading, database) in [("Source", "source"), ("Store", "store")] {
        let of_database = found.checks.iter().filter(|checked| checked.database == database);
        let lines: Vec<(&str, Option<String>)> = of_database
            .map(|checked| (checked.description, checked.met.map(|met| met.to_string())))
            .collect();
        section(&mut text, heading, &lines);
    }
    let source = &found.source;
    section(
        &mut text,
        "Server",
        &[
            ("Version", source.server_version.clone()),
            ("Database", source.database.clone()),
            ("Role", source.role.clone()),
            ("Encoding", source.encoding.clone()),
            (
                "max_slot_wal_keep_size",
                source
                    .server_version
                    .as_ref()
                    .map(|_| findings::bytes_or(source.max_slot_wal_keep_size, "unlimited")),
            ),
        ],
    );
    list(&mut text, "Problems", &found.problems);
    list(&mut text, "Hints", &found.hints);
    text
}
