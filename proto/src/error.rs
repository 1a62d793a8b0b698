//! What can go wrong between bytes and messages.

use std::io;

/// A message from the server could not be taken.
///
/// Everything but [`DecodeError::Io`] is the peer's doing: the bytes came through and are not what the protocol
/// allows, or ask for what we do not support. After such an error the connection is of no further use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The socket failed; nothing is known about what the peer meant.
    #[error("reading from the server failed")]
    Io(#[from] io::Error),

    /// The connection was closed within a message.
    #[error("the server closed the connection within a message, after {received} of its bytes")]
    ClosedWithinMessage {
        /// How many bytes of the unfinished message had arrived, tag and length word included.
        received: usize,
    },

    /// No message of the server that we know begins with this byte.
    #[error("unknown message with tag {:?} (0x{tag:02X}) from the server", char::from(*tag))]
    UnknownMessage {
        /// The byte in place of the tag.
        tag: u8,
    },

    /// The length word of a message is smaller than the word itself.
    #[error("{message} declares an impossible length of {length} bytes")]
    ImpossibleLength {
        /// The message as the documentation names it.
        message: &'static str,
        /// What the length word says.
        length: i32,
    },

    /// A message is longer than we allow.
    #[error("{message} declares {length} bytes, more than the limit of {limit}")]
    TooLong {
        /// The message as the documentation names it.
        message: &'static str,
        /// What the length word says.
        length: usize,
        /// The limit, see [`limits`](crate::limits).
        limit: usize,
    },

    /// A body ends before a field is complete.
    #[error("{message} is too short: it ends within `{field}`")]
    TooShort {
        /// The message as the documentation names it.
        message: &'static str,
        /// The field that is missing or cut off.
        field: &'static str,
    },

    /// A body goes on after its last field.
    #[error("{message} is too long: {count} bytes follow its last field")]
    TrailingBytes {
        /// The message as the documentation names it.
        message: &'static str,
        /// How many bytes are left over.
        count: usize,
    },

    /// A string has no terminating zero byte.
    #[error("{message} is malformed: `{field}` is not terminated")]
    Unterminated {
        /// The message as the documentation names it.
        message: &'static str,
        /// The string that runs to the end of the body.
        field: &'static str,
    },

    /// A field has a value that the protocol does not define.
    #[error("{message} is malformed: `{field}` cannot be {value}")]
    InvalidValue {
        /// The message as the documentation names it.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },

    /// A message announces or holds more elements than we allow.
    #[error("{message} has more than {limit} `{field}`")]
    TooMany {
        /// The message as the documentation names it.
        message: &'static str,
        /// The repeated field.
        field: &'static str,
        /// The limit, see [`limits`](crate::limits).
        limit: usize,
    },

    /// The server asks for a way of authentication that we do not have.
    #[error(
        "the server asks for {method} authentication, which is not supported: \
         allow scram-sha-256 for this user in pg_hba.conf"
    )]
    UnsupportedAuthentication {
        /// The method as the documentation names it.
        method: &'static str,
    },

    /// The server asks for a way of authentication that the protocol does not define.
    #[error(
        "the server asks for an unknown kind of authentication ({kind}): \
         allow scram-sha-256 for this user in pg_hba.conf"
    )]
    UnknownAuthentication {
        /// The number of the kind.
        kind: i32,
    },
}

impl DecodeError {
    /// Whether the socket failed, rather than the peer sent what it should not. A connection that just went away
    /// is worth another try; a peer that breaks the protocol will likely do so again.
    pub fn is_io(&self) -> bool {
        matches!(self, DecodeError::Io(_) | DecodeError::ClosedWithinMessage { .. })
    }
}

/// A message of ours could not be encoded. The output buffer is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The socket failed.
    #[error("writing to the server failed")]
    Io(#[from] io::Error),

    /// A string contains a zero byte, which would end it early.
    #[error("{message} cannot be sent: `{field}` contains a zero byte")]
    ZeroByte {
        /// The message as the documentation names it.
        message: &'static str,
        /// The field.
        field: &'static str,
    },

    /// A name is empty, which would end the list of parameters early.
    #[error("{message} cannot be sent: `{field}` is empty")]
    Empty {
        /// The message as the documentation names it.
        message: &'static str,
        /// The field.
        field: &'static str,
    },

    /// The message is longer than a server accepts.
    #[error("{message} cannot be sent: its {length} bytes are more than the limit of {limit}")]
    TooLong {
        /// The message as the documentation names it.
        message: &'static str,
        /// Its length, the length word included.
        length: usize,
        /// The limit, see [`limits`](crate::limits).
        limit: usize,
    },
}
