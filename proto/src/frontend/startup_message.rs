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
