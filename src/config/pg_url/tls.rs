//! What a URL says of TLS, with libpq's defaults and its refusals of what contradicts itself.

use std::path::{Path, PathBuf};

use super::choices::{ChannelBinding, SslMode, SslNegotiation};
use super::local::Local;
use super::query::Query;
use super::{Host, PgUrlError, Server, unsupported};

/// How a connection treats TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// How much it relies on it.
    pub mode: SslMode,
    /// How it begins.
    pub negotiation: SslNegotiation,
    /// Who may have signed the server's certificate.
    pub roots: Roots,
    /// The certificate that we show.
    pub client: Option<ClientCertificate>,
    /// Whether a password's proof is bound to the server's certificate.
    pub channel_binding: ChannelBinding,
}

/// The authorities that are trusted to sign a server's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// None were named, and there is no file at the usual place.
    #[default]
    None,
    /// Those the operating system trusts.
    System,
    /// Those of a PEM file.
    File(PathBuf),
}

/// A certificate to show to the server, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The PEM file of the certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// The PEM file of its key.
    pub key: PathBuf,
}

/// What is looked at in a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Nothing: whoever answers is talked to.
    Nothing,
    /// That somebody signed it who is trusted.
    Authority,
    /// The same, and that it is for the name of the host.
    AuthorityAndName,
}

/// Whether one try of a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// It is not.
    Plain,
    /// It is where the server has TLS.
    IfOffered,
    /// It is, or it fails.
    Tls,
}

impl TlsOptions {
    /// What is looked at in the server's certificate.
    #[must_use]
    pub fn verification(&self) -> Verification {
        match (self.mode, &self.roots) {
            (SslMode::VerifyFull, _) => Verification::AuthorityAndName,
            (SslMode::VerifyCa, _) | (SslMode::Require, Roots::File(_) | Roots::System) => {
                Verification::Authority
            }
            _ => Verification::Nothing,
        }
    }

    /// How a connection to this server is tried, one way after the other. There is a second way only where `sslmode` says
    /// that either will do; a socket of this machine is never encrypted, as nobody else sees it.
    #[must_use]
    pub fn ways(&self, server: &Server) -> &'static [Encryption] {
        match (&server.host, self.mode) {
            (Host::Unix(_), _) | (_, SslMode::Disable) => &[Encryption::Plain],
            // Without TLS there is nothing to bind to.
            (_, SslMode::Allow | SslMode::Prefer) if self.channel_binding == ChannelBinding::Require => {
                &[Encryption::IfOffered]
            }
            (_, SslMode::Allow) => &[Encryption::Plain, Encryption::Tls],
            (_, SslMode::Prefer) => &[Encryption::IfOffered, Encryption::Plain],
            _ => &[Encryption::Tls],
        }
    }

    pub(super) fn take(query: &mut Query, local: &Local, servers: &[Server]) -> Result<Self, PgUrlError> {
        let folder = local.home.as_ref().map(|home| home.join(".postgresql"));
        let usual = |name: &str| folder.as_ref().map(|folder| folder.join(name));
        let present = |name: &str| usual(name).filter(|path| path.exists());
        let (roots, are_usual) = match query.setting("sslrootcert", local)? {
            Some((_, word)) if word == "system" => (Roots::System, false),
            Some((_, path)) => (Roots::File(PathBuf::from(path)), false),
            None => (present("root.crt").map_or(Roots::None, Roots::File), true),
        };
        let mode = query.choice("sslmode", local)?;
        let mode = mode.unwrap_or(match roots {
            // Certificates of public authorities are for everybody: only a name tells whose it is.
            Roots::System => SslMode::VerifyFull,
            _ => SslMode::default(),
        });
        let path = |found: Option<(_, String)>| found.map(|(_, path)| PathBuf::from(path));
        let named = path(query.setting("sslcert", local)?);
        let is_named = named.is_some();
        let certificate = named.or_else(|| present("postgresql.crt"));
        let key = path(query.setting("sslkey", local)?).or_else(|| present("postgresql.key"));
        let mut options = Self {
            mode,
            negotiation: query.choice("sslnegotiation", local)?.unwrap_or_default(),
            roots,
            client: None,
            channel_binding: query.choice("channel_binding", local)?.unwrap_or_default(),
        };
        // What lies at the usual places, or is set for other programs, may be wrong where it is not used.
        let is_used = servers
            .iter()
            .any(|server| options.ways(server) != [Encryption::Plain]);
        options.client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
            (Some(certificate), None) if is_used || is_named => {
                return Err(PgUrlError::CertificateWithoutKey {
                    certificate: certificate.display().to_string(),
                });
            }
            (_, _) => None,
        };
        options.refuse_contradictions(usual("root.crt").as_deref(), is_used)?;
        let revoked = present("root.crl").filter(|_| are_usual && is_used);
        unsupported::refuse(&options, local, revoked.as_deref())?;
        Ok(options)
    }

    fn refuse_contradictions(&self, usual_roots: Option<&Path>, is_used: bool) -> Result<(), PgUrlError> {
        let mode = self.mode;
        if self.roots == Roots::System && mode != SslMode::VerifyFull {
            return Err(PgUrlError::SystemRootsWithWeakMode { mode });
        }
        if mode.verifies() && self.roots == Roots::None && is_used {
            return Err(PgUrlError::NoRootCertificate {
                mode,
                usual: usual_roots.map_or_else(
                    || "~/.postgresql/root.crt".into(),
                    |path| path.display().to_string(),
                ),
            });
        }
        if self.negotiation == SslNegotiation::Direct && !mode.insists() {
            return Err(PgUrlError::DirectWithWeakMode { mode });
        }
        if self.channel_binding == ChannelBinding::Require && mode == SslMode::Disable {
            return Err(PgUrlError::ChannelBindingWithoutTls);
        }
        Ok(())
    }
}
