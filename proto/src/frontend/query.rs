//! Query: SQL, or a command of the replication grammar.

use super::frame::frame;
use super::tag::Tag;
use crate::EncodeError;
use bytes::BytesMut;

pub(super) fn encode(query: &str, dst: &mut BytesMut) -> Result<(), EncodeError> {
    frame("Query", Tag::Query, dst, |body| {
        body.text("query", query.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use crate::FrontendMessage;
    use crate::frontend::tests::encode;

    #[test]
    fn literal_bytes() {
        assert_eq!(
            encode(&FrontendMessage::Query("IDENTIFY_SYSTEM".into())),
            b"Q\0\0\0\x14IDENTIFY_SYSTEM\0"
        );
        assert_eq!(encode(&FrontendMessage::Query(String::new())), b"Q\0\0\0\x05\0");
    }
}
