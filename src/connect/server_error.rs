//! An error as the server reports it.

use std::fmt;

use pgstream_proto::backend::ErrorFields;

/// An error as the server reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<&ErrorFields> for ServerError {
    fn from(fields: &ErrorFields) -> Self {
        let text =
            |field: Option<&pgstream_proto::Text>| field.map(|text| text.to_string_lossy().into_owned());
        Self {
            code: text(fields.code()).unwrap_or_default(),
            message: text(fields.message()).unwrap_or_default(),
            detail: text(fields.detail()),
            hint: text(fields.hint()),
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}
