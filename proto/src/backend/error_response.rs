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
    #[cfg(test)]
    pub(super) fn new(fields: Vec<(u8, Text)>) -> Self {
        ErrorFields { fields }
    }

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

#[cfg(test)]
mod tests {
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes_of_an_error() {
        let frame = b"E\0\0\0\xa8SERROR\0VERROR\0C23505\0\
            Mduplicate key value violates unique constraint \"t_pkey\"\0DKey (id)=(1) already exists.\0\
            spublic\0tt\0nt_pkey\0Fnbtinsert.c\0L664\0R_bt_check_unique\0\0";
        let Ok(BackendMessage::ErrorResponse(error)) = decode_one(frame) else {
            panic!("not an ErrorResponse")
        };
        let found = [
            error.severity(),
            error.code(),
            error.schema(),
            error.table(),
            error.constraint(),
        ];
        assert_eq!(
            found.map(Option::unwrap),
            ["ERROR", "23505", "public", "t", "t_pkey"]
        );
        let found = [error.detail(), error.file(), error.line(), error.routine()];
        let expected = [
            "Key (id)=(1) already exists.",
            "nbtinsert.c",
            "664",
            "_bt_check_unique",
        ];
        assert_eq!(found.map(Option::unwrap), expected);
        assert_eq!(
            [error.hint(), error.position(), error.context(), error.column()],
            [None; 4]
        );
        assert_eq!(
            error.to_string(),
            "ERROR 23505: duplicate key value violates unique constraint \"t_pkey\" (Key (id)=(1) already exists.)"
        );
    }

    #[test]
    fn literal_bytes_of_a_notice() {
        let frame = b"N\0\0\0\x91SNOTICE\0VNOTICE\0C00000\0Mcareful\0Da detail\0Htake care\0\
            WPL/pgSQL function inline_code_block line 1 at RAISE\0Fpl_exec.c\0L3891\0Rexec_stmt_raise\0\0";
        let Ok(BackendMessage::NoticeResponse(notice)) = decode_one(frame) else {
            panic!("not a NoticeResponse")
        };
        let found = [notice.severity(), notice.message(), notice.hint()];
        assert_eq!(found.map(Option::unwrap), ["NOTICE", "careful", "take care"]);
        assert_eq!(
            notice.context().unwrap(),
            "PL/pgSQL function inline_code_block line 1 at RAISE"
        );
        assert_eq!(notice.to_string(), "NOTICE 00000: careful (a detail; take care)");
    }

    #[test]
    fn every_field_has_its_accessor() {
        let mut frame =
            b"E\0\0\0\x3cVV\0SS\0CC\0MM\0DD\0HH\0PP\0pp\0qq\0WW\0ss\0tt\0cc\0dd\0nn\0FF\0LL\0RR\0??\0\0"
                .to_vec();
        frame[4] = u8::try_from(frame.len() - 1).unwrap();
        let Ok(BackendMessage::ErrorResponse(error)) = decode_one(&frame) else {
            panic!("not an ErrorResponse")
        };
        for (kind, text) in [
            ("V", error.severity()),
            ("S", error.localized_severity()),
            ("C", error.code()),
            ("M", error.message()),
            ("D", error.detail()),
            ("H", error.hint()),
            ("P", error.position()),
            ("p", error.internal_position()),
            ("q", error.internal_query()),
            ("W", error.context()),
            ("s", error.schema()),
            ("t", error.table()),
            ("c", error.column()),
            ("d", error.data_type()),
            ("n", error.constraint()),
            ("F", error.file()),
            ("L", error.line()),
            ("R", error.routine()),
            ("?", error.field(b'?')),
        ] {
            assert_eq!(text.unwrap(), kind);
        }
    }

    #[test]
    fn severity_falls_back_to_the_translated_one() {
        let Ok(BackendMessage::ErrorResponse(error)) = decode_one(b"E\0\0\0\x0dSFEHLER\0\0") else {
            panic!("not an ErrorResponse")
        };
        assert_eq!(error.severity().unwrap(), "FEHLER");
    }
}
