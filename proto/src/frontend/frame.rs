//! The frame around a message of ours: tag, length word, and the rule that a failure leaves nothing behind.

use super::tag::Tag;
use crate::{EncodeError, limits};
use bytes::{BufMut, BytesMut};

/// Writes one message: the tag if it has one, the length word, and what `write` appends.
pub(super) fn frame(
    message: &'static str,
    tag: impl Into<Option<Tag>>,
    dst: &mut BytesMut,
    write: impl FnOnce(&mut Body<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = dst.len();
    if let Some(tag) = tag.into() {
        dst.put_u8(tag as u8);
    }
    let length_word = dst.len();
    dst.put_i32(0);
    let written = write(&mut Body { message, dst }).and_then(|()| length(message, dst.len() - length_word));
    match written {
        Ok(length) => {
            dst[length_word..length_word + 4].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            dst.truncate(start);
            Err(error)
        }
    }
}

fn length(message: &'static str, length: usize) -> Result<i32, EncodeError> {
    let limit = limits::MAX_FRONTEND_LEN;
    match i32::try_from(length) {
        Ok(word) if length <= limit => Ok(word),
        _ => Err(EncodeError::TooLong {
            message,
            length,
            limit,
        }),
    }
}

/// Appends the fields of a body.
pub(super) struct Body<'a> {
    message: &'static str,
    dst: &'a mut BytesMut,
}

impl Body<'_> {
    pub(super) fn i32(&mut self, value: i32) {
        self.dst.put_i32(value);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.dst.put_slice(bytes);
    }

    /// A string and its terminating zero byte.
    pub(super) fn text(&mut self, field: &'static str, text: &[u8]) -> Result<(), EncodeError> {
        if text.contains(&0) {
            return Err(EncodeError::ZeroByte {
                message: self.message,
                field,
            });
        }
        self.dst.put_slice(text);
        self.dst.put_u8(0);
        Ok(())
    }

    /// The zero byte that ends a list of strings.
    pub(super) fn end_of_list(&mut self) {
        self.dst.put_u8(0);
    }

    /// Bytes with their length before them.
    pub(super) fn counted(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.dst.put_i32(length(self.message, bytes.len())?);
        self.dst.put_slice(bytes);
        Ok(())
    }
}
