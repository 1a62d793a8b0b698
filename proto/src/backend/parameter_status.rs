//! ParameterStatus: the value of a parameter.

use crate::reader::Reader;
use crate::{DecodeError, Text};

/// The value of a parameter that the server reports at the start and whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterStatus {
    /// The parameter, `server_version` say.
    pub name: Text,
    /// Its value now.
    pub value: Text,
}

impl ParameterStatus {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        Ok(ParameterStatus {
            name: body.text("name")?,
            value: body.text("value")?,
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
        let message = decode_one(b"S\0\0\0\x19client_encoding\0UTF8\0").unwrap();
        let expected = ParameterStatus {
            name: "client_encoding".into(),
            value: "UTF8".into(),
        };
        assert_eq!(message, BackendMessage::ParameterStatus(expected));
    }
}
