//! NegotiateProtocolVersion: the server knows less than we asked for.

use crate::reader::Reader;
use crate::{DecodeError, Text, limits};

/// The server does not know the minor protocol version or an option that our StartupMessage asked for, and goes on
/// without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiateProtocolVersion {
    /// The newest version the server knows of the major version we asked for. The documentation calls it the
    /// minor version, older servers send only that and newer ones the whole (196608 for 3.0).
    pub newest_version: i32,
    /// The options it does not know.
    pub unknown_options: Vec<Text>,
}

impl NegotiateProtocolVersion {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        let newest_version = body.i32("newest_version")?;
        let count = body.count32("unknown_options", limits::MAX_PROTOCOL_OPTIONS)?;
        let unknown_options = (0..count)
            .map(|_| body.text("unknown_options"))
            .collect::<Result<_, _>>()?;
        Ok(NegotiateProtocolVersion {
            newest_version,
            unknown_options,
        })
    }
}
