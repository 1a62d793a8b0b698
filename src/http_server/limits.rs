//! Every bound on what a client may use.

use std::time::Duration;

/// The bounds of one server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at one time; further ones wait in the kernel's queue until one ends.
    pub connections: usize,
    /// From the opening of a connection, or from the answer before, to the end of a request's head. So this
    /// is also how long an idle connection is kept.
    pub head: Duration,
    /// From the end of a request's head to the end of its body. See [`read_body`](super::read_body).
    pub body: Duration,
    /// The most bytes that a request's body may have, however it is framed.
    pub body_bytes: usize,
    /// From the moment the client stops taking bytes of an answer until the answer is written completely.
    pub write: Duration,
    /// From the order to stop until connections whose request is not answered are cut.
    pub grace: Duration,
}

/// The buffer for a request's head, which bounds the head; a longer one is answered with 431.
pub(super) const HEAD_BYTES: usize = 16 * 1024;

/// After the last answer on a connection, what the client still sends is read and thrown away for this long
/// at most, and this many bytes: closing at once would reset the connection, and the client might never see
/// the answer (RFC 9112, section 9.6).
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// See [`LINGER`].
pub(super) const LINGER_BYTES: usize = 1024 * 1024;

/// How long accepting pauses after a failure that would repeat at once, such as too many open files.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
