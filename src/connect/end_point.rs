//! What a password's proof is bound to: `tls-server-end-point` of
//! [RFC 5929](https://www.rfc-editor.org/rfc/rfc5929#section-4.1).

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use x509_cert::Certificate;
use x509_cert::der::asn1::ContextSpecific;
use x509_cert::der::{AnyRef, Decode, TagNumber};
use x509_cert::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

/// RSASSA-PSS, which says elsewhere what it hashes with.
const RSA_PSS: &str = "1.2.840.113549.1.1.10";

/// The hash of a certificate, by the hash function that it is signed with. MD5 and SHA-1 are replaced by SHA-256, as the RFC
/// says. `None` where the signature has no single hash function (Ed25519), for which the RFC defines nothing.
pub(super) fn of(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let algorithm = hash(parsed.signature_algorithm())?;
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

fn hash(signature: &AlgorithmIdentifierOwned) -> Option<&'static Algorithm> {
    match signature.oid.to_string().as_str() {
        RSA_PSS => hash_of_pss(signature),
        // With MD5, SHA-1 and SHA-256: RSA, ECDSA, DSA.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2"
        | "2.16.840.1.101.3.4.3.2" => Some(&SHA256),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(&SHA384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(&SHA512),
        _ => None,
    }
}

/// The parameters of RSASSA-PSS name the hash function; SHA-1 where they do not.
fn hash_of_pss(signature: &AlgorithmIdentifierOwned) -> Option<&'static Algorithm> {
    let Some(parameters) = &signature.parameters else {
        return Some(&SHA256);
    };
    let named = AnyRef::from(parameters).sequence(|reader| {
        ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode_explicit(reader, TagNumber(0))
    });
    match named.ok()? {
        None => Some(&SHA256),
        Some(named) => match named.value.oid.to_string().as_str() {
            "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(&SHA256),
            "2.16.840.1.101.3.4.2.2" => Some(&SHA384),
            "2.16.840.1.101.3.4.2.3" => Some(&SHA512),
            _ => None,
        },
    }
}
