//! Framing: where a message begins and ends, and how much memory it may take.
//!
//! Owns the read buffer's growth. Must not know what is inside a body, nor anything of sockets.

use crate::backend::Tag;
use crate::reader::{self, HEADER_LEN};
use crate::{BackendMessage, DecodeError, EncodeError, FrontendMessage, limits};
use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// The length word counts itself.
const LENGTH_WORD: usize = 4;

/// Decodes what a server sends and encodes what we send.
///
/// Bodies are slices of the read buffer, never copies. A frame that has not all arrived is `Ok(None)`; room is
/// then made for at most [`limits::READ_CHUNK`] further bytes at a time, whatever length the frame declares, so
/// the buffer's size follows what has really been received.
///
/// Frame a socket with a capacity of [`limits::READ_CHUNK`], so that one read takes in many small messages.
#[derive(Debug, Clone)]
pub struct PgCodec {
    max_message_len: usize,
}

impl PgCodec {
    /// A codec that takes messages up to [`limits::MAX_MESSAGE_LEN`].
    pub const fn new() -> Self {
        PgCodec {
            max_message_len: limits::MAX_MESSAGE_LEN,
        }
    }

    /// Lowers the bound on messages that carry rows or records (CopyData, DataRow). All others have bounds of
    /// their own, see [`limits`].
    #[must_use]
    pub const fn with_max_message_len(mut self, max_message_len: usize) -> Self {
        self.max_message_len = max_message_len;
        self
    }

    /// Checks a length word and gives the length of the whole frame.
    fn frame_len(&self, tag: Tag, length: i32) -> Result<usize, DecodeError> {
        let message = tag.name();
        let limit = tag.limit().unwrap_or(self.max_message_len);
        match usize::try_from(length) {
            Ok(length) if length > limit => Err(DecodeError::TooLong {
                message,
                length,
                limit,
            }),
            Ok(length) if length >= LENGTH_WORD => Ok(HEADER_LEN - LENGTH_WORD + length),
            _ => Err(DecodeError::ImpossibleLength { message, length }),
        }
    }
}

impl Default for PgCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for PgCodec {
    type Item = BackendMessage;
    type Error = DecodeError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BackendMessage>, DecodeError> {
        let Some((tag, length)) = reader::header(src) else {
            src.reserve(HEADER_LEN - src.len());
            return Ok(None);
        };
        let tag = Tag::from_byte(tag).ok_or(DecodeError::UnknownMessage { tag })?;
        let frame_len = self.frame_len(tag, length)?;
        if src.len() < frame_len {
            src.reserve((frame_len - src.len()).min(limits::READ_CHUNK));
            return Ok(None);
        }
        let mut body = src.split_to(frame_len).freeze();
        body.advance(HEADER_LEN);
        BackendMessage::decode(tag, body).map(Some)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BackendMessage>, DecodeError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(DecodeError::ClosedWithinMessage { received: src.len() }),
            decoded => Ok(decoded),
        }
    }
}

impl Encoder<FrontendMessage> for PgCodec {
    type Error = EncodeError;

    /// Appends one message; on an error `dst` is as it was before.
    fn encode(&mut self, message: FrontendMessage, dst: &mut BytesMut) -> Result<(), EncodeError> {
        message.encode(dst)
    }
}

#[cfg(test)]
pub(crate) mod tests;
