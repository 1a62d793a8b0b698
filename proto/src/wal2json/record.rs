//! A whole record.

use super::columns::{ColumnSpans, Columns, KeyColumnSpans, KeyColumns, read_columns, read_key_columns};
use super::cursor::{Cursor, Group};
use super::header::{Header, HeaderFields, require};
use super::key::Key;
use super::{Action, JsonStr, ParseError, Problem};

/// A record, borrowed from its bytes and from the parser that read it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Who and what it is about.
    pub header: Header<'a>,
    /// I and U: the new row. An unchanged value stored out of line (TOAST) is absent.
    pub columns: Option<Columns<'a>>,
    /// U and D: the old row, as far as the table's replica identity goes.
    pub identity: Option<Columns<'a>>,
    /// The columns of the primary key. None without `include-pk`.
    pub pk: Option<KeyColumns<'a>>,
    /// M: the prefix by which messages are told apart.
    pub prefix: Option<JsonStr<'a>>,
    /// M: the message itself.
    pub content: Option<JsonStr<'a>>,
    /// The replication origin, 0 for a local change. None without `include-origin`.
    pub origin: Option<u32>,
}

/// Reads records one after another. It keeps the memory it notes columns in, so that once warm it allocates
/// nothing for a record or a column.
#[derive(Debug, Default)]
pub struct Parser {
    columns: Vec<ColumnSpans>,
    identity: Vec<ColumnSpans>,
    pk: Vec<KeyColumnSpans>,
}

impl Parser {
    /// A parser that has not read anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a whole record: one JSON object with nothing but white space around it.
    ///
    /// # Errors
    ///
    /// When the bytes are anything else, or lack what the action needs; the module's documentation lists the
    /// rules. The parser stays usable.
    pub fn parse<'a>(&'a mut self, record: &'a [u8]) -> Result<Record<'a>, ParseError> {
        let mut cursor = Cursor::new(record)?;
        let text = std::str::from_utf8(record)
            .map_err(|error| ParseError::new(error.valid_up_to(), Problem::NotUtf8))?;
        let mut fields = RecordFields::default();
        let mut members = cursor.enter_record()?;
        while let Some(key) = cursor.next_member(&mut members)? {
            match fields.header.seen.note(&cursor, key)? {
                Some(Key::Columns) => fields.has_columns = read_columns(&mut cursor, &mut self.columns)?,
                Some(Key::Identity) => fields.has_identity = read_columns(&mut cursor, &mut self.identity)?,
                Some(Key::Pk) => fields.has_pk = read_key_columns(&mut cursor, &mut self.pk)?,
                Some(Key::Prefix) => fields.prefix = cursor.optional_string("a message's prefix or null")?,
                Some(Key::Content) => {
                    fields.content = cursor.optional_string("a message's content or null")?;
                }
                Some(Key::Origin) => {
                    fields.origin = cursor.optional_number("a replication origin or null")?;
                }
                Some(key) if fields.header.read(key, &mut cursor)? => {}
                _ => {
                    cursor.value()?;
                }
            }
        }
        let end = cursor.position();
        cursor.finish()?;
        fields.check(end)?;
        Ok(Record {
            columns: fields.has_columns.then(|| Columns::new(text, &self.columns)),
            identity: fields.has_identity.then(|| Columns::new(text, &self.identity)),
            pk: fields.has_pk.then(|| KeyColumns::new(text, &self.pk)),
            prefix: fields.prefix,
            content: fields.content,
            origin: fields.origin,
            header: fields.header.finish(end)?,
        })
    }
}

/// A record of which not all keys have been read yet. Its columns are in the parser.
#[derive(Default)]
struct RecordFields<'a> {
    header: HeaderFields<'a>,
    has_columns: bool,
    has_identity: bool,
    has_pk: bool,
    prefix: Option<JsonStr<'a>>,
    content: Option<JsonStr<'a>>,
    origin: Option<u32>,
}

impl RecordFields<'_> {
    /// Checks that what the action needs beyond its header is there. `end` is where the record ends.
    fn check(&self, end: usize) -> Result<(), ParseError> {
        let Some(action) = self.header.action else {
            return Err(ParseError::new(end, Problem::MissingAction));
        };
        let need = |there: bool, key| require(there, action, key, end);
        match action {
            Action::Insert | Action::Update => need(self.has_columns, "columns"),
            Action::Delete => need(self.has_identity, "identity"),
            Action::Message => {
                need(self.prefix.is_some(), "prefix")?;
                need(self.content.is_some(), "content")
            }
            Action::Begin | Action::Commit | Action::Truncate => Ok(()),
        }
    }
}

impl Cursor<'_> {
    /// Enters the object that a record is.
    pub(super) fn enter_record(&mut self) -> Result<Group, ParseError> {
        self.skip_white_space();
        self.enter_object("the object of a record")
    }
}
