//! The first byte of a message from the server.

use crate::limits;

/// Which message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Authentication,
    BackendKeyData,
    CommandComplete,
    CopyBothResponse,
    CopyData,
    CopyDone,
    CopyOutResponse,
    DataRow,
    EmptyQueryResponse,
    ErrorResponse,
    NegotiateProtocolVersion,
    NoticeResponse,
    NotificationResponse,
    ParameterStatus,
    ReadyForQuery,
    RowDescription,
}

impl Tag {
    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'R' => Self::Authentication,
            b'K' => Self::BackendKeyData,
            b'C' => Self::CommandComplete,
            b'W' => Self::CopyBothResponse,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'H' => Self::CopyOutResponse,
            b'D' => Self::DataRow,
            b'I' => Self::EmptyQueryResponse,
            b'E' => Self::ErrorResponse,
            b'v' => Self::NegotiateProtocolVersion,
            b'N' => Self::NoticeResponse,
            b'A' => Self::NotificationResponse,
            b'S' => Self::ParameterStatus,
            b'Z' => Self::ReadyForQuery,
            b'T' => Self::RowDescription,
            _ => return None,
        })
    }

    /// The message's name in the PostgreSQL documentation.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Authentication => "Authentication",
            Self::BackendKeyData => "BackendKeyData",
            Self::CommandComplete => "CommandComplete",
            Self::CopyBothResponse => "CopyBothResponse",
            Self::CopyData => "CopyData",
            Self::CopyDone => "CopyDone",
            Self::CopyOutResponse => "CopyOutResponse",
            Self::DataRow => "DataRow",
            Self::EmptyQueryResponse => "EmptyQueryResponse",
            Self::ErrorResponse => "ErrorResponse",
            Self::NegotiateProtocolVersion => "NegotiateProtocolVersion",
            Self::NoticeResponse => "NoticeResponse",
            Self::NotificationResponse => "NotificationResponse",
            Self::ParameterStatus => "ParameterStatus",
            Self::ReadyForQuery => "ReadyForQuery",
            Self::RowDescription => "RowDescription",
        }
    }

    /// The bound on the message's length; `None` where it is the codec's own
    /// [`max_message_len`](crate::PgCodec::with_max_message_len).
    pub(crate) const fn limit(self) -> Option<usize> {
        match self {
            Self::CopyData | Self::DataRow => None,
            Self::Authentication => Some(limits::MAX_AUTH_LEN),
            Self::ErrorResponse | Self::NoticeResponse => Some(limits::MAX_REPORT_LEN),
            Self::RowDescription => Some(limits::MAX_ROW_DESCRIPTION_LEN),
            Self::BackendKeyData
            | Self::CommandComplete
            | Self::CopyBothResponse
            | Self::CopyDone
            | Self::CopyOutResponse
            | Self::EmptyQueryResponse
            | Self::NegotiateProtocolVersion
            | Self::NotificationResponse
            | Self::ParameterStatus
            | Self::ReadyForQuery => Some(limits::MAX_CONTROL_LEN),
        }
    }
}
