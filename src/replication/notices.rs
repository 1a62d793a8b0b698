//! Warnings that the server sends inside the stream.
//!
//! wal2json drops an UPDATE or DELETE of a table without replica identity and says so in a notice for each of them: an
//! operator has to hear of it once, not eighty thousand times.

use std::collections::HashSet;

use pgstream_proto::backend::ErrorFields;
use slog::{Logger, debug, warn};

use super::{NoticeKind, ServerError};

/// How many different notices are remembered; beyond that, further ones are only logged at debug level.
const MAX_REMEMBERED: usize = 1_000;

/// How much of a notice, in characters, it is remembered by.
const MAX_SUBJECT: usize = 256;

/// How wal2json's notice of a change without an identity goes on after the kind of the change.
const IN_TABLE: &str = " in table ";

/// Logs each notice once, and those about changes without an identity once a table, whether UPDATE or DELETE.
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
    pub(super) fn notice(&mut self, fields: &ErrorFields) -> NoticeKind {
        let notice = ServerError::from(fields);
        let table = table_without_identity(&notice.message);
        let subject: String = table
            .unwrap_or(&notice.message)
            .chars()
            .take(MAX_SUBJECT)
            .collect();
        let is_new = self.seen.len() < MAX_REMEMBERED && self.seen.insert(subject);
        if !is_new {
            debug!(self.log, "PostgreSQL sent a notice again"; "notice" => &notice.message);
        } else if let Some(table) = table {
            warn!(self.log, "PostgreSQL does not report changes of a table, which has no replica identity: \
                `pgstream status` names the statement that mends it";
                "event" => "missing_replica_identity", "table" => table, "notice" => &notice.message);
        } else {
            warn!(self.log, "PostgreSQL sent a notice within the stream"; "notice" => %notice);
        }
        if table.is_some() {
            NoticeKind::MissingIdentity
        } else {
            NoticeKind::Other
        }
    }
}

/// The table of a notice like `no tuple identifier for UPDATE in table "public"."t"`.
fn table_without_identity(message: &str) -> Option<&str> {
    let change = message.strip_prefix("no tuple identifier for ")?;
    change.split_once(IN_TABLE).map(|(_, table)| table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_same_for_every_kind_of_change() {
        let table = r#""public"."kept in table x""#;
        for change in ["UPDATE", "DELETE"] {
            let message = format!("no tuple identifier for {change} in table {table}");
            assert_eq!(table_without_identity(&message), Some(table));
        }
        assert_eq!(
            table_without_identity("column \"a\" has an unchanged TOAST"),
            None
        );
    }
}
