//! Every bound of this package, by name.
//!
//! A length is what the length word of a message says: it counts the word itself and the body, not the tag.
//! It is checked before a byte is reserved for the body, so a peer cannot make us allocate by lying.

/// Default bound on messages that carry rows or records (CopyData, DataRow), and no server sends more: it builds
/// a message in one buffer, which PostgreSQL limits to 1 GiB.
///
/// Lower it with [`PgCodec::with_max_message_len`](crate::PgCodec::with_max_message_len).
pub const MAX_MESSAGE_LEN: usize = 1 << 30;

/// Bound on Authentication messages. PostgreSQL itself limits authentication tokens to 65,535 bytes.
pub const MAX_AUTH_LEN: usize = 64 * 1024;

/// Bound on messages of a fixed or naturally short shape: ParameterStatus, CommandComplete, NotificationResponse
/// (whose payload is below 8,000 bytes) and the like.
pub const MAX_CONTROL_LEN: usize = 64 * 1024;

/// Bound on ErrorResponse and NoticeResponse, which may quote queries and values.
pub const MAX_REPORT_LEN: usize = 1024 * 1024;

/// Bound on RowDescription: [`MAX_FIELDS`] names of 63 bytes and their 18 bytes of attributes, with room to spare.
pub const MAX_ROW_DESCRIPTION_LEN: usize = 256 * 1024;

/// Most columns in a row: PostgreSQL's `MaxTupleAttributeNumber`.
pub const MAX_FIELDS: usize = 1664;

/// Most fields in an ErrorResponse or NoticeResponse; the documentation knows 18 kinds.
pub const MAX_REPORT_FIELDS: usize = 64;

/// Most mechanisms that AuthenticationSASL may offer; PostgreSQL knows two.
pub const MAX_SASL_MECHANISMS: usize = 16;

/// Most option names in NegotiateProtocolVersion: it repeats those of our own StartupMessage.
pub const MAX_PROTOCOL_OPTIONS: usize = 256;

/// Bound on StartupMessage: the server closes the connection on a longer one (`MAX_STARTUP_PACKET_LENGTH`).
pub const MAX_STARTUP_LEN: usize = 10_000;

/// Bound on what we send otherwise: the server takes no larger message.
pub const MAX_FRONTEND_LEN: usize = 0x3FFF_FFFF;

/// Most bytes of room the decoder makes at one time for a message that is not complete. The buffer then grows
/// with what has really arrived, at most to the double of it.
pub const READ_CHUNK: usize = 64 * 1024;
