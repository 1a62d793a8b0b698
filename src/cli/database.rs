//! The options that say which database and slot a command is about.

/// A command with these options; argh wants them written out in each. The struct gets `fn sources(&self) -> Sources`.
macro_rules! database_command {
    ($(#[$of_struct:meta])* $visibility:vis struct $name:ident {
        $($(#[$of_field:meta])* $field:ident: $type:ident $(<$of:ident>)?,)*
    }) => {
        #[derive(Debug, PartialEq, argh::FromArgs, argh::ArgsInfo)]
        $(#[$of_struct])*
        #[argh(
            subcommand,
            note = "Options win over the environment (PGSTREAM_POSTGRES_LISTENER_URL and others), and that over the file.",
            note = "Takes the options of `pgstream --help` as well."
        )]
        $visibility struct $name {
            /// URL of the database whose changes are streamed; also --postgres-url
            #[argh(option, arg_name = "url")]
            pgurl: Option<$crate::config::Secret>,
            /// name of the replication slot; the default is pgstream_<dbname>_slot
            #[argh(option, arg_name = "name")]
            replication_slot: Option<String>,
            /// URL of the database of the subscriptions; the default is --pgurl
            #[argh(option, arg_name = "url")]
            store_url: Option<$crate::config::Secret>,
            /// file to read the configuration from: YAML if its name ends in .yaml or .yml, else KEY=VALUE lines
            #[argh(option, short = 'c', arg_name = "file")]
            config: Option<String>,
            $($(#[$of_field])* $field: $type$(<$of>)?,)*
        }

        impl $name {
            fn sources(&self) -> $crate::config::Sources {
                $crate::cli::database::DatabaseOptions {
                    pgurl: &self.pgurl,
                    replication_slot: &self.replication_slot,
                    store_url: &self.store_url,
                    config: &self.config,
                }
                .sources()
            }
        }
    };
}

pub(super) use database_command;

use crate::config::{FlagValue, Secret, Sources, keys};

/// The options of one command line; argh wants them written out in each command.
pub(super) struct DatabaseOptions<'a> {
    pub(super) pgurl: &'a Option<Secret>,
    pub(super) replication_slot: &'a Option<String>,
    pub(super) store_url: &'a Option<Secret>,
    pub(super) config: &'a Option<String>,
}

impl DatabaseOptions<'_> {
    /// Where the configuration comes from: these options, the environment, and the file that they name.
    pub(super) fn sources(&self) -> Sources {
        let url = |url: &Option<Secret>| url.as_ref().map(|url| url.expose().to_owned());
        let flags = [
            ("--pgurl", &keys::LISTENER_URL, url(self.pgurl)),
            (
                "--replication-slot",
                &keys::SLOT_NAME,
                self.replication_slot.clone(),
            ),
            ("--store-url", &keys::STORE_URL, url(self.store_url)),
        ];
        let flags = flags.into_iter().filter_map(|(flag, key, value)| {
            Some(FlagValue {
                flag,
                key,
                value: value?,
            })
        });
        Sources {
            flags: flags.collect(),
            file: self.config.as_ref().map(Into::into),
            ..Sources::from_environment()
        }
    }
}
