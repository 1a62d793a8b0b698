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
