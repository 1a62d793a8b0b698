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
