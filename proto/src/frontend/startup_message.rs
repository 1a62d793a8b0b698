//! StartupMessage: the first message of a connection.

use super::frame::frame;
use crate::{EncodeError, limits};
use bytes::BytesMut;

/// Protocol version 3.0.
const PROTOCOL_VERSION: i32 = 3 << 16;

/// The length word, which counts itself; there is no tag.
const LENGTH_WORD: usize = 4;

/// Asks for a connection, protocol version 3.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupMessage {
    /// Names and values: `user` is required; `database`, `replication`, `options` and any run-time parameter may
    /// follow. Sent in this order.
    pub parameters: Vec<(String, String)>,
}

impl StartupMessage {
    pub(super) fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let message = "StartupMessage";
        let pairs: usize = self
            .parameters
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        let (length, limit) = (LENGTH_WORD + 4 + pairs + 1, limits::MAX_STARTUP_LEN);
        if length > limit {
            return Err(EncodeError::TooLong {
                message,
                length,
                limit,
            });
        }
        frame(message, None, dst, |body| {
            body.i32(PROTOCOL_VERSION);
            for (name, value) in &self.parameters {
                if name.is_empty() {
                    return Err(EncodeError::Empty {
                        message,
                        field: "name",
                    });
                }
                body.text("name", name.as_bytes())?;
                body.text("value", value.as_bytes())?;
            }
            body.end_of_list();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrontendMessage;
    use crate::frontend::tests::encode;

    #[test]
    fn literal_bytes() {
        let parameters = [
            ("user", "postgres"),
            ("database", "postgres"),
            ("application_name", "capture"),
        ];
        let parameters = parameters
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec();
        let expected =
            b"\0\0\0\x42\0\x03\0\0user\0postgres\0database\0postgres\0application_name\0capture\0\0";
        assert_eq!(
            encode(&FrontendMessage::Startup(StartupMessage { parameters })),
            expected
        );
    }
}
