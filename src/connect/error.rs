//! Why there is no session, and what to do.

use std::error::Error;
use std::io;

use pgstream_proto::{DecodeError, EncodeError};

use super::{ServerError, TransportError, sqlstate};
use crate::config::{Encryption, TargetSessionAttrs};

/// SQLSTATE `invalid_authorization_specification`: among others, no entry of `pg_hba.conf` fits.
const NOT_AUTHORISED: &str = "28000";
/// SQLSTATE `invalid_catalog_name`.
const NO_DATABASE: &str = "3D000";
/// SQLSTATE `invalid_password`.
const WRONG_PASSWORD: &str = "28P01";

/// No session on the server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No stream to it.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// None of several servers, or of several addresses, will do.
    #[error("no server of the URL can be used: {}", of_each(failures))]
    NoServer {
        /// Why not, for each of them.
        failures: Vec<ConnectError>,
    },
    /// The server is not what `target_session_attrs` asks for.
    #[error(
        "PostgreSQL at {address} {found}, and target_session_attrs is {wanted}: name a server of that kind as well"
    )]
    OtherServer {
        /// Host and port.
        address: String,
        /// What was asked for.
        wanted: TargetSessionAttrs,
        /// What it is, as it reads behind its name.
        found: &'static str,
    },
    /// The server reported an error.
    #[error("PostgreSQL refused the connection at {address}: {error}{}", remedy(&error.code))]
    Server {
        /// Host and port.
        address: String,
        /// Whether TLS protected the connection.
        is_encrypted: bool,
        /// What it said.
        error: ServerError,
    },
    /// The server asks for a password and there is none.
    #[error(
        "PostgreSQL asks for the password of user {user:?} and the URL has none: set PGPASSWORD, add a line to the password file \
         (~/.pgpass, or PGPASSFILE), or write it in the URL as postgres://{user}:<password>@…"
    )]
    NoPassword {
        /// The user of the URL.
        user: String,
    },
    /// The server offers no way of authentication that is supported.
    #[error(
        "PostgreSQL offers the SASL mechanisms {offered}; supported are SCRAM-SHA-256, and SCRAM-SHA-256-PLUS over TLS"
    )]
    NoMechanism {
        /// What it offers.
        offered: String,
    },
    /// Channel binding is required and would not take place.
    #[error(
        "channel_binding=require, and PostgreSQL cannot be told from somebody in between: {problem}. Have it ask for \
         scram-sha-256 over TLS (hostssl in pg_hba.conf), or write channel_binding=prefer"
    )]
    NoChannelBinding {
        /// Why not.
        problem: &'static str,
    },
    /// Channel binding is offered where there is nothing to bind to.
    #[error(
        "PostgreSQL offers SCRAM-SHA-256-PLUS on a connection that is not encrypted here: somebody in between holds its end of \
         the encryption"
    )]
    PlusWithoutTls,
    /// The SCRAM exchange failed.
    #[error("the SCRAM-SHA-256 exchange with PostgreSQL failed")]
    Scram(#[source] io::Error),
    /// A message that does not belong there.
    #[error("PostgreSQL sent {message} where {expected} was expected")]
    Unexpected {
        /// The name of the message.
        message: &'static str,
        /// What should have come.
        expected: &'static str,
    },
    /// The server closed the connection.
    #[error("PostgreSQL at {address} closed the connection before the session began")]
    Closed {
        /// Host and port.
        address: String,
    },
    /// A message that could not be read, or a broken socket.
    #[error("reading from PostgreSQL failed")]
    Decode(#[from] DecodeError),
    /// A message that could not be written, or a broken socket.
    #[error("writing to PostgreSQL failed")]
    Encode(#[from] EncodeError),
}

impl ConnectError {
    /// What the server reported, where it did.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Whether trying again will not mend it: an operator has to change the configuration, a file, the role or the server.
    ///
    /// What may heal are the network, and a server that is starting, stopping, too full, or of the wrong kind for now.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_permanent(),
            Self::NoServer { failures } => failures.iter().any(Self::is_permanent),
            Self::Server { error, .. } => error.is_permanent(),
            Self::Decode(
                DecodeError::UnsupportedAuthentication { .. } | DecodeError::UnknownAuthentication { .. },
            ) => true,
            Self::NoPassword { .. }
            | Self::NoMechanism { .. }
            | Self::NoChannelBinding { .. }
            | Self::PlusWithoutTls
            | Self::Scram(_) => true,
            Self::OtherServer { .. }
            | Self::Closed { .. }
            | Self::Unexpected { .. }
            | Self::Decode(_)
            | Self::Encode(_) => false,
        }
    }

    /// Whether files of this machine are what is wrong: certificates and keys, which somebody may be renewing right now.
    #[must_use]
    pub fn is_of_files(&self) -> bool {
        matches!(
            self,
            Self::Transport(TransportError::File { .. } | TransportError::NoSystemRoots { .. })
        )
    }

    /// The error and what caused it, in one line.
    #[must_use]
    pub fn text_with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// Whether a URL that allows it may try without TLS what failed with it, or the other way round: the handshake failed, or
    /// `pg_hba.conf` has no entry for a connection of that kind.
    pub(super) fn may_succeed_otherwise(&self, way: Encryption) -> bool {
        match self {
            Self::Transport(error) => error.is_of_tls(),
            Self::Server {
                error, is_encrypted, ..
            } => {
                // It was tried both ways then: the server has no TLS.
                let was_without = way == Encryption::IfOffered && !is_encrypted;
                error.code == NOT_AUTHORISED && !was_without
            }
            _ => false,
        }
    }

    /// The error for servers, or for the addresses of one, none of which will do. There is at least one.
    pub(super) fn of_all(mut failures: Vec<Self>) -> Self {
        match failures.pop() {
            Some(only) if failures.is_empty() => only,
            last => {
                failures.extend(last);
                Self::NoServer { failures }
            }
        }
    }
}

impl ServerError {
    /// Whether no waiting changes it: who we are, what the role may do, which database there is.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        sqlstate::is_refusal(&self.code)
    }
}

fn of_each(failures: &[ConnectError]) -> String {
    let texts: Vec<String> = failures.iter().map(ConnectError::text_with_causes).collect();
    texts.join("; ")
}

/// What to do about a refusal, where its SQLSTATE says enough.
fn remedy(code: &str) -> &'static str {
    match code {
        WRONG_PASSWORD => {
            "; check the user, and the password in the URL, in PGPASSWORD or in the password file"
        }
        NOT_AUTHORISED => "; check user and sslmode in the URL, and pg_hba.conf on the server",
        NO_DATABASE => "; name a database that exists in the URL",
        sqlstate::INSUFFICIENT_PRIVILEGE => {
            "; give the role what it lacks: a replication connection needs ALTER ROLE … REPLICATION, any connection GRANT CONNECT \
             ON DATABASE …"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_does_not_mend() {
        for (code, is_permanent) in [
            ("28P01", true),
            ("28000", true),
            ("3D000", true),
            ("42501", true),
            ("57P01", false),
            ("57P03", false),
            ("53300", false),
            ("55006", false),
            ("08006", false),
        ] {
            let error = ServerError {
                code: code.to_owned(),
                message: String::new(),
                detail: None,
                hint: None,
            };
            let error = ConnectError::Server {
                address: "db:5432".to_owned(),
                is_encrypted: true,
                error,
            };
            assert_eq!(error.is_permanent(), is_permanent, "{code}");
        }
        let closed = ConnectError::Closed {
            address: "db:5432".to_owned(),
        };
        assert!(!closed.is_permanent());
        let gss = ConnectError::from(DecodeError::UnsupportedAuthentication { method: "GSSAPI" });
        assert!(gss.is_permanent() && gss.text_with_causes().contains("pg_hba.conf"));
    }
}
