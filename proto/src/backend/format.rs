//! The format code of values.

use crate::DecodeError;
use crate::reader::Reader;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As text (code 0).
    Text,
    /// In the type's own binary form (code 1).
    Binary,
}

impl Format {
    pub(super) fn from_code(body: &Reader, field: &'static str, code: i16) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => Err(body.invalid(field, other)),
        }
    }

    /// Reads a 16-bit format code.
    pub(super) fn decode(body: &mut Reader, field: &'static str) -> Result<Self, DecodeError> {
        let code = body.i16(field)?;
        Self::from_code(body, field, code)
    }
}
