//! The replication connection: records out, confirmed LSN in.
//!
//! One task owns the socket: it reads frames, hands records to the [`Intake`], answers keepalives and reports what is
//! confirmed. This room knows the protocol and the slot; it knows nothing of matching, payloads or endpoints, and
//! never imports `delivery`: between them are `pipeline`, which implements [`Intake`], and `progress`.
//!
//! | file | owns |
//! |---|---|
//! | `connect` | from a URL, by way of the room of that name, to a session |
//! | `connection` | messages out and in |
//! | `query` | simple queries on that session |
//! | `session` | who the source is, what the slot is, START_REPLICATION |
//! | `stream` | the loop: frames, feedback, the orderly end |
//! | `feedback` | when a status update is due (pure) |
//! | `notices` | warnings that the server sends inside the stream |

mod connect;
mod connection;
mod error;
mod feedback;
mod intake;
mod notices;
mod query;
mod session;
mod stream;

pub use crate::connect::ServerError;
pub use connection::Connection;
pub use error::ReplicationError;
pub use intake::Intake;
pub use session::{Identity, Session, SessionOptions};
pub use stream::{StreamError, stream};
