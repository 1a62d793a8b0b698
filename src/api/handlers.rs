//! What each request about subscriptions does.

use std::time::Duration;

use slog::info;
use tokio::time::timeout;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::State;
use super::refusal::Refusal;
use super::wire::{self, Shown};
use crate::store::{StoreError, subscriptions};
use crate::subscription::Subscription;

/// The longest that a request waits for one statement of the store.
const STORE_LIMIT: Duration = Duration::from_secs(5);

/// Stores the subscription and puts it in use.
pub(super) async fn subscribe(state: &State, body: &[u8]) -> Result<Response, Refusal> {
    let subscription = wire::parse(body)?;
    ask(state, subscriptions::upsert(&state.store, &subscription)).await?;
    put_in_use(state).await?;
    info!(state.log, "subscribed"; described(&subscription));
    Ok(shown(StatusCode::CREATED, &Shown::from(&subscription)))
}

/// Removes the subscription and puts it out of use.
pub(super) async fn unsubscribe(state: &State, body: &[u8]) -> Result<Response, Refusal> {
    let subscription = wire::parse(body)?;
    let Subscription {
        url, schema, table, ..
    } = &subscription;
    let existed = ask(state, subscriptions::delete(&state.store, url, schema, table)).await?;
    // Also when there is none: that "not subscribed" is the answer to a second try, after the first was cut
    // short, has to mean that nothing read from now on is sent there.
    put_in_use(state).await?;
    if !existed {
        return Err(Refusal::not_subscribed(url, schema, table));
    }
    info!(state.log, "unsubscribed"; described(&subscription));
    Ok(shown(StatusCode::OK, &Shown::from(&subscription)))
}

/// Lists what is stored.
pub(super) async fn list(state: &State) -> Result<Response, Refusal> {
    let all = ask(state, subscriptions::list(&state.store)).await?;
    let all: Vec<Shown<'_>> = all.iter().map(Shown::from).collect();
    Ok(shown(StatusCode::OK, &all))
}

/// The store's answer, or that there is none.
async fn ask<T>(state: &State, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, Refusal> {
    let unavailable =
        || Refusal::store_unavailable("the subscription store does not answer: try again later");
    match timeout(STORE_LIMIT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            state.failed("a request failed at the subscription store", &error);
            Err(unavailable())
        }
        Err(_) => {
            state.failed("a request failed at the subscription store", &slow());
            Err(unavailable())
        }
    }
}

/// The store did not answer in time.
fn slow() -> StoreError {
    StoreError::Slow {
        seconds: STORE_LIMIT.as_secs(),
    }
}

/// Publishes a set with what was just stored: whoever gets the answer may rely on it.
async fn put_in_use(state: &State) -> Result<(), Refusal> {
    let not_yet = || {
        Refusal::store_unavailable(
            "the change is stored, but will only be in use once the subscription store answers again",
        )
    };
    match timeout(STORE_LIMIT, state.subscriptions.refresh()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            state.failed("a changed subscription is stored, but not yet in use", &error);
            Err(not_yet())
        }
        Err(_) => {
            state.failed("a changed subscription is stored, but not yet in use", &slow());
            Err(not_yet())
        }
    }
}

pub(super) fn shown(status: StatusCode, value: &impl serde::Serialize) -> Response {
    warp::reply::with_status(warp::reply::json(value), status).into_response()
}

/// A subscription for the log. Of its URL only scheme, host and port: the rest may be a secret.
fn described(subscription: &Subscription) -> impl slog::KV + use<> {
    let Subscription {
        url,
        schema,
        table,
        event_types,
    } = subscription;
    slog::o!(
        "origin" => origin(url),
        "schema" => schema.clone(),
        "table" => table.clone(),
        "event_types" => event_types.letters().join(","),
    )
}

/// What of a URL may be logged.
pub(super) fn origin(url: &str) -> String {
    let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization());
    origin.unwrap_or_default()
}
