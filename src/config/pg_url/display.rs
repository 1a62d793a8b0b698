//! A [`PgUrl`] as a URL again.

use std::fmt;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{ChannelBinding, Host, PgUrl, Roots, SslNegotiation, TargetSessionAttrs};

/// What may stand unencoded in any part of a printed URL (RFC 3986 "unreserved").
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same, with the slashes of a path left readable.
const ENCODED_IN_QUERY: &AsciiSet = &ENCODED.remove(b'/');

/// Writes it as a URL, with the password masked. What the environment decides stands in it like what the text said.
impl fmt::Display for PgUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", utf8_percent_encode(&self.user, ENCODED))?;
        if let Some(password) = self.servers.iter().find_map(|server| server.password.as_ref()) {
            write!(f, ":{password}")?;
        }
        let socket = self.lone_socket();
        for (index, server) in self.servers.iter().enumerate() {
            f.write_str(if index == 0 { "@" } else { "," })?;
            match &server.host {
                Host::Tcp(host) if host.contains(':') => write!(f, "[{}]", host.replace('%', "%25"))?,
                Host::Unix(_) if socket.is_some() => {}
                Host::Tcp(_) | Host::Unix(_) => {
                    write!(f, "{}", utf8_percent_encode(&server.host.to_string(), ENCODED))?;
                }
            }
            write!(f, ":{}", server.port)?;
        }
        write!(f, "/{}", utf8_percent_encode(&self.dbname, ENCODED))?;
        write!(f, "?sslmode={}", self.tls.mode)?;
        if let Some(directory) = socket {
            path(f, "host", directory)?;
        }
        self.tls_parameters(f)?;
        if self.target_session_attrs != TargetSessionAttrs::default_for(self.servers.len()) {
            write!(f, "&target_session_attrs={}", self.target_session_attrs)?;
        }
        if let Some(name) = &self.application_name {
            write!(f, "&application_name={}", utf8_percent_encode(name, ENCODED))?;
        }
        if let Some(timeout) = self.connect_timeout {
            write!(f, "&connect_timeout={}", timeout.as_secs())?;
        }
        self.tcp_parameters(f)
    }
}

impl PgUrl {
    /// The directory of the socket, where that is the only server and can be written as a parameter.
    fn lone_socket(&self) -> Option<&Path> {
        match self.servers.as_slice() {
            [server] => match &server.host {
                Host::Unix(directory) if !directory.to_string_lossy().contains(',') => Some(directory),
                _ => None,
            },
            _ => None,
        }
    }

    fn tls_parameters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tls.roots {
            Roots::None => {}
            Roots::System => f.write_str("&sslrootcert=system")?,
            Roots::File(file) => path(f, "sslrootcert", file)?,
        }
        if let Some(client) = &self.tls.client {
            path(f, "sslcert", &client.certificate)?;
            path(f, "sslkey", &client.key)?;
        }
        if self.tls.negotiation != SslNegotiation::default() {
            write!(f, "&sslnegotiation={}", self.tls.negotiation)?;
        }
        if self.tls.channel_binding != ChannelBinding::default() {
            write!(f, "&channel_binding={}", self.tls.channel_binding)?;
        }
        Ok(())
    }

    fn tcp_parameters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tcp = &self.tcp;
        if !tcp.keepalives {
            f.write_str("&keepalives=0")?;
        }
        for (name, value) in [
            ("keepalives_idle", tcp.idle.map(|idle| idle.as_secs().into())),
            (
                "keepalives_interval",
                tcp.interval.map(|interval| interval.as_secs().into()),
            ),
            ("keepalives_count", tcp.count.map(u128::from)),
            (
                "tcp_user_timeout",
                tcp.user_timeout.map(|timeout| timeout.as_millis()),
            ),
        ] {
            if let Some(value) = value {
                write!(f, "&{name}={value}")?;
            }
        }
        Ok(())
    }
}

fn path(f: &mut fmt::Formatter<'_>, name: &str, path: &Path) -> fmt::Result {
    let path = path.to_string_lossy();
    write!(f, "&{name}={}", utf8_percent_encode(&path, ENCODED_IN_QUERY))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => f.write_str(host),
            Self::Unix(directory) => write!(f, "{}", directory.display()),
        }
    }
}
