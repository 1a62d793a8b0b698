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
