//! What `pgstream check --json` prints: version 1. Members are only ever added.

use serde::Serialize;

use super::items::Items;
use crate::setup::findings::{DOCUMENT_VERSION, Finding, NotLookedAt, Verdict};
use crate::setup::status::document::{ConfigReport, Reach};
use crate::store::server::Server;

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Check {
    /// The version of this document.
    pub version: u32,
    /// `healthy`, `problems` or `unknown`: exit code 0, 1 or 2.
    pub status: Verdict,
    /// What is in the way of `init`, each with what mends it.
    pub problems: Vec<Finding>,
    /// What delays it, or is dangerous later.
    pub hints: Vec<Finding>,
    /// The parts that could not be looked at, and why.
    pub not_looked_at: Vec<NotLookedAt>,
    /// The configuration.
    pub config: ConfigReport,
    /// The database whose changes are to be streamed.
    pub source: CheckedSource,
    /// The database of the subscriptions.
    pub store: Reach,
    /// Every precondition, met or not.
    pub checks: Vec<Checked>,
}

impl Check {
    pub(super) fn without_targets(config: ConfigReport, problems: Vec<Finding>) -> Self {
        Self {
            version: DOCUMENT_VERSION,
            status: Verdict::Unknown,
            problems,
            hints: Vec::new(),
            not_looked_at: Vec::new(),
            config,
            source: CheckedSource::default(),
            store: Reach::default(),
            checks: [Items::SOURCE.told(None, None), Items::STORE.told(None, None)].concat(),
        }
    }
}

/// The database whose changes are to be streamed.
#[derive(Debug, Default, Serialize)]
pub struct CheckedSource {
    /// Whether it can be reached.
    #[serde(flatten)]
    pub reach: Reach,
    /// The server's version.
    pub server_version: Option<String>,
    /// The database.
    pub database: Option<String>,
    /// The role that asks.
    pub role: Option<String>,
    /// The encoding of the database.
    pub encoding: Option<String>,
    /// `max_slot_wal_keep_size` in bytes; `null` for any amount.
    pub max_slot_wal_keep_size: Option<u64>,
}

impl CheckedSource {
    pub(super) fn new(reach: Reach, server: Option<Server>) -> Self {
        let Some(server) = server else {
            return Self {
                reach,
                ..Self::default()
            };
        };
        Self {
            reach,
            server_version: Some(server.version),
            database: Some(server.database),
            role: Some(server.role),
            encoding: Some(server.encoding),
            max_slot_wal_keep_size: server.max_slot_wal_keep_size,
        }
    }
}

/// A precondition.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// `source` or `store`.
    pub database: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Whether it is met; `null` where that is not known.
    pub met: Option<bool>,
}
