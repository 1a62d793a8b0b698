//! Why there is no stream to a server, and what to do.

use std::io;
use std::time::Duration;

use crate::config::SslMode;

/// No stream to a server.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The host's name has no address.
    #[error(
        "cannot find the address of PostgreSQL's host {host:?}: check the name in the URL, and the name service"
    )]
    Resolve {
        /// The name.
        host: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("could not connect to PostgreSQL at {address}: is it running there, and does the URL name it?")]
    Connect {
        /// Host and port, or the socket's path.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No answer in time.
    #[error(
        "PostgreSQL at {address} did not answer within {}: check host, port and firewalls, or raise connect_timeout",
        humantime::format_duration(*within)
    )]
    Timeout {
        /// Host and port.
        address: String,
        /// How long was waited.
        within: Duration,
    },
    /// The server has no TLS.
    #[error(
        "PostgreSQL at {address} has no TLS, and sslmode is {mode}: set ssl = on there, or write sslmode=prefer if an \
         unencrypted connection is acceptable"
    )]
    NoTls {
        /// Host and port.
        address: String,
        /// The mode.
        mode: SslMode,
    },
    /// What answers is not PostgreSQL.
    #[error("what listens at {address} does not answer as PostgreSQL does: check host and port")]
    NotPostgres {
        /// Host and port.
        address: String,
    },
    /// The server's certificate is not trusted.
    #[error(
        "the certificate of PostgreSQL at {address} is not trusted: {problem}. {}",
        remedy(roots)
    )]
    NotTrusted {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        problem: String,
        /// The authorities that would be: a file, or nothing for the system's.
        roots: Option<String>,
    },
    /// The certificate is somebody else's.
    #[error(
        "the certificate of PostgreSQL at {address} is not for {host:?} but for {}: name the host in the URL as the certificate \
         does, or have one made for it; sslmode=verify-ca does without the name, and trusts whoever has a certificate of that \
         authority",
        names(presented)
    )]
    WrongName {
        /// Host and port.
        address: String,
        /// The host of the URL.
        host: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// The host of the URL is nothing that a certificate could be for.
    #[error(
        "the host {host:?} is neither an address nor a name that a certificate can be for, and sslmode is verify-full: give the \
         host another name, or write sslmode=verify-ca, which does without the name"
    )]
    NoName {
        /// The host of the URL.
        host: String,
    },
    /// TLS did not come about.
    #[error("the TLS handshake with PostgreSQL at {address} failed")]
    Handshake {
        /// Host and port.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The server does not understand TLS at once.
    #[error(
        "PostgreSQL at {address} did not take TLS at once; sslnegotiation=direct needs PostgreSQL 17 or later there: with an \
         earlier one write sslnegotiation=postgres"
    )]
    NotDirect {
        /// Host and port.
        address: String,
        /// What happened instead.
        source: io::Error,
    },
    /// Somebody speaks TLS, but not for PostgreSQL.
    #[error(
        "what listens at {address} speaks TLS, but did not agree to speak PostgreSQL over it (ALPN): check host and port, or \
         write sslnegotiation=postgres"
    )]
    NoAlpn {
        /// Host and port.
        address: String,
    },
    /// The server does not like our certificate.
    #[error("PostgreSQL refused our certificate: check sslcert, and ssl_ca_file on the server")]
    ClientCertificate {
        /// What it said.
        source: io::Error,
    },
    /// A file of certificates or keys cannot be used.
    #[error("{parameter} {path} {problem}")]
    File {
        /// The parameter that names it.
        parameter: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The system trusts nobody.
    #[error(
        "sslrootcert=system, and this system has no authorities that it trusts{problem}: install its ca-certificates, or name a \
         file with sslrootcert"
    )]
    NoSystemRoots {
        /// What was in the way.
        problem: String,
    },
}

impl TransportError {
    /// Whether waiting will not mend it: an operator has to change the URL, a file, or the server's settings.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::NotPostgres { .. }
            // An older server hangs up, and so does a network that is cut.
            | Self::NotDirect { .. }
            | Self::Handshake { .. } => false,
            Self::NoTls { .. }
            | Self::NotTrusted { .. }
            | Self::WrongName { .. }
            | Self::NoName { .. }
            | Self::NoAlpn { .. }
            | Self::ClientCertificate { .. }
            | Self::File { .. }
            | Self::NoSystemRoots { .. } => true,
        }
    }

    /// Whether TLS is what failed, so that a URL that can do without may try that.
    #[must_use]
    pub fn is_of_tls(&self) -> bool {
        matches!(self, Self::Handshake { .. } | Self::NoTls { .. })
    }
}

fn remedy(roots: &Option<String>) -> String {
    match roots {
        Some(file) => format!(
            "The authorities in {file} are trusted: name the file of the one that signed the server's certificate with \
             sslrootcert"
        ),
        None => {
            "The authorities of this system are trusted: for one of your own, name its file with sslrootcert"
                .to_owned()
        }
    }
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name at all (subjectAltName)".to_owned();
    }
    presented.join(", ")
}
