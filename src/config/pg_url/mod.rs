//! Where a PostgreSQL database is and who connects to it, as a `postgres://` URL says it.
//!
//! Follows libpq's [connection URIs](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS).
//! Deliberately absent: several hosts, service and password files, and the `PG*` environment variables, because
//! one URL has to mean the same to the replication connection and to the connection pool.

mod error;
mod local;
mod parse;
mod query;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use error::PgUrlError;

use super::Secret;

/// The port of a URL that names none.
pub const DEFAULT_PORT: u16 = 5432;

/// What may stand unencoded in any part of a printed URL (RFC 3986 "unreserved").
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same, with the slashes of a socket directory left readable.
const ENCODED_IN_QUERY: &AsciiSet = &ENCODED.remove(b'/');

/// A PostgreSQL connection URL, complete: whatever the text left out has its default here.
///
/// `Display` writes it as a URL again with the password masked; `Debug` masks it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgUrl {
    /// The server's address, or the directory of its socket.
    pub host: Host,
    /// The TCP port, which also is the number in the socket's file name.
    pub port: u16,
    /// The role to connect as; the operating system's user where the URL names none.
    pub user: String,
    /// The role's password, where the URL has one.
    pub password: Option<Secret>,
    /// The database; the role's name where the URL names none.
    pub dbname: String,
    /// Whether the connection is encrypted.
    pub sslmode: SslMode,
    /// The name to show in `pg_stat_activity`, where the URL sets one.
    pub application_name: Option<String>,
    /// How long a connection attempt may take; `None` leaves it to the caller.
    pub connect_timeout: Option<Duration>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A host name or an IP address; an IPv6 address stands without its brackets.
    Tcp(String),
    /// The directory of a Unix-domain socket, without the `.s.PGSQL.<port>` in it.
    Unix(PathBuf),
}

/// How a connection treats TLS. The stricter modes of libpq are refused by [`PgUrl::parse`] until there is TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS where the server offers it and we can speak it, else plain text.
    #[default]
    Prefer,
}

impl PgUrl {
    /// Reads a `postgres://` or `postgresql://` URL.
    ///
    /// # Errors
    ///
    /// Says what is wrong and what to write instead. It never repeats the URL, nor any part of it that could
    /// belong to a password which was not percent-encoded.
    pub fn parse(url: &str) -> Result<Self, PgUrlError> {
        parse::parse(url, &local::Local::SYSTEM)
    }
}

impl fmt::Display for PgUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", utf8_percent_encode(&self.user, ENCODED))?;
        if let Some(password) = &self.password {
            write!(f, ":{password}")?;
        }
        f.write_str("@")?;
        if let Host::Tcp(host) = &self.host {
            if host.contains(':') {
                write!(f, "[{}]", host.replace('%', "%25"))?;
            } else {
                write!(f, "{}", utf8_percent_encode(host, ENCODED))?;
            }
        }
        write!(f, ":{}/{}", self.port, utf8_percent_encode(&self.dbname, ENCODED))?;
        write!(f, "?sslmode={}", self.sslmode)?;
        if let Host::Unix(directory) = &self.host {
            write!(
                f,
                "&host={}",
                utf8_percent_encode(&directory.to_string_lossy(), ENCODED_IN_QUERY)
            )?;
        }
        if let Some(name) = &self.application_name {
            write!(f, "&application_name={}", utf8_percent_encode(name, ENCODED))?;
        }
        if let Some(timeout) = self.connect_timeout {
            write!(f, "&connect_timeout={}", timeout.as_secs())?;
        }
        Ok(())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => f.write_str(host),
            Self::Unix(directory) => write!(f, "{}", directory.display()),
        }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
        })
    }
}
