//! `pgstream snapshot`.

use bytesize::ByteSize;

use super::bars;
use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use super::on_store::{on_store, show};
use super::table::table;
use crate::config::{FlagValue, Sources, keys};
use crate::operator::snapshots::{self, SnapshotList, SnapshotTable};
use crate::run;
use crate::snapshot::{Report, Watch};

database_command! {
    /// deliver the existing rows of tables to the subscribed webhooks, then end
    #[argh(
        name = "snapshot",
        example = "pgstream snapshot -c pg2webhook.env --tables \"orders sales.*\"",
        example = "pgstream snapshot -c pg2webhook.env --show",
        note = "Tables that are done are not read again; one whose reading was interrupted is, from its start, and its rows have the ids they had.",
        note = "Not while `pgstream run` is up: deliveries are made by one program at a time.",
        error_code(1, "the work failed; starting again may help"),
        error_code(2, "the arguments or the configuration are wrong"),
        error_code(3, "PostgreSQL refuses what is needed, such as the password or the database")
    )]
    pub struct SnapshotCommand {
        /// tables to read, separated by blanks: table (of schema public) or schema.table, * for any text
        #[argh(option, arg_name = "tables")]
        tables: Option<String>,
        /// tables to leave out of these
        #[argh(option, arg_name = "tables")]
        excluded_tables: Option<String>,
        /// read tables again that are done
        #[argh(switch)]
        repeat: bool,
        /// count a table as read that nobody is subscribed to the inserts of, instead of having it wait
        #[argh(switch)]
        snapshot_without_subscribers: bool,
        /// show how far the tables are, and read none
        #[argh(switch)]
        show: bool,
        /// with --show: print JSON
        #[argh(switch)]
        json: bool,
    }
}

/// What was asked for makes no sense.
#[derive(Debug, thiserror::Error)]
enum Senseless {
    #[error(
        "no tables are named: pass --tables, or set PGSTREAM_POSTGRES_SNAPSHOT_TABLES (in YAML: source.postgres.snapshot.tables), for example to \"orders sales.*\""
    )]
    NoTables,
    #[error("--json goes with --show only")]
    JsonWithoutShow,
    #[error("--show reads no tables: leave out --tables, --excluded-tables and --repeat")]
    ShowWithTables,
}

impl SnapshotCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        if self.show {
            if self.repeat || self.tables.is_some() || self.excluded_tables.is_some() {
                return Err(Failure::of_usage(Senseless::ShowWithTables));
            }
            let found = on_store(context, &self.sources(), async |pool| {
                snapshots::list(&pool).await
            })?;
            return show(context, self.json, &found, list);
        }
        if self.json {
            return Err(Failure::of_usage(Senseless::JsonWithoutShow));
        }
        let config = context.load(&self.all_sources())?;
        if config.snapshot.tables.is_empty() {
            return Err(Failure::of_usage(Senseless::NoTables));
        }
        let report =
            context.block_on_until_signal("what is not done is read again by the next run", |shutdown| {
                let watch = Watch::default();
                let taking = run::snapshot(config, self.repeat, watch.clone(), context.log.clone(), shutdown);
                let drawing = bars::draw(watch, context.log_options.format);
                async move {
                    tokio::select! {
                        taken = taking => taken,
                        never = drawing => match never {},
                    }
                }
            })?;
        tell(context, &report);
        Ok(())
    }

    fn all_sources(&self) -> Sources {
        let mut sources = self.sources();
        let of_flags = [
            ("--tables", &keys::SNAPSHOT_TABLES, &self.tables),
            (
                "--excluded-tables",
                &keys::SNAPSHOT_EXCLUDED_TABLES,
                &self.excluded_tables,
            ),
        ];
        for (flag, key, value) in of_flags {
            sources
                .flags
                .extend(value.clone().map(|value| FlagValue { flag, key, value }));
        }
        sources
            .flags
            .extend(without_subscribers(self.snapshot_without_subscribers));
        sources
    }
}

/// What `--snapshot-without-subscribers` sets.
pub(super) fn without_subscribers(is_given: bool) -> Option<FlagValue> {
    is_given.then(|| FlagValue {
        flag: "--snapshot-without-subscribers",
        key: &keys::SNAPSHOT_WITHOUT_SUBSCRIBERS,
        value: "true".to_owned(),
    })
}

fn tell(context: &Context, report: &Report) {
    let Report {
        tables,
        rows,
        done_before,
        waiting,
        skipped,
        gone,
    } = report;
    if *done_before > 0 {
        context.print(&format!(
            "{done_before} tables were done before: --repeat reads them again"
        ));
    }
    if *waiting > 0 {
        context.print(&format!(
            "{waiting} tables wait: nobody is subscribed to their inserts. Subscribe, and run it again"
        ));
    }
    if *skipped > 0 {
        context.print(&format!(
            "{skipped} tables count as read: nobody is subscribed to their inserts"
        ));
    }
    if *gone > 0 {
        context.print(&format!("{gone} tables were dropped or renamed meanwhile"));
    }
    context.print_success(&format!("snapshot complete: {rows} rows of {tables} tables"));
}

fn list(found: &SnapshotList) -> String {
    if found.tables.is_empty() {
        return "no table has been read, or is to be".to_owned();
    }
    let rows: Vec<[String; 8]> = found.tables.iter().map(row).collect();
    table(
        [
            "SLOT", "TABLE", "STATE", "ROWS", "OF ABOUT", "ON DISK", "STARTED", "FINISHED",
        ],
        &rows,
    )
}

fn row(table: &SnapshotTable) -> [String; 8] {
    let read = &table.read;
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
    [
        table.slot.clone(),
        format!("{}.{}", read.schema, read.table),
        read.state.to_owned(),
        read.rows.to_string(),
        read.estimated_rows.to_string(),
        ByteSize(read.total_bytes).to_string(),
        time(&read.started_at),
        time(&read.finished_at),
    ]
}
