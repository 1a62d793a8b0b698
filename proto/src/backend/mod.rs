//! The messages a server sends.
//!
//! One file a message, named as the PostgreSQL documentation names it. A message knows its own body and nothing of
//! framing. Source: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

mod authentication;
mod backend_key_data;
mod command_complete;
mod copy_response;
mod data_row;
mod error_response;
mod format;
mod negotiate_protocol_version;
mod notification_response;
mod parameter_status;
mod ready_for_query;
mod row_description;
mod tag;

pub use authentication::Authentication;
pub use backend_key_data::BackendKeyData;
pub use command_complete::CommandComplete;
pub use copy_response::{CopyBothResponse, CopyOutResponse};
pub use data_row::DataRow;
pub use error_response::ErrorFields;
pub use format::Format;
pub use negotiate_protocol_version::NegotiateProtocolVersion;
pub use notification_response::NotificationResponse;
pub use parameter_status::ParameterStatus;
pub use ready_for_query::{ReadyForQuery, TransactionStatus};
pub use row_description::{FieldDescription, RowDescription};
pub(crate) use tag::Tag;

use crate::DecodeError;
use crate::reader::Reader;
use bytes::Bytes;
use std::fmt;

/// A message from the server.
///
/// `Debug` shows the length of CopyData and DataRow, not what they carry, and hides what belongs to
/// authentication.
#[derive(Clone, PartialEq, Eq)]
pub enum BackendMessage {
    /// A step of the authentication.
    Authentication(Authentication),
    /// What a cancel request would need.
    BackendKeyData(BackendKeyData),
    /// An SQL command is done.
    CommandComplete(CommandComplete),
    /// Copying in both directions begins: the answer to START_REPLICATION.
    CopyBothResponse(CopyBothResponse),
    /// A piece of copied data: a slice of the read buffer. Within replication it is a
    /// [`ReplicationMessage`](crate::replication::ReplicationMessage).
    CopyData(Bytes),
    /// The server ends its direction of copying. A walsender may still send a keepalive after it.
    CopyDone,
    /// Copying to us begins: the answer to COPY TO STDOUT.
    CopyOutResponse(CopyOutResponse),
    /// One row of a result.
    DataRow(DataRow),
    /// The query string was empty; comes instead of CommandComplete.
    EmptyQueryResponse,
    /// The server reports an error.
    ErrorResponse(ErrorFields),
    /// The server does not know the minor protocol version or an option that we asked for.
    NegotiateProtocolVersion(NegotiateProtocolVersion),
    /// The server reports a warning or a notice. May come at any time, within replication too.
    NoticeResponse(ErrorFields),
    /// A NOTIFY on a channel that we listen to. May come at any time.
    NotificationResponse(NotificationResponse),
    /// The value of a parameter. May come at any time.
    ParameterStatus(ParameterStatus),
    /// The server waits for a query.
    ReadyForQuery(ReadyForQuery),
    /// The columns of the rows to come.
    RowDescription(RowDescription),
}

impl BackendMessage {
    /// Reads the body of the message with this tag.
    pub(crate) fn decode(tag: Tag, body: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(tag.name(), body);
        let body = &mut reader;
        let message = match tag {
            Tag::Authentication => Self::Authentication(Authentication::decode(body)?),
            Tag::BackendKeyData => Self::BackendKeyData(BackendKeyData::decode(body)?),
            Tag::CommandComplete => Self::CommandComplete(CommandComplete::decode(body)?),
            Tag::CopyBothResponse => Self::CopyBothResponse(CopyBothResponse::decode(body)?),
            Tag::CopyData => Self::CopyData(body.take_rest()),
            Tag::CopyDone => Self::CopyDone,
            Tag::CopyOutResponse => Self::CopyOutResponse(CopyOutResponse::decode(body)?),
            Tag::DataRow => Self::DataRow(DataRow::decode(body)?),
            Tag::EmptyQueryResponse => Self::EmptyQueryResponse,
            Tag::ErrorResponse => Self::ErrorResponse(ErrorFields::decode(body)?),
            Tag::NegotiateProtocolVersion => {
                Self::NegotiateProtocolVersion(NegotiateProtocolVersion::decode(body)?)
            }
            Tag::NoticeResponse => Self::NoticeResponse(ErrorFields::decode(body)?),
            Tag::NotificationResponse => Self::NotificationResponse(NotificationResponse::decode(body)?),
            Tag::ParameterStatus => Self::ParameterStatus(ParameterStatus::decode(body)?),
            Tag::ReadyForQuery => Self::ReadyForQuery(ReadyForQuery::decode(body)?),
            Tag::RowDescription => Self::RowDescription(RowDescription::decode(body)?),
        };
        reader.finish()?;
        Ok(message)
    }

    /// The message's name in the PostgreSQL documentation, for logs and errors.
    pub fn name(&self) -> &'static str {
        let tag = match self {
            Self::Authentication(_) => Tag::Authentication,
            Self::BackendKeyData(_) => Tag::BackendKeyData,
            Self::CommandComplete(_) => Tag::CommandComplete,
            Self::CopyBothResponse(_) => Tag::CopyBothResponse,
            Self::CopyData(_) => Tag::CopyData,
            Self::CopyDone => Tag::CopyDone,
            Self::CopyOutResponse(_) => Tag::CopyOutResponse,
            Self::DataRow(_) => Tag::DataRow,
            Self::EmptyQueryResponse => Tag::EmptyQueryResponse,
            Self::ErrorResponse(_) => Tag::ErrorResponse,
            Self::NegotiateProtocolVersion(_) => Tag::NegotiateProtocolVersion,
            Self::NoticeResponse(_) => Tag::NoticeResponse,
            Self::NotificationResponse(_) => Tag::NotificationResponse,
            Self::ParameterStatus(_) => Tag::ParameterStatus,
            Self::ReadyForQuery(_) => Tag::ReadyForQuery,
            Self::RowDescription(_) => Tag::RowDescription,
        };
        tag.name()
    }
}

impl fmt::Debug for BackendMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authentication(message) => message.fmt(f),
            Self::BackendKeyData(message) => message.fmt(f),
            Self::CommandComplete(message) => message.fmt(f),
            Self::CopyBothResponse(message) => message.fmt(f),
            Self::CopyData(payload) => write!(f, "CopyData({} bytes)", payload.len()),
            Self::CopyOutResponse(message) => message.fmt(f),
            Self::DataRow(message) => message.fmt(f),
            Self::ErrorResponse(fields) => f.debug_tuple("ErrorResponse").field(fields).finish(),
            Self::NegotiateProtocolVersion(message) => message.fmt(f),
            Self::NoticeResponse(fields) => f.debug_tuple("NoticeResponse").field(fields).finish(),
            Self::NotificationResponse(message) => message.fmt(f),
            Self::ParameterStatus(message) => message.fmt(f),
            Self::ReadyForQuery(message) => message.fmt(f),
            Self::RowDescription(message) => message.fmt(f),
            Self::CopyDone | Self::EmptyQueryResponse => f.write_str(self.name()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
