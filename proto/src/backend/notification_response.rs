//! NotificationResponse: somebody called NOTIFY.

use crate::reader::Reader;
use crate::{DecodeError, Text};

/// A NOTIFY on a channel that we listen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationResponse {
    /// The PID of the server process that called NOTIFY.
    pub process_id: i32,
    /// The channel.
    pub channel: Text,
    /// What was passed along; empty when nothing was.
    pub payload: Text,
}

impl NotificationResponse {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        Ok(NotificationResponse {
            process_id: body.i32("process_id")?,
            channel: body.text("channel")?,
            payload: body.text("payload")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes() {
        let message = decode_one(b"A\0\0\0\x13\0\x006\x5broom\0hello\0").unwrap();
        let expected = NotificationResponse {
            process_id: 13915,
            channel: "room".into(),
            payload: "hello".into(),
        };
        assert_eq!(message, BackendMessage::NotificationResponse(expected));
    }
}
