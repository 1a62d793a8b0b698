//! PasswordMessage: the password, or a hash of it.

use super::frame::frame;
use super::tag::Tag;
use crate::EncodeError;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// The answer to AuthenticationCleartextPassword (the password itself) or AuthenticationMD5Password (`md5` and 32
/// hexadecimal digits).
///
/// `Debug` shows nothing of it, and nothing reads it back.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordMessage {
    password: Bytes,
}

impl PasswordMessage {
    /// The message with this password or hash. It need not be UTF-8.
    pub fn new(password: impl Into<Bytes>) -> Self {
        PasswordMessage {
            password: password.into(),
        }
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        frame("PasswordMessage", Tag::Password, dst, |body| {
            body.text("password", &self.password)
        })
    }
}

impl fmt::Debug for PasswordMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordMessage").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrontendMessage;
    use crate::frontend::tests::encode;

    #[test]
    fn literal_bytes() {
        let message = FrontendMessage::Password(PasswordMessage::new("secret"));
        assert_eq!(encode(&message), b"p\0\0\0\x0bsecret\0");
        assert_eq!(format!("{message:?}"), "PasswordMessage { .. }");
    }
}
