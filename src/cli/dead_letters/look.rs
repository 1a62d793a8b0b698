//! `pgstream deadletters list` and `show`.

use std::time::SystemTime;

use super::filter::letters_command;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::on_store::{on_store, show, store_command};
use crate::cli::table::{pairs, table};
use crate::operator::documents::{LetterDetails, LetterDocument, LetterList, timestamp};
use crate::operator::letters;

letters_command! {
    /// list dead letters, the youngest first
    #[argh(name = "list", example = "pgstream deadletters list --table public.orders --since 2h")]
    ListCommand {
        /// how many, 1 to 1000; the default is 50
        #[argh(option, arg_name = "number")]
        limit: Option<String>,
    }
}

store_command! {
    /// show one dead letter with its payload
    #[argh(name = "show", example = "pgstream deadletters show 42")]
    ShowCommand {
        /// its number, or the webhook-id of its event
        #[argh(positional)]
        id: String,
    }
}

impl ListCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let found = on_store(context, &self.store(), async |pool| {
            let filter = letters::parse_filter(&self.filter(), SystemTime::now())?;
            let limit = letters::parse_limit(self.limit.as_deref())?;
            letters::list(&pool, &filter, limit).await
        })?;
        show(context, self.json, &found, list)
    }
}

impl ShowCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let found = on_store(context, &self.store(), async |pool| {
            letters::show(&pool, &self.id).await
        })?;
        show(context, self.json, &found, details)
    }
}

fn list(found: &LetterList) -> String {
    if found.dead_letters.is_empty() {
        return "there are no such dead letters".to_owned();
    }
    let rows: Vec<[String; 8]> = found.dead_letters.iter().map(row).collect();
    let mut text = table(
        [
            "ID",
            "DIED",
            "REASON",
            "TABLE",
            "ACTION",
            "TRIES",
            "ENDPOINT",
            "LAST ERROR",
        ],
        &rows,
    );
    if found.more {
        text.push_str("there are more: use a filter or --limit\n");
    }
    text
}

fn row(letter: &LetterDocument) -> [String; 8] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        letter.id.to_string(),
        timestamp(letter.died_at),
        letter.reason.clone(),
        or_none(qualified(&letter.schema, &letter.table)),
        or_none(letter.action.clone()),
        letter.attempts.to_string(),
        or_none(letter.endpoint.clone()),
        or_none(letter.last_error.clone()),
    ]
}

fn details(found: &LetterDetails) -> String {
    let letter = &found.letter;
    let run = (letter.replay_run != 0).then(|| letter.replay_run.to_string());
    let mut text = pairs(&[
        ("id", Some(letter.id.to_string())),
        ("endpoint", letter.endpoint.clone()),
        ("webhook-id", Some(letter.webhook_id.clone())),
        ("reason", Some(letter.reason.clone())),
        ("died", Some(timestamp(letter.died_at))),
        ("table", qualified(&letter.schema, &letter.table)),
        ("partition of", qualified(&letter.root_schema, &letter.root_table)),
        ("action", letter.action.clone()),
        ("origin", Some(letter.origin.clone())),
        ("replay run", run),
        ("commit lsn", Some(letter.commit_lsn.clone())),
        ("lsn", Some(letter.lsn.clone())),
        ("tries", Some(letter.attempts.to_string())),
        ("first try", letter.first_attempt_at.map(timestamp)),
        ("first error", letter.first_error.clone()),
        ("last try", letter.last_attempt_at.map(timestamp)),
        ("last error", letter.last_error.clone()),
        ("bytes", Some(letter.bytes.to_string())),
    ]);
    text.push('\n');
    match (&found.payload, &found.payload_base64) {
        (Some(json), _) => text.push_str(json.get()),
        (None, Some(base64)) => text.push_str(base64),
        (None, None) => {}
    }
    text
}

fn qualified(schema: &Option<String>, table: &Option<String>) -> Option<String> {
    let schema = schema.as_ref()?;
    Some(format!("{schema}.{}", table.as_ref()?))
}
