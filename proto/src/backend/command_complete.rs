//! CommandComplete: an SQL command is done.

use crate::reader::Reader;
use crate::{DecodeError, Text};

/// An SQL command is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandComplete {
    /// Which command it was, with the number of rows for some: `SELECT 1`, `START_REPLICATION`.
    pub tag: Text,
}

impl CommandComplete {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        Ok(CommandComplete {
            tag: body.text("tag")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes() {
        let message = decode_one(b"C\0\0\0\x0dSELECT 1\0").unwrap();
        assert_eq!(
            message,
            BackendMessage::CommandComplete(CommandComplete {
                tag: "SELECT 1".into()
            })
        );
    }
}
