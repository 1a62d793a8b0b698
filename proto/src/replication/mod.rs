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
