//! CopyDone: we end our direction of copying.

use super::frame::frame;
use super::tag::Tag;
use crate::EncodeError;
use bytes::BytesMut;

pub(super) fn encode(dst: &mut BytesMut) -> Result<(), EncodeError> {
    frame("CopyDone", Tag::CopyDone, dst, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use crate::FrontendMessage;
    use crate::frontend::tests::encode;

    #[test]
    fn literal_bytes() {
        assert_eq!(encode(&FrontendMessage::CopyDone), b"c\0\0\0\x04");
    }
}
