//! SSLRequest: may we speak TLS?

use super::frame::frame;
use crate::EncodeError;
use bytes::BytesMut;

/// 1234 and 5679 in two halves: no protocol version, and never to become one.
const SSL_REQUEST_CODE: i32 = 1234 << 16 | 5679;

pub(super) fn encode(dst: &mut BytesMut) -> Result<(), EncodeError> {
    frame("SSLRequest", None, dst, |body| {
        body.i32(SSL_REQUEST_CODE);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::FrontendMessage;
    use crate::frontend::tests::encode;

    #[test]
    fn literal_bytes() {
        assert_eq!(
            encode(&FrontendMessage::SslRequest),
            b"\0\0\0\x08\x04\xd2\x16\x2f"
        );
    }
}
