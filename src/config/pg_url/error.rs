//! What can be wrong with a PostgreSQL URL, and what to write instead.

use thiserror::Error;

/// A URL that cannot be used. No variant holds text that could belong to a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PgUrlError {
    /// Another scheme, or none.
    #[error("is not a PostgreSQL URL: write postgres://user:password@host:5432/dbname")]
    Scheme,
    /// A `#`, which would begin a fragment.
    #[error("contains '#': if it belongs to the password or a name, write %23")]
    Fragment,
    /// An `@` behind the host, as an unencoded `/` or `?` in a password makes it.
    #[error(
        "has an '@' behind the host: in a user name, password or database name write '/' as %2F, '?' as %3F and '@' as %40"
    )]
    StrayAt,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the {part} has a '%' that is not followed by two hexadecimal digits: write a plain '%' as %25")]
    Escape {
        /// The part of the URL it stands in.
        part: &'static str,
    },
    /// Percent-encoded bytes that are not UTF-8.
    #[error("the {part} is not UTF-8: percent-encode its UTF-8 bytes")]
    NotUtf8 {
        /// The part of the URL it stands in.
        part: &'static str,
    },
    /// A NUL, which the protocol uses to end a text.
    #[error("the {part} contains a NUL (%00), which PostgreSQL does not allow: remove it")]
    Nul {
        /// The part of the URL it stands in.
        part: &'static str,
    },
    /// A port that is not one.
    #[error(
        "the port is not a number from 1 to 65535: write host:5432; if a ':' or '/' belongs to the password, write %3A or %2F"
    )]
    Port,
    /// A host that cannot be one.
    #[error(
        "the host is not a name or an address: write localhost, 192.0.2.7, [2001:db8::7], or %2Fvar%2Frun%2Fpostgresql for a socket's directory"
    )]
    Host,
    /// More than one host.
    #[error("names several hosts, which is not supported: name the primary alone")]
    SeveralHosts,
    /// A database name with a slash in it.
    #[error("has more than one '/' behind the host: write a '/' in the database name as %2F")]
    Path,
    /// No user in the URL, and the process's own user has no name.
    #[error(
        "names no user, and the user this process runs as has no name: write postgres://user@host/dbname"
    )]
    NoUser,
    /// A query parameter without a value.
    #[error("the parameter {name} has no value: write {name}=value")]
    NoValue {
        /// The parameter.
        name: String,
    },
    /// A query parameter that is not known.
    #[error("the parameter {name} is not known: {hint}")]
    UnknownParameter {
        /// The parameter as written.
        name: String,
        /// The nearest known one, or all of them.
        hint: String,
    },
    /// An unknown parameter behind `password`, which could be the rest of the password.
    #[error("a parameter behind password is not known: if the '&' belongs to the password, write it as %26")]
    AmpersandInPassword,
    /// A query parameter given twice.
    #[error("the parameter {name} is given twice: keep one")]
    Repeated {
        /// The parameter.
        name: &'static str,
    },
    /// An `sslmode` that needs TLS.
    #[error(
        "sslmode={mode} needs TLS, which is not available yet; nothing is downgraded silently: write sslmode=disable or sslmode=prefer if an unencrypted connection is acceptable"
    )]
    TlsNotAvailable {
        /// The mode that was asked for.
        mode: &'static str,
    },
    /// An `sslmode` that PostgreSQL does not have.
    #[error("sslmode is {mode:?}, which is not known: write disable or prefer")]
    SslMode {
        /// The mode as written.
        mode: String,
    },
    /// A `connect_timeout` that is not a number of seconds.
    #[error("connect_timeout is not a whole number of seconds: write for example connect_timeout=10")]
    ConnectTimeout,
}
