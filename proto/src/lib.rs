//! Bytes to meaning and back: the PostgreSQL wire protocol as a replication client needs it, and the records
//! that the output plugin wal2json sends over it.
//!
//! This package knows no sockets, no async runtime, no logging and nothing of `pgstream` itself.
//!
//! The way of the bytes, with the room that each step lives in:
//!
//! ```text
//! socket bytes -> codec      one frame, its length checked      -> backend      one BackendMessage
//!                 CopyData(Bytes), a slice of the read buffer   -> replication  XLogData | PrimaryKeepalive
//!                 XLogData.payload, still the same slice        -> wal2json     one record, borrowed spans
//! replication     StandbyStatusUpdate -> frontend  one FrontendMessage -> codec -> socket bytes
//! ```
//!
//! | room | owns |
//! |---|---|
//! | [`codec`] | framing: where a message begins and ends, and how much memory it may take |
//! | [`backend`] | the messages a server sends, one file each, named as the PostgreSQL documentation names them |
//! | [`frontend`] | the messages we send, likewise |
//! | [`replication`] | what travels inside CopyData once replication has started |
//! | [`wal2json`] | the records inside XLogData |
//! | [`copy_text`] | the rows of COPY |
//! | [`limits`] | every bound, by name |
//! | `reader` (private) | the one place that turns a peer's bytes into integers |
//!
//! Everything a peer sends is untrusted: a wrong byte is a [`DecodeError`], never a panic, and a lying length
//! allocates nothing.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol.html>, protocol version 3.0.
//!
//! Deliberately absent: the extended query protocol, CopyIn, function calls, GSSAPI and SSPI, cancel requests,
//! physical replication and hot standby feedback, and the one unframed byte that answers an SSLRequest (whoever
//! sends that request reads its answer before the codec starts).

pub mod backend;
pub mod codec;
pub mod copy_text;
pub mod error;
pub mod frontend;
pub mod limits;
mod lsn;
mod reader;
pub mod replication;
mod text;
mod time;
pub mod wal2json;

pub use backend::BackendMessage;
pub use codec::PgCodec;
pub use error::{DecodeError, EncodeError};
pub use frontend::FrontendMessage;
pub use lsn::{Lsn, ParseLsnError};
pub use text::Text;
pub use time::PgTimestamp;
