//! Where an endpoint's requests go.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

/// The URL of an endpoint: as the user wrote it, and as it is requested.
#[derive(Clone)]
pub struct Target {
    url: Arc<str>,
    request_url: Arc<str>,
    authorization: Option<Arc<str>>,
    shown: Arc<str>,
}

/// Why a URL cannot be an endpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    /// It is no URL.
    #[error("it is not a URL: {0}")]
    NotAUrl(url::ParseError),
    /// Its scheme is not one that webhooks are sent over.
    #[error("its scheme is {0:?}: only http and https are delivered to")]
    Scheme(String),
}

impl Target {
    /// Reads the URL of an endpoint.
    pub fn parse(url: &Arc<str>) -> Result<Self, TargetError> {
        let parsed = Url::parse(url).map_err(TargetError::NotAUrl)?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(TargetError::Scheme(parsed.scheme().to_owned()));
        }
        let mut requested = parsed.clone();
        // They cannot fail: URLs of http and https may have both.
        let _ = requested
            .set_username("")
            .and_then(|()| requested.set_password(None));
        Ok(Self {
            url: Arc::clone(url),
            request_url: requested.as_str().into(),
            authorization: authorization(&parsed).map(Into::into),
            shown: shown(url, &parsed).into(),
        })
    }

    /// The URL as the user wrote it: the name of the endpoint.
    #[must_use]
    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// The URL in the normal form that is requested, without user and password.
    #[must_use]
    pub fn request_url(&self) -> &str {
        &self.request_url
    }

    /// The `authorization` header that the URL's user and password ask for.
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }
}

/// Basic authentication (RFC 7617) with the user and the password of a URL.
fn authorization(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    Some(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
}

/// Where the URL leads, and a hash that tells the endpoints there apart. User, password, path and query are often what
/// a receiver knows its senders by, and so are not for logs.
fn shown(written: &str, url: &Url) -> String {
    let hash = xxh3_64(written.as_bytes()) >> 32;
    format!("{} ({hash:08x})", url.origin().ascii_serialization())
}

impl fmt::Display for Target {
    /// The endpoint for logs: its origin, and a hash that tells it from others there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_requested_in_normal_form_with_its_credentials_in_a_header() {
        let target = Target::parse(&"http://us%65r:se%3Acret@EXAMPLE.com/a b?token=secret".into()).unwrap();
        assert_eq!(
            &**target.url(),
            "http://us%65r:se%3Acret@EXAMPLE.com/a b?token=secret"
        );
        assert_eq!(target.request_url(), "http://example.com/a%20b?token=secret");
        // user:se:cret
        assert_eq!(target.authorization(), Some("Basic dXNlcjpzZTpjcmV0"));
        let without = Target::parse(&"https://example.com/".into()).unwrap();
        assert_eq!(without.authorization(), None);
    }

    #[test]
    fn is_shown_without_its_secrets_and_apart_from_its_neighbours() {
        let shown = |url: &str| Target::parse(&url.into()).unwrap().to_string();
        let one = shown("https://user:secret@hooks.example.com:8443/services/secret?token=secret");
        assert!(
            one.starts_with("https://hooks.example.com:8443 (") && !one.contains("secret"),
            "{one}"
        );
        assert_ne!(one, shown("https://hooks.example.com:8443/services/other"));
    }

    #[test]
    fn refuses_what_cannot_be_posted_to() {
        assert!(matches!(
            Target::parse(&"nonsense".into()),
            Err(TargetError::NotAUrl(_))
        ));
        assert_eq!(
            Target::parse(&"ftp://a/".into()).unwrap_err(),
            TargetError::Scheme("ftp".into())
        );
    }
}
