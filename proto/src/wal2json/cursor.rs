//! The one place that walks over the bytes of a record.

use super::escape;
use super::{JsonStr, ParseError, Problem};

/// A stretch of a record. 32 bits are enough: [`Cursor::new`] refuses longer records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From one position to another, both on a character boundary, if they can be told in four bytes.
    pub(super) fn between(start: usize, end: usize) -> Option<Self> {
        Some(Self {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    /// The text of this span in `record`, the record it was read from.
    ///
    /// A span begins and ends beside an ASCII byte that belongs to JSON's grammar, hence on a character
    /// boundary, and never passes the end of the record.
    pub(super) fn text(self, record: &str) -> &str {
        &record[self.start as usize..self.end as usize]
    }

    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    pub(super) fn end(self) -> usize {
        self.end as usize
    }
}

/// A checked position in a record.
pub(super) struct Cursor<'a> {
    record: &'a [u8],
    at: usize,
    groups: usize,
}

/// An array or object whose elements are being read.
pub(super) struct Group {
    closing: u8,
    separator: &'static str,
    first: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(record: &'a [u8]) -> Result<Self, ParseError> {
        if u32::try_from(record.len()).is_err() {
            return Err(ParseError::new(0, Problem::TooLong));
        }
        Ok(Self {
            record,
            at: 0,
            groups: 0,
        })
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.record.get(self.at).copied()
    }

    /// Everything from here on.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.record.get(self.at..).unwrap_or_default()
    }

    /// Moves over bytes that were looked at; the end of the record stays the last position.
    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes).min(self.record.len());
    }

    /// Moves over `byte` if it stands here.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Moves over `word` if it stands here.
    pub(super) fn eat_word(&mut self, word: &[u8]) -> bool {
        let here = self.rest().starts_with(word);
        if here {
            self.at += word.len();
        }
        here
    }

    #[inline]
    pub(super) fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// The error that `what` does not stand here.
    pub(super) fn expected(&self, what: &'static str) -> ParseError {
        let problem = match self.peek() {
            Some(_) => Problem::Expected(what),
            None => Problem::EndsBefore(what),
        };
        ParseError::new(self.at, problem)
    }

    /// What lies between `start`, an earlier position, and here.
    #[inline]
    pub(super) fn span_from(&self, start: usize) -> Span {
        // Neither cast can lose anything: `new` has bounded the length.
        Span {
            start: start as u32,
            end: self.at as u32,
        }
    }

    #[inline]
    pub(super) fn bytes(&self, span: Span) -> &'a [u8] {
        &self.record[span.start as usize..span.end as usize]
    }

    /// The string at a span that [`string`](Self::string) returned, checked to be UTF-8.
    pub(super) fn json_str(&self, span: Span) -> Result<JsonStr<'a>, ParseError> {
        match std::str::from_utf8(self.bytes(span)) {
            Ok(raw) => Ok(JsonStr::from_scanned(raw)),
            Err(error) => Err(ParseError::new(
                span.start() + error.valid_up_to(),
                Problem::NotUtf8,
            )),
        }
    }

    /// Reads a string and returns its span, quotes included.
    ///
    /// Checks all but UTF-8, which is cheaper over the whole record at once or over the few strings needed.
    #[inline]
    pub(super) fn string(&mut self, what: &'static str) -> Result<Span, ParseError> {
        let start = self.at;
        if !self.eat(b'"') {
            return Err(self.expected(what));
        }
        loop {
            self.advance(escape::plain_prefix(self.rest()));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(self.span_from(start));
                }
                Some(b'\\') => {
                    let length = escape::length(self.rest());
                    self.at += length.map_err(|problem| ParseError::new(self.at, problem))?;
                }
                Some(_) => return Err(ParseError::new(self.at, Problem::ControlCharacter)),
                None => return Err(self.expected("the end of a string")),
            }
        }
    }

    /// How many arrays and objects were entered and not left.
    pub(super) fn depth(&self) -> usize {
        self.groups
    }

    /// Enters the object that stands here.
    pub(super) fn enter_object(&mut self, what: &'static str) -> Result<Group, ParseError> {
        self.enter(b'{', b'}', "a comma or the end of an object", what)
    }

    /// Enters the array that stands here.
    pub(super) fn enter_array(&mut self, what: &'static str) -> Result<Group, ParseError> {
        self.enter(b'[', b']', "a comma or the end of an array", what)
    }

    fn enter(
        &mut self,
        opening: u8,
        closing: u8,
        separator: &'static str,
        what: &'static str,
    ) -> Result<Group, ParseError> {
        if !self.eat(opening) {
            return Err(self.expected(what));
        }
        self.groups += 1;
        Ok(Group {
            closing,
            separator,
            first: true,
        })
    }

    /// Moves to the next element of an array, or past its end and returns false.
    pub(super) fn next_element(&mut self, group: &mut Group) -> Result<bool, ParseError> {
        self.skip_white_space();
        let first = std::mem::replace(&mut group.first, false);
        if self.eat(group.closing) {
            // Never behind a comma: a key or value has been read since.
            self.groups -= 1;
            return Ok(false);
        }
        if !first {
            if !self.eat(b',') {
                return Err(self.expected(group.separator));
            }
            self.skip_white_space();
        }
        Ok(true)
    }

    /// Moves to the value of an object's next member and returns the span of its key, or moves past the end.
    pub(super) fn next_member(&mut self, group: &mut Group) -> Result<Option<Span>, ParseError> {
        if !self.next_element(group)? {
            return Ok(None);
        }
        self.member_key().map(Some)
    }

    /// Reads a key and the colon behind it, up to the value.
    pub(super) fn member_key(&mut self) -> Result<Span, ParseError> {
        let key = self.string("a key")?;
        self.skip_white_space();
        if !self.eat(b':') {
            return Err(self.expected("a colon"));
        }
        self.skip_white_space();
        Ok(key)
    }

    /// Checks that nothing but white space is left.
    pub(super) fn finish(&mut self) -> Result<(), ParseError> {
        self.skip_white_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end of the record")),
        }
    }
}
