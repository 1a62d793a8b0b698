//! Any JSON value: where it ends, and that it is valid all the way there.

use super::cursor::{Cursor, Span};
use super::{MAX_DEPTH, ParseError, Problem};

/// The arrays and objects within a value around the current position, the innermost in the lowest bit: set for
/// an object.
#[derive(Default)]
struct Nesting {
    objects: u64,
    depth: usize,
}

const _: () = assert!(MAX_DEPTH <= u64::BITS as usize, "a level of nesting is a bit");

impl Nesting {
    fn enter(&mut self, object: bool) {
        self.objects = self.objects << 1 | u64::from(object);
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

impl Cursor<'_> {
    /// Reads the value that stands here, whatever it is, and returns its span.
    ///
    /// Like [`string`](Self::string), it leaves UTF-8 to its caller.
    pub(super) fn value(&mut self) -> Result<Span, ParseError> {
        let start = self.position();
        match self.peek() {
            Some(b'{' | b'[') => self.nested_value()?,
            _ => self.scalar()?,
        }
        Ok(self.span_from(start))
    }

    fn scalar(&mut self) -> Result<(), ParseError> {
        let known = match self.peek() {
            Some(b'"') => return self.string("a string").map(|_| ()),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            Some(b't') => self.eat_word(b"true"),
            Some(b'f') => self.eat_word(b"false"),
            Some(b'n') => self.eat_word(b"null"),
            _ => false,
        };
        if known {
            Ok(())
        } else {
            Err(self.expected("a JSON value"))
        }
    }

    /// Reads a number (RFC 8259, section 6). Its size does not matter: it stays text.
    fn number(&mut self) -> Result<(), ParseError> {
        self.eat(b'-');
        // A leading zero stands alone: a digit behind it is found where a comma or an end is expected.
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// Reads one digit or more.
    fn digits(&mut self) -> Result<(), ParseError> {
        let count = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.advance(count);
        Ok(())
    }

    /// Reads the array or object that stands here. A loop over a bounded stack of bits, not recursion: the peer
    /// decides how deep it nests.
    fn nested_value(&mut self) -> Result<(), ParseError> {
        let mut nesting = Nesting::default();
        loop {
            let ended = match self.peek() {
                Some(opening @ (b'{' | b'[')) => self.open(opening == b'{', &mut nesting)?,
                _ => {
                    self.scalar()?;
                    true
                }
            };
            if ended && self.close(&mut nesting)? {
                return Ok(());
            }
        }
    }

    /// Enters an array or object, up to its first value. Returns true if it ended at once, being empty.
    fn open(&mut self, object: bool, nesting: &mut Nesting) -> Result<bool, ParseError> {
        if self.depth() + nesting.depth >= MAX_DEPTH {
            return Err(ParseError::new(self.position(), Problem::TooDeep));
        }
        self.advance(1);
        self.skip_white_space();
        if self.eat(if object { b'}' } else { b']' }) {
            return Ok(true);
        }
        nesting.enter(object);
        if object {
            self.member_key()?;
        }
        Ok(false)
    }

    /// Behind a value: leaves what ends here, up to the next value. Returns true when the outermost has ended.
    fn close(&mut self, nesting: &mut Nesting) -> Result<bool, ParseError> {
        while nesting.depth > 0 {
            self.skip_white_space();
            if self.eat(b',') {
                self.skip_white_space();
                if nesting.in_object() {
                    self.member_key()?;
                }
                return Ok(false);
            }
            let (closing, expected) = if nesting.in_object() {
                (b'}', "a comma or the end of an object")
            } else {
                (b']', "a comma or the end of an array")
            };
            if !self.eat(closing) {
                return Err(self.expected(expected));
            }
            nesting.leave();
        }
        Ok(true)
    }
}
