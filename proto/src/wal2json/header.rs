//! The head of a record: who and what it is about, without its columns.

use std::str::FromStr;

use super::cursor::Cursor;
use super::key::{Key, SeenKeys};
use super::{Action, JsonStr, ParseError, Problem};
use crate::Lsn;

/// What stands before the columns of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// What happened.
    pub action: Action,
    /// The transaction. None for a message outside of one, or without `include-xids`.
    pub xid: Option<u32>,
    /// When the transaction committed, as text in the session's time zone. None for a message outside of a
    /// transaction, or without `include-timestamp`.
    pub timestamp: Option<JsonStr<'a>>,
    /// Where the change lies in the WAL; for B and C, the LSN of the commit record; for a message outside of a
    /// transaction, the end of its record. Not unique: the rows of one COPY share it. None without `include-lsn`.
    pub lsn: Option<Lsn>,
    /// B and C: the end of the commit record, which is what may be confirmed. None without `include-lsn`.
    pub nextlsn: Option<Lsn>,
    /// I, U, D and T: the schema of the table, always there.
    pub schema: Option<JsonStr<'a>>,
    /// I, U, D and T: the table, always there.
    pub table: Option<JsonStr<'a>>,
    /// M: whether the message belongs to a transaction, always there.
    pub transactional: Option<bool>,
}

/// Reads the header of a record and leaves the rest unread.
///
/// It returns as soon as the action, `lsn`, and what the action adds to them are known: `schema` and `table` for
/// I, U, D and T, `nextlsn` for B and C, `transactional` for M. In wal2json's own key order that is before the
/// columns, or a message's content. In other orders, values in between are skipped by their structure.
///
/// Where [`Parser::parse`](super::Parser::parse) accepts the record, this returns the same header, except that
/// `xid` and `timestamp` are only known if they stand before the point where it returns, which is where wal2json
/// puts them. What lies behind that point is not checked.
///
/// # Errors
///
/// When what was read is no valid JSON, or the record ends without what its action needs.
pub fn header(record: &[u8]) -> Result<Header<'_>, ParseError> {
    let mut cursor = Cursor::new(record)?;
    let mut fields = HeaderFields::default();
    let mut members = cursor.enter_record()?;
    while let Some(key) = cursor.next_member(&mut members)? {
        match fields.seen.note(&cursor, key)? {
            Some(key) if fields.read(key, &mut cursor)? => {
                if fields.is_complete() {
                    return fields.finish(cursor.position());
                }
            }
            _ => {
                cursor.value()?;
            }
        }
    }
    cursor.finish()?;
    fields.finish(cursor.position())
}

/// The prefix of a logical message, read no further than it stands: who does not want the message need not read its
/// content, which may be anything.
///
/// # Errors
///
/// When what was read is no valid JSON.
pub fn message_prefix(record: &[u8]) -> Result<Option<JsonStr<'_>>, ParseError> {
    let mut cursor = Cursor::new(record)?;
    let mut seen = SeenKeys::default();
    let mut members = cursor.enter_record()?;
    while let Some(key) = cursor.next_member(&mut members)? {
        if seen.note(&cursor, key)? == Some(Key::Prefix) {
            return cursor.optional_string("a message's prefix or null");
        }
        cursor.value()?;
    }
    cursor.finish()?;
    Ok(None)
}

/// A header of which not all keys have been read yet.
#[derive(Default)]
pub(super) struct HeaderFields<'a> {
    pub(super) seen: SeenKeys,
    pub(super) action: Option<Action>,
    xid: Option<u32>,
    timestamp: Option<JsonStr<'a>>,
    lsn: Option<Lsn>,
    nextlsn: Option<Lsn>,
    schema: Option<JsonStr<'a>>,
    table: Option<JsonStr<'a>>,
    transactional: Option<bool>,
}

impl<'a> HeaderFields<'a> {
    /// Reads the value of `key`. Returns false, having read nothing, if the key is not the header's.
    pub(super) fn read(&mut self, key: Key, cursor: &mut Cursor<'a>) -> Result<bool, ParseError> {
        match key {
            Key::Action => self.action = Some(cursor.action()?),
            Key::Xid => self.xid = cursor.optional_number("a transaction id or null")?,
            Key::Timestamp => self.timestamp = cursor.optional_string("a timestamp or null")?,
            Key::Lsn => self.lsn = cursor.optional_lsn()?,
            Key::NextLsn => self.nextlsn = cursor.optional_lsn()?,
            Key::Schema => self.schema = cursor.optional_string("the name of a schema or null")?,
            Key::Table => self.table = cursor.optional_string("the name of a table or null")?,
            Key::Transactional => self.transactional = cursor.optional_bool()?,
            Key::Columns | Key::Identity | Key::Pk | Key::Origin | Key::Prefix | Key::Content => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether nothing that [`header`] promises is left to read.
    fn is_complete(&self) -> bool {
        let Some(action) = self.action else { return false };
        let seen = |key| self.seen.has(key);
        seen(Key::Lsn)
            && match action {
                Action::Insert | Action::Update | Action::Delete | Action::Truncate => {
                    seen(Key::Schema) && seen(Key::Table)
                }
                Action::Begin | Action::Commit => seen(Key::NextLsn),
                Action::Message => seen(Key::Transactional),
            }
    }

    /// The header, if it has what its action needs, and no more: where [`header`] stops must not decide whether
    /// keys that mean nothing to the action are seen. `end` is where reading stopped.
    pub(super) fn finish(self, end: usize) -> Result<Header<'a>, ParseError> {
        let action = self.action.ok_or(ParseError::new(end, Problem::MissingAction))?;
        let need = |there: bool, key| require(there, action, key, end);
        let Self {
            xid, timestamp, lsn, ..
        } = self;
        let bare = Header {
            action,
            xid,
            timestamp,
            lsn,
            nextlsn: None,
            schema: None,
            table: None,
            transactional: None,
        };
        match action {
            Action::Insert | Action::Update | Action::Delete | Action::Truncate => {
                need(self.schema.is_some(), "schema")?;
                need(self.table.is_some(), "table")?;
                Ok(Header {
                    schema: self.schema,
                    table: self.table,
                    ..bare
                })
            }
            Action::Begin | Action::Commit => Ok(Header {
                nextlsn: self.nextlsn,
                ..bare
            }),
            Action::Message => {
                need(self.transactional.is_some(), "transactional")?;
                Ok(Header {
                    transactional: self.transactional,
                    ..bare
                })
            }
        }
    }
}

/// The error that a record that ends at `end` lacks `key`, unless it is `there`.
pub(super) fn require(there: bool, action: Action, key: &'static str, end: usize) -> Result<(), ParseError> {
    if there {
        Ok(())
    } else {
        Err(ParseError::new(end, Problem::MissingKey { action, key }))
    }
}

/// The values that a record's own keys have.
impl<'a> Cursor<'a> {
    /// Reads the action's letter.
    fn action(&mut self) -> Result<Action, ParseError> {
        let span = self.string("an action's letter")?;
        Action::from_letter(&self.json_str(span)?.unescape()).ok_or(ParseError::new(
            span.start(),
            Problem::Expected("one of the actions B, C, I, U, D, T and M"),
        ))
    }

    /// Reads an unsigned number of 32 bits.
    pub(super) fn optional_number(&mut self, what: &'static str) -> Result<Option<u32>, ParseError> {
        if self.eat_word(b"null") {
            return Ok(None);
        }
        let span = self.value()?;
        let number = std::str::from_utf8(self.bytes(span))
            .ok()
            .and_then(|digits| digits.parse().ok());
        number
            .map(Some)
            .ok_or(ParseError::new(span.start(), Problem::Expected(what)))
    }

    /// Reads a string.
    pub(super) fn optional_string(&mut self, what: &'static str) -> Result<Option<JsonStr<'a>>, ParseError> {
        if self.eat_word(b"null") {
            return Ok(None);
        }
        let span = self.string(what)?;
        self.json_str(span).map(Some)
    }

    fn optional_lsn(&mut self) -> Result<Option<Lsn>, ParseError> {
        let start = self.position();
        let Some(text) = self.optional_string("an LSN or null")? else {
            return Ok(None);
        };
        match Lsn::from_str(&text.unescape()) {
            Ok(lsn) => Ok(Some(lsn)),
            Err(_) => Err(ParseError::new(
                start,
                Problem::Expected("an LSN such as 0/15A5C70"),
            )),
        }
    }

    fn optional_bool(&mut self) -> Result<Option<bool>, ParseError> {
        if self.eat_word(b"true") {
            Ok(Some(true))
        } else if self.eat_word(b"false") {
            Ok(Some(false))
        } else if self.eat_word(b"null") {
            Ok(None)
        } else {
            Err(self.expected("true, false or null"))
        }
    }
}
