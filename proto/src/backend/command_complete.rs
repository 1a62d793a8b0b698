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
