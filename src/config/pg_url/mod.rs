//! Where a PostgreSQL database is and who connects to it, as a `postgres://` URL says it.
//!
//! Follows libpq's [connection URIs](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS), its
//! [environment variables](https://www.postgresql.org/docs/current/libpq-envars.html) and its password file. The parameters
//! are described in `docs/connecting.md`. One that is not known is an error: what an operator asked for is never ignored.
//!
//! Deliberately absent: service files, Kerberos, certificate revocation lists, encrypted keys, and the variables that
//! say which database is meant (see [`query`]). [`PgUrl`] holds the names of certificate files, which are read anew for each
//! connection, so that a certificate can be renewed while the program runs.

mod choices;
mod display;
mod error;
mod hosts;
mod local;
mod parse;
mod passfile;
mod query;
mod tcp;
mod tls;
mod unsupported;

use std::path::PathBuf;
use std::time::Duration;

pub use choices::{ChannelBinding, SslMode, SslNegotiation, TargetSessionAttrs};
pub use error::PgUrlError;
pub use tcp::TcpOptions;
pub use tls::{ClientCertificate, Encryption, Roots, TlsOptions, Verification};

use super::Secret;

/// The port of a URL that names none.
pub const DEFAULT_PORT: u16 = 5432;

/// A PostgreSQL connection URL, complete: whatever the text left out has its default here.
///
/// `Display` writes it as a URL again with the password masked; `Debug` masks it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgUrl {
    /// The servers, in the order in which they are tried: at least one.
    pub servers: Vec<Server>,
    /// The role to connect as; the operating system's user where the URL names none.
    pub user: String,
    /// The database; the role's name where the URL names none.
    pub dbname: String,
    /// How the connection is protected.
    pub tls: TlsOptions,
    /// Which of the servers will do.
    pub target_session_attrs: TargetSessionAttrs,
    /// The name to show in `pg_stat_activity`, where the URL sets one.
    pub application_name: Option<String>,
    /// How long the attempt to connect to one address of a server may take; `None` leaves it to the caller.
    pub connect_timeout: Option<Duration>,
    /// How it is noticed that a server is gone.
    pub tcp: TcpOptions,
}

/// One of the servers that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address, or the directory of its socket.
    pub host: Host,
    /// The TCP port, which also is the number in the socket's file name.
    pub port: u16,
    /// The role's password there: that of the URL, of `PGPASSWORD`, or of the password file, which knows one for each server.
    pub password: Option<Secret>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A host name or an IP address; an IPv6 address stands without its brackets.
    Tcp(String),
    /// The directory of a Unix-domain socket, without the `.s.PGSQL.<port>` in it.
    Unix(PathBuf),
}

impl PgUrl {
    /// Reads a `postgres://` or `postgresql://` URL, and what it leaves to the environment and to the password file.
    ///
    /// # Errors
    ///
    /// Says what is wrong and what to write instead. It never repeats the URL, nor any part of it that could
    /// belong to a password which was not percent-encoded.
    pub fn parse(url: &str) -> Result<Self, PgUrlError> {
        parse::parse(url, &local::Local::system())
    }
}
