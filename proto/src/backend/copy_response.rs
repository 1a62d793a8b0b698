//! CopyBothResponse and CopyOutResponse: copying begins. Their bodies are the same.

use super::Format;
use crate::reader::Reader;
use crate::{DecodeError, limits};

/// Copying in both directions begins, the answer to START_REPLICATION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyBothResponse {
    /// The format of the whole: text for replication, whatever the frames carry.
    pub format: Format,
    /// The format of each column; empty for replication.
    pub column_formats: Vec<Format>,
}

/// Copying to us begins, the answer to COPY TO STDOUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOutResponse {
    /// The format of the whole.
    pub format: Format,
    /// The format of each column.
    pub column_formats: Vec<Format>,
}

impl CopyBothResponse {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        let (format, column_formats) = formats(body)?;
        Ok(CopyBothResponse {
            format,
            column_formats,
        })
    }
}

impl CopyOutResponse {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        let (format, column_formats) = formats(body)?;
        Ok(CopyOutResponse {
            format,
            column_formats,
        })
    }
}

fn formats(body: &mut Reader) -> Result<(Format, Vec<Format>), DecodeError> {
    let code = body.u8("format")?;
    let format = Format::from_code(body, "format", i16::from(code))?;
    let count = body.count16("column_formats", limits::MAX_FIELDS)?;
    let column_formats = (0..count)
        .map(|_| Format::decode(body, "column_formats"))
        .collect::<Result<_, _>>()?;
    Ok((format, column_formats))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes_of_copy_both() {
        let message = decode_one(b"W\0\0\0\x07\0\0\0").unwrap();
        let expected = CopyBothResponse {
            format: Format::Text,
            column_formats: vec![],
        };
        assert_eq!(message, BackendMessage::CopyBothResponse(expected));
    }

    #[test]
    fn literal_bytes_of_copy_out() {
        let message = decode_one(b"H\0\0\0\x0b\0\0\x02\0\0\0\0").unwrap();
        let expected = CopyOutResponse {
            format: Format::Text,
            column_formats: vec![Format::Text; 2],
        };
        assert_eq!(message, BackendMessage::CopyOutResponse(expected));

        let message = decode_one(b"H\0\0\0\x09\x01\0\x01\0\x01").unwrap();
        let expected = CopyOutResponse {
            format: Format::Binary,
            column_formats: vec![Format::Binary],
        };
        assert_eq!(message, BackendMessage::CopyOutResponse(expected));
    }
}
