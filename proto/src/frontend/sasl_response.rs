//! SASLResponse: a further message of the SASL mechanism.

use super::frame::frame;
use super::tag::Tag;
use crate::EncodeError;
use bytes::BytesMut;

pub(super) fn encode(payload: &[u8], dst: &mut BytesMut) -> Result<(), EncodeError> {
    frame("SASLResponse", Tag::Password, dst, |body| {
        body.bytes(payload);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::FrontendMessage;
    use crate::frontend::tests::encode;
    use bytes::Bytes;

    #[test]
    fn literal_bytes() {
        let message = FrontendMessage::SaslResponse(Bytes::from_static(b"c=biws,r=abc"));
        assert_eq!(encode(&message), b"p\0\0\0\x10c=biws,r=abc");
        assert_eq!(format!("{message:?}"), "SASLResponse(12 bytes)");
    }
}
