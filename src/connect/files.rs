//! Certificates and keys, read anew for each connection: whoever renews them need not restart us.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::geteuid;
use rustls_native_certs::load_native_certs;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, Error, InconsistentKeys, RootCertStore};

use super::TransportError;
use super::verifier::{Trusted, Verifier};
use crate::config::{ClientCertificate, Roots, TlsOptions, Verification};

/// What we speak over TLS: [the protocol's name for ALPN](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL).
pub(super) const ALPN: &[u8] = b"postgresql";

/// Permissions that a key may not give to others than its owner, and if that is root, to others than a group.
const OF_OTHERS: u32 = 0o077;
const OF_OTHERS_THAN_ROOTS_GROUP: u32 = 0o037;

/// Everything that TLS needs to know. Reads files.
pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig, TransportError> {
    // Never the process's default provider: which one that is depends on what else is compiled in.
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for the versions that are on by default");
    let trusted = match options.verification() {
        Verification::Nothing => None,
        verification => Some(Trusted {
            authorities: authorities(&options.roots)?,
            also_the_name: verification == Verification::AuthorityAndName,
        }),
    };
    let verifier = Verifier::new(trusted, provider);
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &options.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = client_certificate(client)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable(client, &error))?
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// The certificates of the authorities that are trusted.
fn authorities(roots: &Roots) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    match roots {
        Roots::File(path) => certificates("sslrootcert", path),
        Roots::System => {
            let found = load_native_certs();
            match found.errors.first() {
                _ if !found.certs.is_empty() => Ok(found.certs),
                error => Err(TransportError::NoSystemRoots {
                    problem: error.map_or_else(String::new, |error| format!(" ({error})")),
                }),
            }
        }
        // Refused by the parser of URLs where it matters.
        Roots::None => Ok(Vec::new()),
    }
}

fn certificates(
    parameter: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let text = read(parameter, path)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(file(
            parameter,
            path,
            "has no certificate: it has to be in the PEM format",
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(file(
            parameter,
            path,
            format!("is not in the PEM format ({error})"),
        )),
    }
}

fn client_certificate(
    client: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TransportError> {
    let chain = certificates("sslcert", &client.certificate)?;
    let path = &client.key;
    refuse_open_key(path)?;
    let text = read("sslkey", path)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if text.windows(9).any(|window| window == b"ENCRYPTED") => {
            let remedy =
                "is encrypted, which is not supported: decrypt it, and have its permissions protect it";
            file("sslkey", path, remedy)
        }
        pem::Error::NoItemsFound => file("sslkey", path, "has no key: it has to be in the PEM format"),
        error => file("sslkey", path, format!("is not in the PEM format ({error})")),
    })?;
    Ok((chain, key))
}

/// Whoever can read a key can be us. Asks for what libpq asks for.
fn refuse_open_key(path: &Path) -> Result<(), TransportError> {
    let found =
        fs::metadata(path).map_err(|error| file("sslkey", path, format!("cannot be read ({error})")))?;
    let (forbidden, remedy) = match found.uid() {
        0 if !geteuid().is_root() => (OF_OTHERS_THAN_ROOTS_GROUP, "0640"),
        _ => (OF_OTHERS, "0600"),
    };
    if found.mode() & forbidden != 0 {
        let remedy = format!(
            "can be used by others than its owner: run chmod {remedy} {}",
            path.display()
        );
        return Err(file("sslkey", path, remedy));
    }
    Ok(())
}

fn unusable(client: &ClientCertificate, error: &Error) -> TransportError {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let problem = format!(
                "is not the key of the certificate {}",
                client.certificate.display()
            );
            file("sslkey", &client.key, problem)
        }
        error => file("sslcert", &client.certificate, format!("cannot be used: {error}")),
    }
}

fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, TransportError> {
    fs::read(path).map_err(|error| file(parameter, path, format!("cannot be read ({error})")))
}

fn file(parameter: &'static str, path: &Path, problem: impl Into<String>) -> TransportError {
    TransportError::File {
        parameter,
        path: path.display().to_string(),
        problem: problem.into(),
    }
}

/// The certificates as anchors of trust. What is no certificate of an authority, such as a server's that signed itself, is none
/// and does not spoil the others.
pub(super) fn anchors(authorities: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(authorities.iter().cloned());
    store
}
