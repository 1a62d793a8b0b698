//! CopyData: a piece of copied data.

use super::frame::frame;
use super::tag::Tag;
use crate::EncodeError;
use bytes::BytesMut;

pub(super) fn encode(payload: &[u8], dst: &mut BytesMut) -> Result<(), EncodeError> {
    frame("CopyData", Tag::CopyData, dst, |body| {
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
        let message = FrontendMessage::CopyData(Bytes::from_static(b"1\t2\n"));
        assert_eq!(encode(&message), b"d\0\0\0\x081\t2\n");
        assert_eq!(format!("{message:?}"), "CopyData(4 bytes)");
    }
}
