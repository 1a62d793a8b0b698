//! The stable id of an event.
//!
//! # The invariant
//!
//! Two different changes have different ids, and one change has the same id whenever it is read again: after a
//! restart, with other subscriptions, with other tables filtered out by the plugin.
//!
//! The change LSN alone is not enough: all rows of one COPY share it, and so do the tables of one TRUNCATE. A count
//! over the transaction would shift with a filter. So the id counts the earlier records *with that LSN and that
//! table*, matched or not; they follow each other directly, since one WAL record makes them all.

use std::fmt::Write;

use pgstream_proto::Lsn;
use xxhash_rust::xxh3::Xxh3;

/// Where changes come from: one database cluster, in one line of its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The system identifier that `IDENTIFY_SYSTEM` reports.
    pub system_identifier: u64,
    /// Raised when the history of the source was broken: a gap accepted, a timeline diverged.
    pub epoch: u32,
}

/// What an event is made of. A message and a change of one record of the WAL never share an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// A change of a table.
    Change,
    /// A logical message.
    Message,
}

impl IdKind {
    const fn letter(self) -> char {
        match self {
            Self::Change => 'c',
            Self::Message => 'm',
        }
    }
}

/// The room an id takes at most: 20 + 10 + 1 + 16 + 16 + 16 + 10 characters and the dashes between them.
const MAX_ID_LEN: usize = 95;

impl Source {
    /// The `webhook-id` of a change of a table within a transaction, or of a message, whose prefix stands for the table:
    /// `<system identifier>-<epoch>-<kind>-<commit LSN>-<change LSN>-<hash of schema and table>-<occurrence>`,
    /// the LSNs as one hexadecimal number.
    #[must_use]
    pub fn id(&self, kind: IdKind, commit_lsn: Lsn, lsn: Lsn, table_hash: u64, occurrence: u32) -> String {
        let mut id = String::with_capacity(MAX_ID_LEN);
        write!(
            id,
            "{}-{}-{}-{:X}-{:X}-{table_hash:016x}-{occurrence}",
            self.system_identifier,
            self.epoch,
            kind.letter(),
            commit_lsn.as_u64(),
            lsn.as_u64()
        )
        .expect("writing to a string cannot fail");
        id
    }

    /// The id of a record that could not be read, of the transaction with this commit LSN:
    /// `<system identifier>-<epoch>-r-<commit LSN>-<position of the record>-<occurrence>`.
    #[must_use]
    pub fn raw_id(&self, commit_lsn: Lsn, wal_start: Lsn, occurrence: u32) -> String {
        format!(
            "{}-{}-r-{:X}-{:X}-{occurrence}",
            self.system_identifier,
            self.epoch,
            commit_lsn.as_u64(),
            wal_start.as_u64()
        )
    }
}

impl Source {
    /// The id of what was skipped on purpose: `<system identifier>-<epoch>-g-<from>-<to>`.
    #[must_use]
    pub fn skipped_id(&self, from: Lsn, to: Lsn) -> String {
        format!(
            "{}-{}-g-{:X}-{:X}",
            self.system_identifier,
            self.epoch,
            from.as_u64(),
            to.as_u64()
        )
    }

    /// The id of a version of a row that a snapshot shows:
    /// `<system identifier>-<epoch>-s-<run>-<OID of the table>-<its file>-<xmin>-<page>-<line pointer>`.
    ///
    /// A version that is read again in the same run has the same id, as long as the table is not written anew (VACUUM FULL);
    /// another version of the row has another one.
    #[must_use]
    pub fn row_id(&self, run: i64, (oid, filenode): (u32, u64), version: RowVersion<'_>) -> String {
        let RowVersion { xmin, page, line } = version;
        format!(
            "{}-{}-s-{run}-{oid}-{filenode}-{xmin}-{page}-{line}",
            self.system_identifier, self.epoch
        )
    }
}

/// A version of a row: the transaction that has written it, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowVersion<'a> {
    /// Its `xmin`.
    pub xmin: &'a str,
    /// The page in its `ctid`.
    pub page: &'a str,
    /// The line pointer there.
    pub line: &'a str,
}

impl<'a> RowVersion<'a> {
    /// Reads `ctid`, which is printed as `(page,line)`, and `xmin`. None if they are anything else.
    #[must_use]
    pub fn read(ctid: &'a str, xmin: &'a str) -> Option<Self> {
        let (page, line) = ctid.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        [xmin, page, line]
            .into_iter()
            .all(is_number)
            .then_some(Self { xmin, page, line })
    }
}

/// The hash of a table's name in ids: XXH3 (64 bits) of schema, a zero byte, and table.
#[must_use]
pub fn table_hash(schema: &str, table: &str) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(schema.as_bytes());
    hash.update(&[0]);
    hash.update(table.as_bytes());
    hash.digest()
}

/// Counts the records with the same LSN and table, within one transaction.
#[derive(Debug, Default)]
pub struct Occurrences {
    lsn: Lsn,
    /// The tables seen at `lsn`. One, but for a TRUNCATE of several.
    seen: Vec<(u64, u32)>,
}

impl Occurrences {
    /// How many records with this LSN and table came before this one.
    pub fn next(&mut self, lsn: Lsn, table_hash: u64) -> u32 {
        if lsn != self.lsn {
            self.lsn = lsn;
            self.seen.clear();
        }
        if let Some((_, count)) = self.seen.iter_mut().find(|(table, _)| *table == table_hash) {
            *count += 1;
            return *count;
        }
        self.seen.push((table_hash, 0));
        0
    }

    /// A new transaction begins.
    pub fn reset(&mut self) {
        self.lsn = Lsn::ZERO;
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_lsn_and_table() {
        let mut occurrences = Occurrences::default();
        let (a, b) = (table_hash("public", "a"), table_hash("public", "b"));
        let counted: Vec<u32> = [(1, a), (1, a), (1, b), (1, a), (2, a), (2, b), (2, b)]
            .map(|(lsn, table)| occurrences.next(Lsn::new(lsn), table))
            .to_vec();
        assert_eq!(counted, [0, 1, 0, 2, 0, 0, 1]);
    }

    #[test]
    fn a_row_version_has_an_id_of_its_own() {
        let source = Source {
            system_identifier: 7,
            epoch: 1,
        };
        let version = RowVersion::read("(12,3)", "4567").unwrap();
        assert_eq!(
            source.row_id(5, (16_384, 16_390), version),
            "7-1-s-5-16384-16390-4567-12-3"
        );
        for (ctid, xmin) in [
            ("12,3", "1"),
            ("(12,)", "1"),
            ("(1,2)", ""),
            ("(a,2)", "1"),
            ("(1,2,3)", "1"),
        ] {
            assert_eq!(RowVersion::read(ctid, xmin), None, "{ctid} {xmin}");
        }
    }

    #[test]
    fn tables_whose_names_run_together_differ() {
        assert_ne!(table_hash("ab", "c"), table_hash("a", "bc"));
    }

    #[test]
    fn an_id_has_its_documented_form_and_fits() {
        let source = Source {
            system_identifier: 7_481_234_567_890_123_456,
            epoch: 1,
        };
        let id = source.id(
            IdKind::Change,
            Lsn::new(0x015A_5DE8),
            Lsn::new(0x015A_5C70),
            table_hash("public", "test"),
            2,
        );
        let hash = format!("{:016x}", table_hash("public", "test"));
        assert_eq!(id, format!("7481234567890123456-1-c-15A5DE8-15A5C70-{hash}-2"));
        let longest = Source {
            system_identifier: u64::MAX,
            epoch: u32::MAX,
        };
        assert_eq!(
            longest
                .id(
                    IdKind::Message,
                    Lsn::new(u64::MAX),
                    Lsn::new(u64::MAX),
                    0,
                    u32::MAX
                )
                .len(),
            MAX_ID_LEN
        );
    }
}
