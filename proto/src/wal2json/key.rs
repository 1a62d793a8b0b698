//! The keys of a record.

use super::cursor::{Cursor, Span};
use super::{ParseError, Problem};

/// The keys that wal2json gives a record and that mean something to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Action,
    Xid,
    Timestamp,
    Origin,
    Lsn,
    NextLsn,
    Schema,
    Table,
    Columns,
    Identity,
    Pk,
    Transactional,
    Prefix,
    Content,
}

impl Key {
    fn from_text(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"action" => Self::Action,
            b"xid" => Self::Xid,
            b"timestamp" => Self::Timestamp,
            b"origin" => Self::Origin,
            b"lsn" => Self::Lsn,
            b"nextlsn" => Self::NextLsn,
            b"schema" => Self::Schema,
            b"table" => Self::Table,
            b"columns" => Self::Columns,
            b"identity" => Self::Identity,
            b"pk" => Self::Pk,
            b"transactional" => Self::Transactional,
            b"prefix" => Self::Prefix,
            b"content" => Self::Content,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Xid => "xid",
            Self::Timestamp => "timestamp",
            Self::Origin => "origin",
            Self::Lsn => "lsn",
            Self::NextLsn => "nextlsn",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::Columns => "columns",
            Self::Identity => "identity",
            Self::Pk => "pk",
            Self::Transactional => "transactional",
            Self::Prefix => "prefix",
            Self::Content => "content",
        }
    }
}

/// The keys a record has had so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SeenKeys(u16);

impl SeenKeys {
    pub(super) fn has(self, key: Key) -> bool {
        self.0 & 1 << key as u16 != 0
    }

    /// Recognises and notes the key at `span`; `None` if it is unknown.
    pub(super) fn note(&mut self, cursor: &Cursor<'_>, span: Span) -> Result<Option<Key>, ParseError> {
        let key = recognise(cursor, span, Key::from_text)?;
        if let Some(key) = key {
            if self.has(key) {
                return Err(ParseError::new(span.start(), Problem::DuplicateKey(key.name())));
            }
            self.0 |= 1 << key as u16;
        }
        Ok(key)
    }
}

/// Applies `known` to the text of the key at `span`, which may be written with escapes.
pub(super) fn recognise<K>(
    cursor: &Cursor<'_>,
    span: Span,
    known: impl Fn(&[u8]) -> Option<K>,
) -> Result<Option<K>, ParseError> {
    let quoted = cursor.bytes(span);
    let text = &quoted[1..quoted.len() - 1];
    if let Some(key) = known(text) {
        return Ok(Some(key));
    }
    if !text.contains(&b'\\') {
        return Ok(None);
    }
    Ok(known(cursor.json_str(span)?.unescape().as_bytes()))
}
