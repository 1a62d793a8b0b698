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
