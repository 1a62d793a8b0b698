//! ErrorResponse and NoticeResponse: what the server has to say. Their bodies are the same.

use crate::reader::Reader;
use crate::{DecodeError, Text, limits};
use std::fmt;

/// The fields of an ErrorResponse or a NoticeResponse.
///
/// The server leaves out what it has nothing to say for, and may send kinds of fields that we do not know: those
/// are kept, and found with [`ErrorFields::field`].
///
/// Source: <https://www.postgresql.org/docs/current/protocol-error-fields.html>.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorFields {
    fields: Vec<(u8, Text)>,
}

impl ErrorFields {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        let mut fields = Vec::new();
        loop {
            let kind = body.u8("fields")?;
            if kind == 0 {
                return Ok(ErrorFields { fields });
            }
            if fields.len() == limits::MAX_REPORT_FIELDS {
                return Err(body.too_many("fields", limits::MAX_REPORT_FIELDS));
            }
            fields.push((kind, body.text("fields")?));
        }
    }

    /// All fields with their kinds, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Text)> {
        self.fields.iter().map(|(kind, text)| (*kind, text))
    }

    /// The first field of this kind.
    pub fn field(&self, kind: u8) -> Option<&Text> {
        self.iter()
            .find_map(|(found, text)| (found == kind).then_some(text))
    }

    /// How bad it is, never translated: `FATAL`, `ERROR`, `WARNING`, `NOTICE` and so on. Falls back to the
    /// translated form, which is all that servers before 9.6 send.
    pub fn severity(&self) -> Option<&Text> {
        self.field(b'V').or_else(|| self.localized_severity())
    }

    /// How bad it is, in the language of the server.
    pub fn localized_severity(&self) -> Option<&Text> {
        self.field(b'S')
    }

    /// The SQLSTATE, five characters, never translated: what to decide upon.
    pub fn code(&self) -> Option<&Text> {
        self.field(b'C')
    }

    /// What happened, usually one line.
    pub fn message(&self) -> Option<&Text> {
        self.field(b'M')
    }

    /// More about it.
    pub fn detail(&self) -> Option<&Text> {
        self.field(b'D')
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&Text> {
        self.field(b'H')
    }

    /// Where in our query it happened: the number of the character, counted from 1.
    pub fn position(&self) -> Option<&Text> {
        self.field(b'P')
    }

    /// Where in [`internal_query`](Self::internal_query) it happened: the number of the character, counted from 1.
    pub fn internal_position(&self) -> Option<&Text> {
        self.field(b'p')
    }

    /// The failed command that the server made up itself, of a function say.
    pub fn internal_query(&self) -> Option<&Text> {
        self.field(b'q')
    }

    /// Where it comes from: the call stack, one entry a line. For logical decoding: slot, plugin and LSN.
    pub fn context(&self) -> Option<&Text> {
        self.field(b'W')
    }

    /// The schema it is about.
    pub fn schema(&self) -> Option<&Text> {
        self.field(b's')
    }

    /// The table it is about.
    pub fn table(&self) -> Option<&Text> {
        self.field(b't')
    }

    /// The column it is about.
    pub fn column(&self) -> Option<&Text> {
        self.field(b'c')
    }

    /// The data type it is about.
    pub fn data_type(&self) -> Option<&Text> {
        self.field(b'd')
    }

    /// The constraint it is about.
    pub fn constraint(&self) -> Option<&Text> {
        self.field(b'n')
    }

    /// The source file of the server that reports it.
    pub fn file(&self) -> Option<&Text> {
        self.field(b'F')
    }

    /// The line in that source file.
    pub fn line(&self) -> Option<&Text> {
        self.field(b'L')
    }

    /// The function in that source file.
    pub fn routine(&self) -> Option<&Text> {
        self.field(b'R')
    }
}

/// For an operator, on one line: `ERROR 42501: message (detail; hint)`.
impl fmt::Display for ErrorFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(severity) = self.severity() {
            write!(f, "{severity}")?;
        }
        if let Some(code) = self.code() {
            write!(f, " {code}")?;
        }
        if let Some(message) = self.message() {
            write!(f, ": {message}")?;
        }
        match (self.detail(), self.hint()) {
            (Some(detail), Some(hint)) => write!(f, " ({detail}; {hint})"),
            (Some(only), None) | (None, Some(only)) => write!(f, " ({only})"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for ErrorFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(kind, text)| (char::from(kind), text)))
            .finish()
    }
}
