//! The one place that turns a peer's bytes into integers, slices and strings.
//!
//! Every read is checked against what is left; an error names the message and the field. Slices share the read
//! buffer. Knows nothing of particular messages.

use crate::{DecodeError, Text};
use bytes::{Buf, Bytes};

/// A message's tag (one byte) and length word (four bytes).
pub(crate) const HEADER_LEN: usize = 5;

/// Reads tag and length word from the start of a buffer; `None` when they have not all arrived.
pub(crate) fn header(src: &[u8]) -> Option<(u8, i32)> {
    let (&[tag, a, b, c, d], _) = src.split_first_chunk::<HEADER_LEN>()?;
    Some((tag, i32::from_be_bytes([a, b, c, d])))
}

/// A checked cursor over the body of one message.
pub(crate) struct Reader {
    message: &'static str,
    rest: Bytes,
}

impl Reader {
    /// Starts at the beginning of `body`; `message` is its name in errors.
    pub(crate) fn new(message: &'static str, body: Bytes) -> Self {
        Reader { message, rest: body }
    }

    fn require(&self, field: &'static str, count: usize) -> Result<(), DecodeError> {
        if self.rest.len() < count {
            return Err(DecodeError::TooShort {
                message: self.message,
                field,
            });
        }
        Ok(())
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.require(field, 1)?;
        Ok(self.rest.get_u8())
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.require(field, 2)?;
        Ok(self.rest.get_i16())
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.require(field, 4)?;
        Ok(self.rest.get_i32())
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.require(field, 4)?;
        Ok(self.rest.get_u32())
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.require(field, 8)?;
        Ok(self.rest.get_i64())
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.require(field, 8)?;
        Ok(self.rest.get_u64())
    }

    /// A byte that means no (0) or yes (1).
    pub(crate) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.invalid(field, other)),
        }
    }

    /// A 16-bit number of elements to come, between 0 and `limit`.
    pub(crate) fn count16(&mut self, field: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let count = self.i16(field)?;
        self.checked_count(field, i32::from(count), limit)
    }

    /// A 32-bit number of elements to come, between 0 and `limit`.
    pub(crate) fn count32(&mut self, field: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let count = self.i32(field)?;
        self.checked_count(field, count, limit)
    }

    fn checked_count(&self, field: &'static str, count: i32, limit: usize) -> Result<usize, DecodeError> {
        match usize::try_from(count) {
            Ok(count) if count <= limit => Ok(count),
            Ok(_) => Err(self.too_many(field, limit)),
            Err(_) => Err(self.invalid(field, count)),
        }
    }

    /// A fixed number of bytes by value.
    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.require(field, N)?;
        let mut array = [0; N];
        self.rest.copy_to_slice(&mut array);
        Ok(array)
    }

    /// The next `count` bytes, as a slice of the read buffer.
    pub(crate) fn bytes(&mut self, field: &'static str, count: usize) -> Result<Bytes, DecodeError> {
        self.require(field, count)?;
        Ok(self.rest.split_to(count))
    }

    /// A string up to its terminating zero byte, which is consumed and not part of it.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<Text, DecodeError> {
        if self.rest.is_empty() {
            return Err(DecodeError::TooShort {
                message: self.message,
                field,
            });
        }
        let Some(end) = self.rest.iter().position(|&byte| byte == 0) else {
            return Err(DecodeError::Unterminated {
                message: self.message,
                field,
            });
        };
        let text = self.rest.split_to(end);
        self.rest.advance(1);
        Ok(Text::new(text))
    }

    /// Everything that is left, as a slice of the read buffer.
    pub(crate) fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes {
                message: self.message,
                count,
            }),
        }
    }

    /// The error for a field whose value the protocol does not define.
    pub(crate) fn invalid(&self, field: &'static str, value: impl Into<i64>) -> DecodeError {
        DecodeError::InvalidValue {
            message: self.message,
            field,
            value: value.into(),
        }
    }

    /// The error for more elements than a limit allows.
    pub(crate) fn too_many(&self, field: &'static str, limit: usize) -> DecodeError {
        DecodeError::TooMany {
            message: self.message,
            field,
            limit,
        }
    }
}
