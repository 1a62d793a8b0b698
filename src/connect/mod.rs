//! From a URL to an open session: names, sockets, TLS, authentication, and the choice among several servers.
//!
//! The replication connection is opened here, and so are the sessions of the store wherever sqlx would do less than the URL
//! asks for: all of a URL means the same to both. This room knows nothing of what a session is for.
//!
//! | file | owns |
//! |---|---|
//! | `search` | which server, which of its addresses, with TLS or without |
//! | `address` | the addresses of a server, and how they are shown |
//! | `socket` | TCP and Unix sockets, and how a dead peer is noticed |
//! | `transport` | a stream of bytes to one address |
//! | `negotiate` | whether TLS begins, and its handshake |
//! | `encrypted` | the stream behind the handshake, and its end |
//! | `files` | certificates and keys, read anew for each connection |
//! | `verifier` | whether a server's certificate is trusted |
//! | `end_point` | what a password's proof is bound to |
//! | `sqlstate` | codes of errors that decide what is done (pure) |
//! | `start_up`, `authenticate`, `exchange` | the first messages of a session |

mod address;
mod authenticate;
mod encrypted;
mod end_point;
mod error;
mod exchange;
mod files;
mod negotiate;
mod search;
mod server_error;
mod socket;
pub mod sqlstate;
mod start_up;
mod transport;
mod transport_error;
mod verifier;

pub use error::ConnectError;
pub use search::{open, open_beginning_with};
pub use server_error::ServerError;
pub use start_up::Opened;
pub use transport::Socket;
pub use transport_error::TransportError;

#[cfg(test)]
mod tests;
