//! `pgstream endpoints pause`, `resume`, `disable` and `enable`.

use super::look::details;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::on_store::{on_store, show, store_command};
use crate::config::Sources;
use crate::operator::endpoints::{Step, change_standing};

store_command! {
    /// send nothing to an endpoint for the time being; its events are kept in the backlog
    #[argh(name = "pause", example = "pgstream endpoints pause https://example.com/hook --reason deploy")]
    PauseCommand {
        /// its URL
        #[argh(positional)]
        url: String,
        /// why, for those who look at it later
        #[argh(option, arg_name = "text")]
        reason: Option<String>,
    }
}

store_command! {
    /// end a pause: what was kept is sent in order
    #[argh(name = "resume", example = "pgstream endpoints resume https://example.com/hook")]
    ResumeCommand {
        /// its URL
        #[argh(positional)]
        url: String,
    }
}

store_command! {
    /// send nothing to an endpoint until it is enabled; its events are kept in the backlog
    #[argh(name = "disable", example = "pgstream endpoints disable https://example.com/hook --reason abuse")]
    DisableCommand {
        /// its URL
        #[argh(positional)]
        url: String,
        /// why, for those who look at it later
        #[argh(option, arg_name = "text")]
        reason: Option<String>,
    }
}

store_command! {
    /// enable an endpoint that was disabled, by an operator or by its own answer 410
    #[argh(name = "enable", example = "pgstream endpoints enable https://example.com/hook")]
    EnableCommand {
        /// its URL
        #[argh(positional)]
        url: String,
    }
}

/// The endpoint, the step, and how to answer.
struct Wish<'a> {
    url: &'a str,
    step: Step,
    reason: Option<&'a str>,
    json: bool,
}

impl Wish<'_> {
    fn execute(&self, context: &Context, store: &Sources) -> Result<(), Failure> {
        let found = on_store(context, store, async |pool| {
            change_standing(&pool, self.url, self.step, self.reason).await
        })?;
        show(context, self.json, &found, details)
    }
}

macro_rules! execute {
    ($($command:ident $step:ident |$this:ident| $reason:expr;)*) => {
        $(impl $command {
            pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
                let $this = self;
                let wish = Wish {
                    url: &self.url,
                    step: Step::$step,
                    reason: $reason,
                    json: self.json,
                };
                wish.execute(context, &self.store())
            }
        })*
    };
}

execute! {
    PauseCommand Pause |this| this.reason.as_deref();
    ResumeCommand Resume |_this| None;
    DisableCommand Disable |this| this.reason.as_deref();
    EnableCommand Enable |_this| None;
}
