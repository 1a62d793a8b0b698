//! NegotiateProtocolVersion: the server knows less than we asked for.

use crate::reader::Reader;
use crate::{DecodeError, Text, limits};

/// The server does not know the minor protocol version or an option that our StartupMessage asked for, and goes on
/// without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiateProtocolVersion {
    /// The newest version the server knows of the major version we asked for: major times 65,536 plus minor, 196608
    /// for 3.0, though the documentation speaks of the minor version only.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes() {
        let message = decode_one(b"v\0\0\0\x18\0\x03\0\0\0\0\0\x01_pq_.colour\0").unwrap();
        let expected = NegotiateProtocolVersion {
            newest_version: 196_608,
            unknown_options: vec!["_pq_.colour".into()],
        };
        assert_eq!(message, BackendMessage::NegotiateProtocolVersion(expected));
    }
}
