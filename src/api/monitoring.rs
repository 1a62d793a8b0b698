//! Metrics and probes over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use slog::{Logger, info};
use tokio_util::sync::CancellationToken;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use super::refusal::Refusal;
use super::routes::{answer, got};
use super::server::{ApiError, LIMITS};
use crate::http_server;
use crate::monitoring::{self, Monitor, Reason};

/// What one server shows of the program.
#[derive(Clone)]
pub struct Shown {
    /// What it knows.
    pub monitor: Arc<Monitor>,
    /// Whether the metrics are served here too, and not by a server of their own.
    pub with_metrics: bool,
}

/// A server of metrics and probes alone, which has its address and serves nothing yet.
#[derive(Debug)]
pub struct MetricsServer(http_server::Server);

impl MetricsServer {
    /// Listens on `address`. The unspecified IPv6 address means all interfaces of both families.
    ///
    /// # Errors
    /// [`ApiError::Metrics`], whose source names the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, ApiError> {
        let bound = http_server::Server::bind(&address.to_string()).await;
        bound.map(Self).map_err(ApiError::Metrics)
    }

    /// The address the server listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    pub(super) const fn bound(&self) -> &http_server::Server {
        &self.0
    }

    /// Serves until `shutdown` is cancelled, and a short grace longer.
    pub async fn serve(self, monitor: Arc<Monitor>, log: Logger, shutdown: CancellationToken) {
        info!(log, "metrics server listening"; "address" => %self.address());
        let shown = Shown {
            monitor,
            with_metrics: true,
        };
        let nothing = warp::any().map(|| Refusal::not_monitored().into_response());
        let all = routes(Some(shown)).or(nothing).unify();
        let service = TowerToHyperService::new(warp::service(all));
        self.0.serve(service, LIMITS, &log, shutdown).await;
    }
}

/// `/healthz`, `/readyz`, and `/metrics` where they are served.
pub(super) fn routes(
    shown: Option<Shown>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static {
    let shown = warp::any().map(move || shown.clone());
    let healthz = warp::path!("healthz").and(got()).and(shown.clone()).then(
        async |got: Result<(), Refusal>, shown: Option<Shown>| {
            answer(async { got.and_then(|()| alive(shown)) }).await
        },
    );
    let readyz = warp::path!("readyz").and(got()).and(shown.clone()).then(
        async |got: Result<(), Refusal>, shown: Option<Shown>| {
            answer(async {
                got?;
                ready(shown).await
            })
            .await
        },
    );
    let metrics = warp::path!("metrics").and(got()).and(shown).then(
        async |got: Result<(), Refusal>, shown: Option<Shown>| {
            answer(async {
                got?;
                metrics(shown).await
            })
            .await
        },
    );
    healthz.or(readyz).unify().or(metrics).unify()
}

/// `/healthz` and `/readyz` of a program that has nothing to monitor yet.
pub(super) fn starting()
-> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static {
    let healthz = warp::path!("healthz")
        .and(got())
        .map(|got: Result<(), Refusal>| match got {
            Ok(()) => probed(StatusCode::OK, &Passed { status: "alive" }),
            Err(refusal) => refusal.into_response(),
        });
    let readyz = warp::path!("readyz")
        .and(got())
        .map(|got: Result<(), Refusal>| match got {
            Ok(()) => failed("not_ready", Reason::Starting.code(), Reason::Starting.to_string()),
            Err(refusal) => refusal.into_response(),
        });
    healthz.or(readyz).unify()
}

/// The answer to a probe that passes.
#[derive(Serialize)]
struct Passed {
    status: &'static str,
}

/// The answer to one that does not.
#[derive(Serialize)]
struct Failed<'a> {
    status: &'static str,
    /// For programs.
    reason: &'a str,
    /// For people.
    message: String,
}

fn alive(shown: Option<Shown>) -> Result<Response, Refusal> {
    let monitor = shown.ok_or_else(Refusal::not_found)?.monitor;
    Ok(match monitor.alive() {
        Ok(()) => probed(StatusCode::OK, &Passed { status: "alive" }),
        Err(stuck) => failed("stuck", "stuck", stuck.to_string()),
    })
}

async fn ready(shown: Option<Shown>) -> Result<Response, Refusal> {
    let monitor = shown.ok_or_else(Refusal::not_found)?.monitor;
    Ok(match monitor.ready().await {
        Ok(()) => probed(StatusCode::OK, &Passed { status: "ready" }),
        Err(reason) => failed("not_ready", reason.code(), reason.to_string()),
    })
}

async fn metrics(shown: Option<Shown>) -> Result<Response, Refusal> {
    let shown = shown.filter(|shown| shown.with_metrics);
    let monitor = shown.ok_or_else(Refusal::not_found)?.monitor;
    let mut response = monitor.metrics().await.into_response();
    let format = HeaderValue::from_static(monitoring::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, format);
    Ok(unstored(response))
}

fn failed(status: &'static str, reason: &str, message: String) -> Response {
    let body = Failed {
        status,
        reason,
        message,
    };
    probed(StatusCode::SERVICE_UNAVAILABLE, &body)
}

fn probed(status: StatusCode, body: &impl Serialize) -> Response {
    let body = warp::reply::json(body);
    unstored(warp::reply::with_status(body, status).into_response())
}

/// What holds now is of no use to anybody later.
fn unstored(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}
