//! What can be wrong with a PostgreSQL URL, and what to write instead.

use thiserror::Error;

use super::SslMode;

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
    /// A list of hosts with nothing between two commas.
    #[error("names a host without a name: write host1:5432,host2:5432 without empty places")]
    EmptyHost,
    /// A list of ports that fits no list of hosts.
    #[error("names {hosts} hosts and {ports} ports: give one port for all hosts, or one for each")]
    PortCount {
        /// How many hosts there are.
        hosts: usize,
        /// How many ports there are.
        ports: usize,
    },
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
    /// A word that a parameter, or the variable in its place, does not have.
    #[error("{name} is {value:?}, which is not known: write {known}")]
    Choice {
        /// The parameter or the variable.
        name: &'static str,
        /// The word as written.
        value: String,
        /// The words there are.
        known: String,
    },
    /// A number that is not one.
    #[error("{name} is not {unit}: write for example {name}=1")]
    Number {
        /// The parameter or the variable.
        name: &'static str,
        /// What it should be.
        unit: &'static str,
    },
    /// The system's authorities, and names that are not looked at.
    #[error(
        "sslrootcert=system needs sslmode=verify-full, and sslmode is {mode}: public authorities sign for everybody, and only \
         the name in a certificate tells whose it is"
    )]
    SystemRootsWithWeakMode {
        /// The mode.
        mode: SslMode,
    },
    /// A certificate to be looked at, and no authority.
    #[error(
        "sslmode={mode} needs the certificate of the authority that signed the server's: name its file with sslrootcert, or \
         put it at {usual}, or write sslrootcert=system for the authorities that this system trusts"
    )]
    NoRootCertificate {
        /// The mode.
        mode: SslMode,
        /// Where the file would be found.
        usual: String,
    },
    /// Half of what a client certificate takes.
    #[error("the certificate {certificate} has no key: name its file with sslkey")]
    CertificateWithoutKey {
        /// The file of the certificate.
        certificate: String,
    },
    /// A variable that asks libpq for what is not done here.
    #[error(
        "the variable {variable} asks for what is not supported: unset it for pgstream where the connection may do without"
    )]
    UnsupportedVariable {
        /// The variable.
        variable: &'static str,
    },
    /// A list of revoked certificates at the usual place.
    #[error(
        "lists of revoked certificates are not supported, and there is one at {path}: name another file than the usual one with \
         sslrootcert where the connection may do without"
    )]
    RevocationList {
        /// The file.
        path: String,
    },
    /// TLS at once, and a mode that would do without.
    #[error("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full, and sslmode is {mode}")]
    DirectWithWeakMode {
        /// The mode.
        mode: SslMode,
    },
    /// Channel binding, and no channel to bind to.
    #[error("channel_binding=require needs TLS, and sslmode is disable: write sslmode=verify-full")]
    ChannelBindingWithoutTls,
    /// A password file that cannot be used.
    #[error("the password file {path} {problem}")]
    PassFile {
        /// The file.
        path: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}
