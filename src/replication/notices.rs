//! Warnings that the server sends inside the stream.
//!
//! wal2json drops an UPDATE or DELETE of a table without replica identity and says so in a notice for each of them: an
//! operator has to hear of it once, not eighty thousand times.

use std::collections::HashSet;

use pgstream_proto::backend::ErrorFields;
use slog::{Logger, debug, warn};

use super::ServerError;

/// How many different notices are remembered; beyond that, further ones are only logged at debug level.
const MAX_REMEMBERED: usize = 1_000;

/// Logs each notice once.
#[derive(Debug)]
pub(super) struct Notices {
    seen: HashSet<String>,
    log: Logger,
}

impl Notices {
    pub(super) fn new(log: Logger) -> Self {
        Self {
            seen: HashSet::new(),
            log,
        }
    }

    /// A notice arrived.
    pub(super) fn notice(&mut self, fields: &ErrorFields) {
        let notice = ServerError::from(fields);
        let is_new = self.seen.len() < MAX_REMEMBERED && self.seen.insert(notice.message.clone());
        if !is_new {
            debug!(self.log, "PostgreSQL sent a notice again"; "notice" => &notice.message);
        } else if notice.message.contains("no tuple identifier") {
            warn!(self.log, "PostgreSQL does not report changes of a table: it has no replica identity; \
                give it a primary key, or run ALTER TABLE … REPLICA IDENTITY FULL"; "notice" => &notice.message);
        } else {
            warn!(self.log, "PostgreSQL sent a notice within the stream"; "notice" => %notice);
        }
    }
}
