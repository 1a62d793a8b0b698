//! A request that is not fulfilled.

use serde::Serialize;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use crate::http_server::BodyError;
use crate::subscription::SubscriptionError;

/// Why a request is not fulfilled. As JSON:
///
/// ```json
/// {"error": {"code": "invalid_field", "field": "url", "message": "url has to begin with http:// or https://"}}
/// ```
///
/// `code` is for programs and stays as it is, `message` is for people. `field` is the member of the body that is
/// at fault, or `null` where it is not one member.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    field: Option<String>,
    message: String,
    /// The methods of the resource, where the request had another one.
    allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Wire<'a>,
}

#[derive(Serialize)]
struct Wire<'a> {
    code: &'a str,
    field: Option<&'a str>,
    message: &'a str,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            field: None,
            message: message.into(),
            allow: None,
        }
    }

    /// 400: the body is not what it has to be as a whole.
    pub(super) fn invalid_body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", message)
    }

    /// 400: one member of the body is wrong.
    pub(super) fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::BAD_REQUEST, "invalid_field", message);
        Self {
            field: Some(field.into()),
            ..refusal
        }
    }

    /// 404: there is nothing at this path.
    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "nothing is served at this path: there are /webhooks/subscribe, /webhooks/unsubscribe, \
             /webhooks/subscriptions, /webhooks/endpoints, /webhooks/deadletters, /webhooks/backfill, /healthz and /readyz, \
             and /metrics unless PGSTREAM_METRICS_ADDRESS is set",
        )
    }

    /// 404: there is nothing at this path of the server of metrics.
    pub(super) fn not_monitored() -> Self {
        let message = "nothing is served at this path: there are /metrics, /healthz and /readyz";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 404: what the request names is not there.
    pub(super) fn unknown(code: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..Self::new(StatusCode::NOT_FOUND, code, message)
        }
    }

    /// 409: what the request names is not so that this can be done to it.
    pub(super) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 404: what shall be removed is not there.
    pub(super) fn not_subscribed(url: &str, schema: &str, table: &str) -> Self {
        let message =
            format!("there is no subscription of url {url:?}, schema {schema:?} and table {table:?}");
        Self::new(StatusCode::NOT_FOUND, "not_subscribed", message)
    }

    /// 405: the resource has other methods, `allow`.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("this path answers to {allow} only");
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Self {
            allow: Some(allow),
            ..refusal
        }
    }

    /// 415: the body is not said to be JSON.
    pub(super) fn unsupported_media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body has to be JSON and sent with the header content-type: application/json",
        )
    }

    /// 503: the program is not that far yet.
    pub(super) fn starting() -> Self {
        let message =
            "the program opens its databases, which may take long where the store is migrated: try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "starting", message)
    }

    /// 503: the store does not answer. What failed is in the log, not here.
    pub(super) fn store_unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", message)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let (status, code) = match error {
            BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            BodyError::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "invalid_body"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<SubscriptionError> for Refusal {
    fn from(error: SubscriptionError) -> Self {
        Self::invalid_field(error.field(), error.to_string())
    }
}

impl Reply for Refusal {
    fn into_response(self) -> Response {
        let Self {
            status,
            code,
            field,
            message,
            allow,
        } = self;
        let body = Envelope {
            error: Wire {
                code,
                field: field.as_deref(),
                message: &message,
            },
        };
        let mut response = warp::reply::with_status(warp::reply::json(&body), status).into_response();
        if let Some(allow) = allow {
            let allow = warp::http::HeaderValue::from_static(allow);
            response.headers_mut().insert(warp::http::header::ALLOW, allow);
        }
        response
    }
}
