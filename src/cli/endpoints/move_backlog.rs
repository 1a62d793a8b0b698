//! `pgstream endpoints move`.

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::on_store::{on_store, show, store_command};
use crate::cli::progress::Progress;
use crate::operator::documents::MoveDocument;
use crate::operator::moving::move_backlog;

store_command! {
    /// move the backlog of one endpoint behind that of another
    #[argh(
        name = "move",
        example = "pgstream endpoints move https://old.example.com/hook https://new.example.com/hook",
        note = "What is appended meanwhile stays, and what is in flight may reach both: pause FROM first.\nInterrupted, it goes on when it is run again."
    )]
    MoveCommand {
        /// the URL of the endpoint whose backlog it is
        #[argh(positional)]
        from: String,
        /// the URL of the endpoint that is to get it
        #[argh(positional)]
        to: String,
    }
}

impl MoveCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let mut progress = Progress::new(&context.log);
        let done = on_store(context, &self.store(), async |pool| {
            let mut go_on = |done: &MoveDocument| progress.tell("moved", done.moved + done.already_there);
            move_backlog(&pool, &self.from, &self.to, &mut go_on).await
        })?;
        show(context, self.json, &done, |done| {
            let MoveDocument {
                from,
                to,
                moved,
                already_there,
                ..
            } = done;
            let already = match already_there {
                0 => String::new(),
                rows => format!("; {rows} were in its backlog already"),
            };
            format!("moved {moved} events from {from} to {to}{already}")
        })
    }
}
