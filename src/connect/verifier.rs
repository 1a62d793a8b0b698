//! Whether a server's certificate is trusted.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::files::anchors;

/// Who is trusted, where anything is looked at.
#[derive(Debug)]
pub(super) struct Trusted {
    /// The authorities' certificates.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// Whether the certificate has to be for the name of the host.
    pub(super) also_the_name: bool,
}

/// Looks at a certificate as libpq does: not at all, at who signed it, or at its name too. That the server has the key of
/// its certificate is looked at in any case.
///
/// Stricter than libpq in one thing, as all of rustls is: a name counts only as a `subjectAltName`, never as the common name.
#[derive(Debug)]
pub(super) struct Verifier {
    trusted: Option<(Trusted, RootCertStore)>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(trusted: Option<Trusted>, provider: Arc<CryptoProvider>) -> Self {
        let trusted = trusted.map(|trusted| {
            let anchors = anchors(&trusted.authorities);
            (trusted, anchors)
        });
        Self { trusted, provider }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some((trusted, anchors)) = &self.trusted else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if trusted.authorities.contains(end_entity) {
            // The server's own certificate was named as an authority, as is done with one that signed itself.
            verify_validity(end_entity, now)?;
        } else {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, anchors, intermediates, now, algorithms)?;
        }
        if trusted.also_the_name {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// That now is within the time for which a certificate was made.
fn verify_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.tbs_certificate().validity();
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}
