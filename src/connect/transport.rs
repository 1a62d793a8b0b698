//! A stream of bytes to one address of a server.

use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::address::Address;
use super::encrypted::Encrypted;
use super::{TransportError, negotiate, socket};
use crate::config::{Encryption, PgUrl, Server};

/// TCP, a Unix socket, or TLS over TCP.
pub type Socket = Either<Either<TcpStream, UnixStream>, Box<Encrypted>>;

/// An open stream to a server.
#[derive(Debug)]
pub(super) struct Transport {
    /// The stream.
    pub(super) socket: Socket,
    /// What is known about who is at its other end.
    pub(super) channel: Channel,
}

/// Whether a stream is encrypted, and with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// It is not.
    Plain,
    /// It is.
    Tls {
        /// `tls-server-end-point` of [RFC 5929](https://www.rfc-editor.org/rfc/rfc5929#section-4): the hash of the server's
        /// certificate. `None` where the way it is signed has no hash that RFC 5929 defines.
        end_point: Option<Vec<u8>>,
    },
}

/// Opens a stream to one address of a server. One that should be encrypted and cannot be is not opened.
pub(super) async fn open(
    address: &Address,
    server: &Server,
    url: &PgUrl,
    encryption: Encryption,
) -> Result<Transport, TransportError> {
    match socket::connect(address, &url.tcp).await? {
        Either::Left(stream) if encryption != Encryption::Plain => {
            negotiate::encrypted(stream, (address, server), &url.tls, encryption).await
        }
        socket => Ok(Transport {
            socket: Either::Left(socket),
            channel: Channel::Plain,
        }),
    }
}
