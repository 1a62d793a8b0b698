//! What a password's proof is bound to: `tls-server-end-point` of
//! [RFC 5929](https://www.rfc-editor.org/rfc/rfc5929#section-4.1).

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use x509_cert::Certificate;
use x509_cert::der::asn1::ContextSpecific;
use x509_cert::der::{AnyRef, Decode, Error, Reader, TagNumber};
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
    let named: Result<_, Error> = AnyRef::from(parameters).sequence(|reader| {
        let named = ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode_explicit(reader, TagNumber(0))?;
        // The mask and the length of the salt.
        reader.read_slice(reader.remaining_len())?;
        Ok(named)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The algorithm of a signature by RSASSA-PSS, as openssl writes it: the hash, the mask made with it, the length of the salt.
    fn pss(hash: u8, salt: u8) -> Vec<u8> {
        let hash = [0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, hash, 5, 0];
        let tagged = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let mask = [&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8], &hash[..]].concat();
        let parameters = [
            tagged(0xa0, &hash),
            tagged(0xa1, &tagged(0x30, &mask)),
            tagged(0xa2, &[2, 1, salt]),
        ]
        .concat();
        let algorithm = [
            &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10],
            tagged(0x30, &parameters).as_slice(),
        ]
        .concat();
        tagged(0x30, &algorithm)
    }

    #[test]
    fn the_parameters_of_pss_name_the_hash() {
        for (hash, salt, expected) in [(1, 32, &SHA256), (2, 48, &SHA384), (3, 64, &SHA512)] {
            let algorithm = AlgorithmIdentifierOwned::from_der(&pss(hash, salt)).unwrap();
            assert!(hash_of_pss(&algorithm).unwrap() == expected);
        }
    }
}
