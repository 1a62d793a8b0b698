//! Primary keepalive message: the walsender is alive.

use crate::reader::Reader;
use crate::{DecodeError, Lsn, PgTimestamp};

/// The walsender is alive, and tells how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryKeepalive {
    /// How far the walsender has read: everything before it that concerns us has been sent. When nothing of it is
    /// pending here, this may be confirmed.
    pub wal_end: Lsn,
    /// When the server sent it.
    pub send_time: PgTimestamp,
    /// Whether the server wants a StandbyStatusUpdate at once, to know that we are alive too.
    pub reply_requested: bool,
}

impl PrimaryKeepalive {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        body.u8("kind")?;
        let keepalive = PrimaryKeepalive {
            wal_end: Lsn::new(body.u64("wal_end")?),
            send_time: PgTimestamp::from_micros(body.i64("send_time")?),
            reply_requested: body.bool("reply_requested")?,
        };
        body.finish()?;
        Ok(keepalive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::ReplicationMessage;
    use bytes::Bytes;

    #[test]
    fn literal_bytes() {
        for (copy_data, reply_requested) in [
            (b"k\0\0\0\0\x01R\xca\xf0\0\x03\x04\x0b\xd1\xdd\x93\xfa\x00", false),
            (b"k\0\0\0\0\x01R\xca\xf0\0\x03\x04\x0b\xd1\xdd\x93\xfa\x01", true),
        ] {
            let message = ReplicationMessage::decode(Bytes::from_static(copy_data)).unwrap();
            let expected = PrimaryKeepalive {
                wal_end: Lsn::new(0x152_CAF0),
                send_time: PgTimestamp::from_micros(0x0003_040b_d1dd_93fa),
                reply_requested,
            };
            assert_eq!(message, ReplicationMessage::PrimaryKeepalive(expected));
        }
    }
}
