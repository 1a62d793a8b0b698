//! Standby status update: how far we have come.

use crate::{FrontendMessage, Lsn, PgTimestamp};
use bytes::{BufMut, Bytes, BytesMut};

/// The length of the message.
const LEN: usize = 1 + 3 * 8 + 8 + 1;

/// How far we have come. For a logical slot the server confirms `flush`: it may then forget the log before it, and
/// never sends again a transaction whose commit ends at or before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandbyStatusUpdate {
    /// The end of what has been received.
    pub write: Lsn,
    /// The end of what is settled: the confirmed LSN.
    pub flush: Lsn,
    /// The end of what has been applied.
    pub apply: Lsn,
    /// Our clock.
    pub client_time: PgTimestamp,
    /// Whether the server shall answer with a PrimaryKeepalive at once.
    pub reply_requested: bool,
}

impl StandbyStatusUpdate {
    /// The payload of a CopyData.
    pub fn encode(&self) -> Bytes {
        let mut payload = BytesMut::with_capacity(LEN);
        payload.put_u8(b'r');
        payload.put_u64(self.write.as_u64());
        payload.put_u64(self.flush.as_u64());
        payload.put_u64(self.apply.as_u64());
        payload.put_i64(self.client_time.as_micros());
        payload.put_u8(u8::from(self.reply_requested));
        payload.freeze()
    }
}

impl From<StandbyStatusUpdate> for FrontendMessage {
    fn from(update: StandbyStatusUpdate) -> Self {
        FrontendMessage::CopyData(update.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_bytes() {
        let update = StandbyStatusUpdate {
            write: Lsn::new(0x152_CAF0),
            flush: Lsn::new(0x152_BC10),
            apply: Lsn::new(0x1_0000_0001),
            client_time: PgTimestamp::from_micros(0x0003_040b_d1dd_93fa),
            reply_requested: true,
        };
        let expected =
            b"r\0\0\0\0\x01R\xca\xf0\0\0\0\0\x01R\xbc\x10\0\0\0\x01\0\0\0\x01\0\x03\x04\x0b\xd1\xdd\x93\xfa\x01";
        assert_eq!(update.encode(), &expected[..]);
        assert_eq!(
            FrontendMessage::from(update),
            FrontendMessage::CopyData(update.encode())
        );

        let quiet = StandbyStatusUpdate {
            reply_requested: false,
            ..update
        };
        assert_eq!(quiet.encode()[..33], expected[..33]);
        assert_eq!(quiet.encode()[33], 0);
    }
}
