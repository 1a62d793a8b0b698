//! Which request goes where.

use std::convert::Infallible;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderMap, Method};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::State;
use super::handlers;
use super::monitoring;
use super::operator_routes;
use super::refusal::Refusal;
use crate::http_server::{Limits, read_body};

/// The whole server: it answers every request itself, so that no refusal is left to warp.
pub(super) fn routes(
    state: State,
    limits: Limits,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let operator = operator_routes::routes(state.clone(), limits);
    let monitoring = monitoring::routes(state.shown.clone());
    let state = warp::any().map(move || state.clone());
    let subscribe = warp::path!("webhooks" / "subscribe")
        .and(posted(limits))
        .and(state.clone())
        .then(async |posted: Posted, state: State| {
            answer(async { handlers::subscribe(&state, &posted?).await }).await
        });
    let unsubscribe = warp::path!("webhooks" / "unsubscribe")
        .and(posted(limits))
        .and(state.clone())
        .then(async |posted: Posted, state: State| {
            answer(async { handlers::unsubscribe(&state, &posted?).await }).await
        });
    let list = warp::path!("webhooks" / "subscriptions")
        .and(got())
        .and(state)
        .then(async |got: Result<(), Refusal>, state: State| {
            answer(async {
                got?;
                handlers::list(&state).await
            })
            .await
        });
    let nothing = warp::any().map(|| Refusal::not_found().into_response());
    subscribe
        .or(unsubscribe)
        .unify()
        .or(list)
        .unify()
        .or(operator)
        .unify()
        .or(monitoring)
        .unify()
        .or(nothing)
        .unify()
}

/// The body of a POST of JSON, or why there is none.
pub(super) type Posted = Result<Bytes, Refusal>;

pub(super) fn posted(limits: Limits) -> impl Filter<Extract = (Posted,), Error = Rejection> + Clone {
    let limits = warp::any().map(move || limits);
    warp::method()
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(limits)
        .then(read_posted)
}

async fn read_posted<C: Buf, E: std::fmt::Display>(
    method: Method,
    headers: HeaderMap,
    body: impl Stream<Item = Result<C, E>>,
    limits: Limits,
) -> Posted {
    if method != Method::POST {
        return Err(Refusal::method_not_allowed("POST"));
    }
    if !is_json(&headers) {
        return Err(Refusal::unsupported_media_type());
    }
    Ok(read_body(body, &limits).await?)
}

pub(super) fn got() -> impl Filter<Extract = (Result<(), Refusal>,), Error = Infallible> + Clone {
    warp::method().map(|method: Method| match method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Refusal::method_not_allowed("GET, HEAD")),
    })
}

/// Whether the body is said to be JSON, with whatever parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &str| {
        value
            .split(';')
            .next()
            .map(|essence| essence.trim().to_ascii_lowercase())
    };
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(essence).as_deref() == Some("application/json")
}

pub(super) async fn answer(outcome: impl Future<Output = Result<Response, Refusal>>) -> Response {
    outcome.await.unwrap_or_else(Refusal::into_response)
}
