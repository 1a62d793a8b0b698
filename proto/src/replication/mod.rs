//! What travels inside CopyData once START_REPLICATION has been answered.
//!
//! One file a message, named as the PostgreSQL documentation names it.
//! Source: <https://www.postgresql.org/docs/current/protocol-replication.html>.

mod primary_keepalive;
mod standby_status_update;
mod xlog_data;

pub use primary_keepalive::PrimaryKeepalive;
pub use standby_status_update::StandbyStatusUpdate;
pub use xlog_data::XLogData;

use crate::DecodeError;
use crate::reader::Reader;
use bytes::Bytes;

/// The name of a body whose first byte we could not place.
const COPY_DATA: &str = "replication CopyData";

/// A message from the walsender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicationMessage {
    /// What the output plugin wrote.
    XLogData(XLogData),
    /// The walsender is alive.
    PrimaryKeepalive(PrimaryKeepalive),
}

impl ReplicationMessage {
    /// Reads the payload of a CopyData.
    ///
    /// # Errors
    ///
    /// The peer's fault: an unknown first byte, or a body that is too short or too long.
    pub fn decode(copy_data: Bytes) -> Result<Self, DecodeError> {
        match copy_data.first() {
            Some(b'w') => {
                let mut body = Reader::new("XLogData", copy_data);
                XLogData::decode(&mut body).map(Self::XLogData)
            }
            Some(b'k') => {
                let mut body = Reader::new("PrimaryKeepalive", copy_data);
                PrimaryKeepalive::decode(&mut body).map(Self::PrimaryKeepalive)
            }
            Some(&kind) => Err(Reader::new(COPY_DATA, copy_data).invalid("kind", kind)),
            None => Err(DecodeError::TooShort {
                message: COPY_DATA,
                field: "kind",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(copy_data: &[u8]) -> String {
        ReplicationMessage::decode(Bytes::copy_from_slice(copy_data))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn short_and_overlong_bodies_are_named() {
        for (copy_data, expected) in [
            (
                &b""[..],
                "replication CopyData is too short: it ends within `kind`",
            ),
            (b"s", "replication CopyData is malformed: `kind` cannot be 115"),
            (b"w", "XLogData is too short: it ends within `wal_start`"),
            (
                b"w\0\0\0\0\0\0\0\x01\0",
                "XLogData is too short: it ends within `wal_end`",
            ),
            (
                b"w\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0",
                "XLogData is too short: it ends within `send_time`",
            ),
            (b"k\0", "PrimaryKeepalive is too short: it ends within `wal_end`"),
            (
                b"k\0\0\0\0\0\0\0\x01\0",
                "PrimaryKeepalive is too short: it ends within `send_time`",
            ),
            (
                b"k\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01",
                "PrimaryKeepalive is too short: it ends within `reply_requested`",
            ),
            (
                b"k\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x02",
                "PrimaryKeepalive is malformed: `reply_requested` cannot be 2",
            ),
            (
                b"k\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x01!",
                "PrimaryKeepalive is too long: 1 bytes follow its last field",
            ),
        ] {
            assert_eq!(refusal(copy_data), expected);
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(copy_data: Vec<u8>) {
            let _ = ReplicationMessage::decode(Bytes::from(copy_data));
        }
    }
}
