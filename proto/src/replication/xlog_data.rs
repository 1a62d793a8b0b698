//! XLogData: what the output plugin wrote.

use crate::reader::Reader;
use crate::{DecodeError, Lsn, PgTimestamp};
use bytes::Bytes;
use std::fmt;

/// One write of the output plugin; with wal2json format version 2, one record.
///
/// `Debug` shows the payload's length only.
#[derive(Clone, PartialEq, Eq)]
pub struct XLogData {
    /// Where the data begins. It is not what may be confirmed, nor is it with the payload's length added: for
    /// logical decoding the payload is text, not log.
    pub wal_start: Lsn,
    /// The end of the log on the server. A logical walsender repeats `wal_start` here.
    pub wal_end: Lsn,
    /// When the server sent it.
    pub send_time: PgTimestamp,
    /// What the output plugin wrote: a slice of the read buffer.
    pub payload: Bytes,
}

impl XLogData {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        body.u8("kind")?;
        Ok(XLogData {
            wal_start: Lsn::new(body.u64("wal_start")?),
            wal_end: Lsn::new(body.u64("wal_end")?),
            send_time: PgTimestamp::from_micros(body.i64("send_time")?),
            payload: body.take_rest(),
        })
    }
}

impl fmt::Debug for XLogData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XLogData")
            .field("wal_start", &self.wal_start)
            .field("wal_end", &self.wal_end)
            .field("send_time", &self.send_time)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::ReplicationMessage;

    #[test]
    fn literal_bytes() {
        let copy_data = Bytes::from_static(
            b"w\0\0\0\0\x01R\xbc\x10\0\0\0\0\x01R\xbc\x10\0\x03\x04\x0b\xd1\xce@0{\"action\":\"B\"}",
        );
        let Ok(ReplicationMessage::XLogData(message)) = ReplicationMessage::decode(copy_data.clone()) else {
            panic!("not XLogData")
        };
        assert_eq!(message.wal_start, Lsn::new(0x152_BC10));
        assert_eq!(message.wal_end, Lsn::new(0x152_BC10));
        assert_eq!(message.send_time.as_micros(), 0x0003_040b_d1ce_4030);
        assert_eq!(message.payload, r#"{"action":"B"}"#);
        assert_eq!(
            message.payload.as_ptr(),
            copy_data[25..].as_ptr(),
            "the payload is a slice, not a copy"
        );
        let shown = format!("{message:?}");
        assert!(
            shown.contains("wal_start: 0/152BC10") && shown.contains("payload: 14 bytes"),
            "{shown}"
        );
    }
}
