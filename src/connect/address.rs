//! The addresses of a server, and how they are shown.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::TransportError;
use crate::config::{Host, Server};

/// One address of a server. Shown as `host:port`, followed by the address where the host is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    shown: String,
    pub(super) at: At,
}

/// What a socket is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Address {
    /// The IP address, where it has one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match &self.at {
            At::Tcp(address) => Some(address.ip()),
            At::Unix(_) => None,
        }
    }
}

/// Every address of a server, in the order in which the system names them.
pub(super) async fn of(server: &Server, within: Duration) -> Result<Vec<Address>, TransportError> {
    let name = match &server.host {
        Host::Tcp(name) => name,
        Host::Unix(folder) => {
            let path = folder.join(format!(".s.PGSQL.{}", server.port));
            return Ok(vec![Address {
                shown: path.display().to_string(),
                at: At::Unix(path),
            }]);
        }
    };
    let shown = shown(server);
    let found = timeout(within, lookup_host((name.as_str(), server.port))).await;
    let found = found.map_err(|_| TransportError::Timeout {
        address: shown.clone(),
        within,
    })?;
    let unknown = |source| TransportError::Resolve {
        host: name.clone(),
        source,
    };
    let found = found.map_err(unknown)?;
    let is_address = name.parse::<IpAddr>().is_ok();
    let addresses: Vec<_> = found
        .map(|address| Address {
            shown: if is_address {
                shown.clone()
            } else {
                format!("{shown} ({})", address.ip())
            },
            at: At::Tcp(address),
        })
        .collect();
    if addresses.is_empty() {
        return Err(unknown(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        )));
    }
    Ok(addresses)
}

/// How a server is shown whose address is not known.
pub(super) fn shown(server: &Server) -> String {
    match &server.host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", server.port),
        Host::Tcp(name) => format!("{name}:{}", server.port),
        Host::Unix(folder) => folder
            .join(format!(".s.PGSQL.{}", server.port))
            .display()
            .to_string(),
    }
}
