//! The lists of columns in a record: `columns`, `identity` and `pk`.

use std::fmt;

use super::cursor::{Cursor, Span};
use super::key::recognise;
use super::{JsonStr, MAX_COLUMNS, ParseError, Problem};

/// Where the parts of a column stand in a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnSpans {
    pub(super) name: Span,
    pub(super) type_name: Span,
    pub(super) value: Span,
}

/// What stands before a column's name, its type and its value as wal2json prints them.
pub(super) const BEFORE_NAME: &str = r#""name":"#;
/// See [`BEFORE_NAME`].
pub(super) const BEFORE_TYPE: &str = r#","type":"#;
/// See [`BEFORE_NAME`].
pub(super) const BEFORE_VALUE: &str = r#","value":"#;

impl ColumnSpans {
    /// The column from its first key to the end of its value, if nothing but these keys stands in between, in this order.
    fn printed(self, record: &str) -> Option<&str> {
        let start = self.name.start().checked_sub(BEFORE_NAME.len())?;
        let is_dense = self.name.end() + BEFORE_TYPE.len() == self.type_name.start()
            && self.type_name.end() + BEFORE_VALUE.len() == self.value.start();
        let printed = record.get(start..self.value.end()).filter(|_| is_dense)?;
        // The gaps between the parts hold a comma, a key and a colon at least, so these lengths leave room for no other key;
        // before the name there may be anything.
        printed.starts_with(BEFORE_NAME).then_some(printed)
    }
}

/// Where the parts of a key column stand in a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyColumnSpans {
    pub(super) name: Span,
    pub(super) type_name: Span,
}

/// A column of a row. Its parts are looked up when they are asked for.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    record: &'a str,
    spans: &'a ColumnSpans,
}

impl<'a> Column<'a> {
    /// Its name.
    #[inline]
    pub fn name(&self) -> JsonStr<'a> {
        JsonStr::from_scanned(self.spans.name.text(self.record))
    }

    /// Its type as `format_type` writes it, with its modifiers: `numeric(10,2)`.
    #[inline]
    pub fn type_name(&self) -> JsonStr<'a> {
        JsonStr::from_scanned(self.spans.type_name.text(self.record))
    }

    /// Its value: the JSON text as it stands, such as `12.50`, `"a\"b"`, `true` or `null`.
    #[inline]
    pub fn value(&self) -> &'a str {
        self.spans.value.text(self.record)
    }

    /// All of it as wal2json prints it, where it stands in the record just so: `"name":…,"type":…,"value":…`.
    #[inline]
    pub fn printed(&self) -> Option<&'a str> {
        self.spans.printed(self.record)
    }
}

impl fmt::Debug for Column<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column")
            .field("name", &self.name())
            .field("type_name", &self.type_name())
            .field("value", &self.value())
            .finish()
    }
}

/// A column of the primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyColumn<'a> {
    /// Its name.
    pub name: JsonStr<'a>,
    /// Its type as `format_type` writes it.
    pub type_name: JsonStr<'a>,
}

/// The columns of a row, in the table's order.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    record: &'a str,
    spans: &'a [ColumnSpans],
}

/// The columns of the primary key, in the table's order; empty for a table without one.
#[derive(Clone, Copy)]
pub struct KeyColumns<'a> {
    record: &'a str,
    spans: &'a [KeyColumnSpans],
}

impl<'a> Columns<'a> {
    /// `spans` were read from `record`.
    pub(super) fn new(record: &'a str, spans: &'a [ColumnSpans]) -> Self {
        Self { record, spans }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Column<'a>> + use<'a> {
        let record = self.record;
        self.spans.iter().map(move |spans| Column { record, spans })
    }

    /// The column with this name, given unescaped.
    pub fn get(&self, name: &str) -> Option<Column<'a>> {
        self.iter().find(|column| column.name().is(name))
    }
}

impl<'a> KeyColumns<'a> {
    /// `spans` were read from `record`.
    pub(super) fn new(record: &'a str, spans: &'a [KeyColumnSpans]) -> Self {
        Self { record, spans }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none: the table has no primary key.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = KeyColumn<'a>> + use<'a> {
        let record = self.record;
        self.spans.iter().map(move |spans| KeyColumn {
            name: JsonStr::from_scanned(spans.name.text(record)),
            type_name: JsonStr::from_scanned(spans.type_name.text(record)),
        })
    }

    /// The key column with this name, given unescaped.
    pub fn get(&self, name: &str) -> Option<KeyColumn<'a>> {
        self.iter().find(|column| column.name.is(name))
    }
}

impl fmt::Debug for Columns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for KeyColumns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The keys of a column's object.
#[derive(Clone, Copy)]
enum Part {
    Name,
    Type,
    Value,
}

impl Part {
    fn from_text(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"name" => Self::Name,
            b"type" => Self::Type,
            b"value" => Self::Value,
            _ => return None,
        })
    }
}

/// What a column's object has, and where the object ends.
struct Parts {
    name: Option<Span>,
    type_name: Option<Span>,
    value: Option<Span>,
    end: usize,
}

impl Parts {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let mut parts = Self {
            name: None,
            type_name: None,
            value: None,
            end: 0,
        };
        let mut members = cursor.enter_object("the object of a column")?;
        while let Some(key) = cursor.next_member(&mut members)? {
            let (slot, name, span) = match recognise(cursor, key, Part::from_text)? {
                Some(Part::Name) => (&mut parts.name, "name", cursor.string("a column's name")?),
                Some(Part::Type) => (&mut parts.type_name, "type", cursor.string("a column's type")?),
                Some(Part::Value) => (&mut parts.value, "value", cursor.value()?),
                None => {
                    cursor.value()?;
                    continue;
                }
            };
            if slot.replace(span).is_some() {
                return Err(ParseError::new(key.start(), Problem::DuplicateKey(name)));
            }
        }
        parts.end = cursor.position();
        Ok(parts)
    }

    fn require(&self, span: Option<Span>, key: &'static str) -> Result<Span, ParseError> {
        span.ok_or(ParseError::new(self.end, Problem::IncompleteColumn(key)))
    }

    fn into_column(self) -> Result<ColumnSpans, ParseError> {
        Ok(ColumnSpans {
            name: self.require(self.name, "name")?,
            type_name: self.require(self.type_name, "type")?,
            value: self.require(self.value, "value")?,
        })
    }

    fn into_key_column(self) -> Result<KeyColumnSpans, ParseError> {
        Ok(KeyColumnSpans {
            name: self.require(self.name, "name")?,
            type_name: self.require(self.type_name, "type")?,
        })
    }
}

/// Reads `columns` or `identity` into `spans`. Returns false for `null`.
pub(super) fn read_columns(
    cursor: &mut Cursor<'_>,
    spans: &mut Vec<ColumnSpans>,
) -> Result<bool, ParseError> {
    read_list(cursor, spans, Parts::into_column)
}

/// Reads `pk` into `spans`. Returns false for `null`.
pub(super) fn read_key_columns(
    cursor: &mut Cursor<'_>,
    spans: &mut Vec<KeyColumnSpans>,
) -> Result<bool, ParseError> {
    read_list(cursor, spans, Parts::into_key_column)
}

fn read_list<S>(
    cursor: &mut Cursor<'_>,
    spans: &mut Vec<S>,
    complete: impl Fn(Parts) -> Result<S, ParseError>,
) -> Result<bool, ParseError> {
    spans.clear();
    if cursor.eat_word(b"null") {
        return Ok(false);
    }
    let mut elements = cursor.enter_array("an array of columns or null")?;
    while cursor.next_element(&mut elements)? {
        if spans.len() == MAX_COLUMNS {
            return Err(ParseError::new(cursor.position(), Problem::TooManyColumns));
        }
        spans.push(complete(Parts::read(cursor)?)?);
    }
    Ok(true)
}
