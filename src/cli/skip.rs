//! `pgstream skip`.

use std::io::{self, BufRead, IsTerminal, Write};

use pgstream_proto::Lsn;

use super::context::Context;
use super::database::database_command;
use super::failure::Failure;
use crate::setup::skip::{Skip, SkipOptions, plan};

database_command! {
    /// go on without a transaction that PostgreSQL cannot send, and write down that it is missing
    #[argh(
        name = "skip",
        example = "pgstream skip --to 0/1590EB8",
        note = "`pgstream run` says which LSN, where it ends because of such a transaction (exit code 5).",
        note = "What was skipped is written down as a dead letter, from where to where, but not its changes: see `pgstream deadletters list`."
    )]
    pub struct SkipCommand {
        /// the end of the transaction: everything up to there that is not confirmed is never sent
        #[argh(option, arg_name = "lsn")]
        to: Lsn,
        /// do not ask
        #[argh(switch)]
        yes: bool,
    }
}

/// Nothing was skipped, because nobody has said yes.
#[derive(Debug, thiserror::Error)]
enum Unconfirmed {
    #[error("nothing was skipped")]
    Declined,
    #[error("cannot ask, since the input is no terminal: give --yes if the transaction is to be skipped")]
    NobodyToAsk,
}

impl SkipCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let config = context.load(&self.sources())?;
        let options = SkipOptions {
            store: (config.store != config.source).then_some(config.store),
            source: config.source,
            slot: config.slot,
            to: self.to,
        };
        if !self.yes && !io::stdin().is_terminal() {
            return Err(Failure::of_usage(Unconfirmed::NobodyToAsk));
        }
        let runtime = context.runtime()?;
        let skip = runtime.block_on(plan(&options)).map_err(Failure::of_work)?;
        context.print(&description(&skip));
        if !self.yes && !is_confirmed() {
            return Err(Failure::of_work(Unconfirmed::Declined));
        }
        let end = runtime.block_on(skip.carry_out()).map_err(Failure::of_work)?;
        context.print_success(&format!(
            "the slot is at {end}; from where to where was skipped is among the dead letters"
        ));
        Ok(())
    }
}

fn description(skip: &Skip) -> String {
    let Skip { from, to, .. } = skip;
    let settled = match skip.settled {
        Some(settled) if settled > *from => {
            format!("\nEverything up to {settled} is delivered, or kept in backlogs and dead letters.")
        }
        _ => String::new(),
    };
    format!(
        "The slot is at {from}. Whatever was committed between there and {to} and is not delivered yet is never sent.{settled}"
    )
}

fn is_confirmed() -> bool {
    print!("Type yes to go on: ");
    let mut answer = String::new();
    let is_read = io::stdout().flush().is_ok() && io::stdin().lock().read_line(&mut answer).is_ok();
    is_read && answer.trim() == "yes"
}
