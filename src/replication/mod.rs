//! The replication connection: records out, confirmed LSN in.
//!
//! One task owns the socket: it reads frames, hands records to the [`Intake`], answers keepalives and reports what is
//! confirmed. This room knows the protocol and the slot; it knows nothing of matching, payloads or endpoints, and
//! never imports `delivery`: between them are `pipeline`, which implements [`Intake`], and `progress`.
//!
//! A connection that is lost is made again, and the stream goes on behind what was received: see `stream`.
//!
//! | file | owns |
//! |---|---|
//! | `intake` | who takes what comes: the trait between this room and `pipeline` |
//! | `error` | what ends a connection or the stream, and what to do about it |
//! | `connect` | from a URL, by way of the room of that name, to a session |
//! | `connection` | messages out and in |
//! | `query` | simple queries on that session |
//! | `slot` | what the slot is, START_REPLICATION |
//! | `history` | whether the source still is what it was (pure) |
//! | `session` | from a connection to a stream |
//! | `connector` | connecting again, with pauses that grow |
//! | `stream` | the loop: frames, feedback, lost connections, the orderly end |
//! | `feedback` | when a status update is due (pure) |
//! | `repeated` | whether the same thing goes wrong again and again (pure) |
//! | `notices` | warnings that the server sends inside the stream |
//! | `vitals` | what probes and metrics can see of it (pure) |

mod connect;
mod connection;
mod connector;
mod error;
mod feedback;
pub mod history;
mod intake;
mod notices;
mod query;
mod repeated;
mod session;
mod slot;
mod stream;
mod vitals;

pub use crate::connect::ServerError;
pub use connection::Connection;
pub use connector::Connector;
pub use error::ReplicationError;
pub use history::{Gap, Identity, Remembered};
pub use intake::{Intake, Interrupted};
pub use session::{Session, StartFrom};
pub use slot::{SessionOptions, remedy_of_a_lost_slot};
pub use stream::{Link, StreamError, Witness, stream};
pub use vitals::{ConnectionState, NoticeKind, Report, Seen, Vitals};
