//! The options that say which database and slot a command is about.

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
