//! `pgstream deadletters replay` and `discard`.

use std::time::SystemTime;

use super::filter::letters_command;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::on_store::{on_store, show};
use crate::cli::progress::Progress;
use crate::operator::documents::{DiscardDocument, ReplayDocument};
use crate::operator::letters::{self, Wish};

letters_command! {
    /// send dead letters again: they go back into the backlogs of their endpoints
    #[argh(
        name = "replay",
        example = "pgstream deadletters replay --endpoint https://example.com/hook --dry-run",
        example = "pgstream deadletters replay --id 42 --to https://other.example.com/hook",
        note = "A replay keeps its webhook-id and carries the header webhook-replay: true.\nInterrupted, it goes on when it is run again: what is not replayed stays a dead letter."
    )]
    ReplayCommand {
        /// every one that has an endpoint
        #[argh(switch)]
        all: bool,
        /// only count them
        #[argh(switch)]
        dry_run: bool,
        /// send them to this URL instead
        #[argh(option, arg_name = "url")]
        to: Option<String>,
    }
}

letters_command! {
    /// delete dead letters for good
    #[argh(
        name = "discard",
        example = "pgstream deadletters discard --table public.orders --until 7days --dry-run"
    )]
    DiscardCommand {
        /// every one
        #[argh(switch)]
        all: bool,
        /// only count them
        #[argh(switch)]
        dry_run: bool,
    }
}

impl ReplayCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let mut progress = Progress::new(&context.log);
        let done = on_store(context, &self.store(), async |pool| {
            let wish = Wish::parse(&self.filter(), self.all, self.dry_run, SystemTime::now())?;
            let mut go_on =
                |done: &ReplayDocument| progress.tell("replayed", done.replayed + done.duplicates);
            letters::replay(&pool, &wish, self.to.as_deref(), &mut go_on).await
        })?;
        show(context, self.json, &done, replayed)
    }
}

impl DiscardCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let mut progress = Progress::new(&context.log);
        let done = on_store(context, &self.store(), async |pool| {
            let wish = Wish::parse(&self.filter(), self.all, self.dry_run, SystemTime::now())?;
            let mut go_on = |done: &DiscardDocument| progress.tell("discarded", done.discarded);
            letters::discard(&pool, &wish, &mut go_on).await
        })?;
        show(context, self.json, &done, discarded)
    }
}

fn replayed(done: &ReplayDocument) -> String {
    let mut text = if done.dry_run {
        format!("would replay {} dead letters\n", done.matching)
    } else {
        format!("replayed {} dead letters\n", done.replayed)
    };
    if done.duplicates > 0 {
        text.push_str(&format!(
            "{} more were of events that were replayed to the same endpoint with another one\n",
            done.duplicates
        ));
    }
    if done.not_replayable > 0 {
        text.push_str(&format!(
            "{} cannot be replayed, because they have no endpoint: look at them with `pgstream deadletters list`\n",
            done.not_replayable
        ));
    }
    text
}

fn discarded(done: &DiscardDocument) -> String {
    if done.dry_run {
        format!("would discard {} dead letters", done.matching)
    } else {
        format!("discarded {} dead letters", done.discarded)
    }
}
