//! The routes of a receiver: any path, one method.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::service::TowerToHyperService;
use warp::Filter;
use warp::path::FullPath;
use warp::reply::{Reply, Response};

use crate::http_server::{BodyError, Limits, read_body};

/// The bounds of a receiver. Deliveries come from a program that keeps its connections, so idle ones are kept
/// for longer than the sender keeps them; a row may be large.
pub(super) const LIMITS: Limits = Limits {
    connections: 1_024,
    head: Duration::from_secs(60),
    body: Duration::from_secs(60),
    body_bytes: 256 * 1024 * 1024,
    write: Duration::from_secs(10),
    grace: Duration::from_secs(2),
};

/// One request that was received completely.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A service that hands every POST to `receive` and answers with the status that it returns.
pub(super) fn requests<F, A>(
    receive: F,
) -> impl Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send,
> + Clone
+ Send
+ Sync
+ 'static
where
    F: Fn(Arrival) -> A + Send + Sync + 'static,
    A: Future<Output = StatusCode> + Send + 'static,
{
    let receive = Arc::new(receive);
    let filter = warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method: Method, path: FullPath, headers: HeaderMap, body| {
            let receive = Arc::clone(&receive);
            async move {
                if method != Method::POST {
                    return method_not_allowed();
                }
                match read_body(body, &LIMITS).await {
                    Ok(body) => {
                        let arrival = Arrival {
                            path: path.as_str().to_owned(),
                            headers,
                            body,
                        };
                        receive(arrival).await.into_response()
                    }
                    Err(error) => refused(&error),
                }
            }
        });
    TowerToHyperService::new(warp::service(filter))
}

fn method_not_allowed() -> Response {
    let reply = warp::reply::with_header(StatusCode::METHOD_NOT_ALLOWED, "allow", "POST");
    reply.into_response()
}

fn refused(error: &BodyError) -> Response {
    let status = match error {
        BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken(_) => StatusCode::BAD_REQUEST,
    };
    warp::reply::with_status(format!("{error}\n"), status).into_response()
}
