//! From an address as an operator writes it to a listening socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;

/// How many connections the kernel holds ready while the server is busy.
const BACKLOG: i32 = 1_024;

/// A server that has its address and serves nothing yet.
#[derive(Debug)]
pub struct Server {
    pub(super) listener: TcpListener,
    address: SocketAddr,
}

/// Why a server did not get its address.
#[derive(Debug, Error)]
pub enum BindError {
    /// The text is no address.
    #[error("the address {address:?} is not of the form host:port or :port")]
    Syntax {
        /// The address as it was given.
        address: String,
    },
    /// The host has no address.
    #[error("cannot find the host of the address {address:?}")]
    Host {
        /// The address as it was given.
        address: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Another program listens there.
    #[error("the address {address:?} is in use by another program")]
    InUse {
        /// The address as it was given.
        address: String,
    },
    /// The operating system refuses the address.
    #[error("cannot listen on the address {address:?}")]
    Refused {
        /// The address as it was given.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl Server {
    /// Listens on `address`: `host:port`, or `:port` for all interfaces (IPv6 and IPv4). Port 0 takes any
    /// free port.
    ///
    /// # Errors
    /// [`BindError`], which always names the address.
    pub async fn bind(address: &str) -> Result<Self, BindError> {
        let named = || address.to_owned();
        let (host, port) = split(address).ok_or_else(|| BindError::Syntax { address: named() })?;
        let listener = if host.is_empty() {
            listen_everywhere(port)
        } else {
            let candidates =
                tokio::net::lookup_host((host, port))
                    .await
                    .map_err(|source| BindError::Host {
                        address: named(),
                        source,
                    })?;
            first_that_listens(candidates)
        };
        listener
            .and_then(|listener| {
                Ok(Self {
                    address: listener.local_addr()?,
                    listener,
                })
            })
            .map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => BindError::InUse { address: named() },
                _ => BindError::Refused {
                    address: named(),
                    source,
                },
            })
    }

    /// The address the server listens on, with the port it was given if it asked for any.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Splits `host:port`, where an IPv6 host stands in brackets.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    match host.strip_prefix('[') {
        Some(host) => host
            .strip_suffix(']')
            .filter(|host| !host.is_empty())
            .map(|host| (host, port)),
        None if host.contains(':') => None,
        None => Some((host, port)),
    }
}

fn listen_everywhere(port: u16) -> io::Result<TcpListener> {
    match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            // A machine without IPv6.
            listen((Ipv4Addr::UNSPECIFIED, port).into())
        }
        outcome => outcome,
    }
}

fn first_that_listens(candidates: impl Iterator<Item = SocketAddr>) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for candidate in candidates {
        match listen(candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Whatever the machine's default is, the unspecified address means both families.
        socket.set_only_v6(false)?;
    }
    // Without this, a restart has to wait for the old connections' last minutes.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        let cases: &[(&str, Option<(&str, u16)>)] = &[
            ("127.0.0.1:9900", Some(("127.0.0.1", 9900))),
            ("localhost:80", Some(("localhost", 80))),
            (":9900", Some(("", 9900))),
            ("[::1]:9900", Some(("::1", 9900))),
            ("::1:9900", None),
            ("[]:9900", None),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:70000", None),
            ("", None),
        ];
        for (address, expected) in cases {
            assert_eq!(split(address), *expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Server::bind("127.0.0.1:0").await.unwrap();
        let address = first.address().to_string();
        let error = Server::bind(&address).await.unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&address), "{error}");
    }

    #[tokio::test]
    async fn no_host_means_all_interfaces() {
        let server = Server::bind(":0").await.unwrap();
        assert!(server.address().ip().is_unspecified());
        let port = server.address().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
    }
}
