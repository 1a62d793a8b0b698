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
