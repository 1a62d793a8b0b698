//! BackendKeyData: what a cancel request would need.

use crate::DecodeError;
use crate::reader::Reader;
use std::fmt;

/// The server process of this connection, and the secret that allows to cancel its query.
///
/// `Debug` does not show the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData {
    /// The PID of the server process, as in `pg_stat_activity.pid`.
    pub process_id: i32,
    /// The secret for a cancel request.
    pub secret_key: i32,
}

impl BackendKeyData {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        Ok(BackendKeyData {
            process_id: body.i32("process_id")?,
            secret_key: body.i32("secret_key")?,
        })
    }
}

impl fmt::Debug for BackendKeyData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendKeyData")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes() {
        let message = decode_one(b"K\0\0\0\x0c\0\x006\x5b\xdf\x80\x1d\x7c").unwrap();
        let expected = BackendKeyData {
            process_id: 13915,
            secret_key: 0xdf80_1d7c_u32.cast_signed(),
        };
        assert_eq!(message, BackendMessage::BackendKeyData(expected));
        assert_eq!(format!("{message:?}"), "BackendKeyData { process_id: 13915, .. }");
    }
}
