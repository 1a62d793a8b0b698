//! SASLInitialResponse: the choice of a SASL mechanism.

use super::frame::frame;
use super::tag::Tag;
use crate::EncodeError;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// The choice of a SASL mechanism, with the mechanism's first message.
///
/// `Debug` does not show that message.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslInitialResponse {
    /// One of the names that AuthenticationSASL offered.
    pub mechanism: String,
    /// The mechanism's first message.
    pub response: Bytes,
}

impl SaslInitialResponse {
    pub(super) fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        frame("SASLInitialResponse", Tag::Password, dst, |body| {
            body.text("mechanism", self.mechanism.as_bytes())?;
            body.counted(&self.response)
        })
    }
}

impl fmt::Debug for SaslInitialResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SASLInitialResponse")
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrontendMessage;
    use crate::frontend::tests::encode;

    #[test]
    fn literal_bytes() {
        let message = FrontendMessage::SaslInitialResponse(SaslInitialResponse {
            mechanism: "SCRAM-SHA-256".into(),
            response: Bytes::from_static(b"n,,n=,r=rOprNGfwEbeRWgbNEkqO"),
        });
        assert_eq!(
            encode(&message),
            b"p\0\0\0\x32SCRAM-SHA-256\0\0\0\0\x1cn,,n=,r=rOprNGfwEbeRWgbNEkqO"
        );
        assert_eq!(
            format!("{message:?}"),
            "SASLInitialResponse { mechanism: \"SCRAM-SHA-256\", .. }"
        );
    }
}
