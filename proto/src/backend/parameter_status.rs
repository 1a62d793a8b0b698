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
