//! The replication connection: records out, confirmed LSN in.
//!
//! One task owns the socket: it reads frames, hands records to the [`Intake`], answers keepalives and reports what is
//! confirmed. This room knows the protocol and the slot; it knows nothing of matching, payloads or endpoints, and
//! never imports `delivery`: between them are `pipeline`, which implements [`Intake`], and `progress`.
//!
//! | file | owns |
//! |---|---|
//! | `socket`, `authenticate`, `connect` | from a URL to a session |
//! | `connection` | messages out and in |
//! | `query` | simple queries on that session |
//! | `session` | who the source is, what the slot is, START_REPLICATION |
//! | `stream` | the loop: frames, feedback, the orderly end |
//! | `feedback` | when a status update is due (pure) |
//! | `notices` | warnings that the server sends inside the stream |
//! | `vitals` | what probes and metrics can see of it (pure) |

mod authenticate;
mod connect;
mod connection;
mod error;
mod feedback;
mod intake;
mod notices;
mod query;
mod session;
mod socket;
mod stream;
mod vitals;

pub use connection::Connection;
pub use error::{ReplicationError, ServerError};
pub use intake::Intake;
pub use session::{Identity, Session, SessionOptions};
pub use stream::{StreamError, stream};
pub use vitals::{ConnectionState, NoticeKind, Report, Seen, Vitals};
