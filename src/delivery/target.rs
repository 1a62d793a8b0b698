//! Where an endpoint's requests go.

use std::fmt;
use std::sync::Arc;

use url::Url;

/// The URL of an endpoint: as the user wrote it, and as it is requested.
#[derive(Clone)]
pub struct Target {
    url: Arc<str>,
    request_url: Arc<str>,
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
        let mut shown = parsed.clone();
        // What identifies us to the receiver is often in these. They cannot fail: http and https have both.
        if !parsed.username().is_empty() || parsed.password().is_some() {
            let _ = shown.set_username("***").and_then(|()| shown.set_password(None));
        }
        if parsed.query().is_some() {
            shown.set_query(Some("***"));
        }
        Ok(Self {
            url: Arc::clone(url),
            request_url: parsed.as_str().into(),
            shown: shown.as_str().into(),
        })
    }

    /// The URL as the user wrote it: the name of the endpoint.
    #[must_use]
    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// The URL in the normal form that is requested.
    #[must_use]
    pub fn request_url(&self) -> &str {
        &self.request_url
    }
}

impl fmt::Display for Target {
    /// The URL without user, password and query, for logs.
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
    fn is_requested_in_normal_form_and_shown_without_its_secrets() {
        let target = Target::parse(&"http://user:secret@EXAMPLE.com/a b?token=secret".into()).unwrap();
        assert_eq!(&**target.url(), "http://user:secret@EXAMPLE.com/a b?token=secret");
        assert_eq!(
            target.request_url(),
            "http://user:secret@example.com/a%20b?token=secret"
        );
        assert_eq!(target.to_string(), "http://***@example.com/a%20b?***");
        assert!(!format!("{target} {target:?}").contains("secret"));
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
