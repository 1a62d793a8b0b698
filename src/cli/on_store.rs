//! What the commands share that work on the store alone.

use std::convert::Infallible;

use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use crate::config::{Sources, StoreConfig};
use crate::operator::OperatorError;
use crate::store::{self, PgPool};

/// A command with the options that say where the store is, and `--json`; argh wants them written out in each. The
/// struct gets `fn store(&self) -> Sources`.
macro_rules! store_command {
    ($(#[$of_struct:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ident $(<$of:ident>)?,)* }) => {
        #[derive(Debug, PartialEq, argh::FromArgs, argh::ArgsInfo)]
        $(#[$of_struct])*
        #[argh(
            subcommand,
            note = "Works on the store alone, whether `pgstream run` is up or not.",
            note = "Takes the options of `pgstream --help` as well."
        )]
        pub(in crate::cli) struct $name {
            $($(#[$of_field])* $field: $type$(<$of>)?,)*
            /// print JSON
            #[argh(switch)]
            json: bool,
            /// URL of the database whose changes are streamed; also --postgres-url
            #[argh(option, arg_name = "url")]
            pgurl: Option<$crate::config::Secret>,
            /// URL of the database of the subscriptions; the default is --pgurl
            #[argh(option, arg_name = "url")]
            store_url: Option<$crate::config::Secret>,
            /// file to read the configuration from: YAML if its name ends in .yaml or .yml, else KEY=VALUE lines
            #[argh(option, short = 'c', arg_name = "file")]
            config: Option<String>,
        }

        impl $name {
            fn store(&self) -> $crate::config::Sources {
                $crate::cli::database::DatabaseOptions {
                    pgurl: &self.pgurl,
                    replication_slot: &None,
                    store_url: &self.store_url,
                    config: &self.config,
                }
                .sources()
            }
        }
    };
}

pub(super) use store_command;

/// Connects to the store and does the work there, until it is done or a signal comes.
pub(super) fn on_store<T>(
    context: &Context,
    sources: &Sources,
    work: impl AsyncFnOnce(PgPool) -> Result<T, OperatorError>,
) -> Result<T, Failure> {
    let config = StoreConfig::load(sources)?;
    for warning in &config.warnings {
        slog::warn!(context.log, "{}", warning);
    }
    let done = context.block_on_interruptible(async {
        let done = match store::connect(&config.url).await {
            Ok(pool) => work(pool).await,
            Err(error) => Err(error.into()),
        };
        Ok::<_, Infallible>(done)
    })?;
    done.map_err(failure)
}

/// Which kind of failure this is.
pub(super) fn failure(error: OperatorError) -> Failure {
    match error {
        OperatorError::Invalid { field, message } => Failure::of_usage(Invalid { field, message }),
        _ => Failure::of_work(error),
    }
}

/// A value of the command line that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", option(field))]
struct Invalid {
    field: &'static str,
    message: String,
}

/// The option of a field, where it is one and the message does not begin with it.
fn option(field: &str) -> String {
    match field {
        "url" | "to" | "all" | "settings" => String::new(),
        field => format!("--{}: ", field.replace('_', "-")),
    }
}

/// Prints a document as JSON, or what `for_people` makes of it.
pub(super) fn show<D: Serialize>(
    context: &Context,
    json: bool,
    document: &D,
    for_people: impl FnOnce(&D) -> String,
) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(document).map_err(Failure::of_work)?;
        context.print(&text);
    } else {
        context.print(for_people(document).trim_end());
    }
    Ok(())
}
