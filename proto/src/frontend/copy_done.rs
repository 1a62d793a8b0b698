//! CopyDone: we end our direction of copying.

use super::frame::frame;
use super::tag::Tag;
use crate::EncodeError;
use bytes::BytesMut;

pub(super) fn encode(dst: &mut BytesMut) -> Result<(), EncodeError> {
    frame("CopyDone", Tag::CopyDone, dst, |_| Ok(()))
}
