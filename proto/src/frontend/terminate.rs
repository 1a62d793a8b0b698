//! Terminate: we are about to close the connection.

use super::frame::frame;
use super::tag::Tag;
use crate::EncodeError;
use bytes::BytesMut;

pub(super) fn encode(dst: &mut BytesMut) -> Result<(), EncodeError> {
    frame("Terminate", Tag::Terminate, dst, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use crate::FrontendMessage;
    use crate::frontend::tests::encode;

    #[test]
    fn literal_bytes() {
        assert_eq!(encode(&FrontendMessage::Terminate), b"X\0\0\0\x04");
    }
}
