//! Serving HTTP/1.1 to strangers: an address, an accept loop and deadlines for whatever a client does.
//!
//! Owns listening sockets, connections and the bounds on them. It must not know what is served: [`Server::serve`]
//! takes any service, and the rooms `api` and `receiver` make theirs with warp. (warp's own server panics when
//! a port is in use, and has no deadline for reading or writing.)
//!
//! What a client may do, and for how long, is in [`Limits`]. TLS and HTTP/2 are deliberately absent: both
//! servers speak plain HTTP to the operator's own machines, and who needs more puts a proxy in front.

mod accept;
mod answering;
mod bind;
mod body;
mod connection;
mod limits;
mod write_deadline;

pub use answering::Answering;
pub use bind::{BindError, Server};
pub use body::{BodyError, read_body};
pub use limits::Limits;
