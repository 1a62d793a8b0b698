//! The server as the rest of the program sees it.

use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use slog::info;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::State;
use super::routes::routes;
use crate::http_server::{self, BindError, Limits};

/// What a client of the subscription server may use, where the configuration says nothing else.
pub const LIMITS: Limits = Limits {
    connections: 256,
    head: Duration::from_secs(5),
    body: Duration::from_secs(5),
    body_bytes: 64 * 1024,
    write: Duration::from_secs(10),
    grace: Duration::from_secs(2),
};

/// [`LIMITS`] with the times that the configuration gives a client: for the head and for the body of a
/// request, and for taking an answer.
#[must_use]
pub const fn limits(read_timeout: Duration, write_timeout: Duration) -> Limits {
    Limits {
        head: read_timeout,
        body: read_timeout,
        write: write_timeout,
        ..LIMITS
    }
}

/// A subscription server that has its address and serves nothing yet.
#[derive(Debug)]
pub struct Server(http_server::Server);

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The subscription server.
    #[error(
        "cannot start the subscription server: set PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_ADDRESS to an address that is free"
    )]
    Subscriptions(#[source] BindError),
    /// The server of metrics.
    #[error(
        "cannot start the server of metrics: set PGSTREAM_METRICS_ADDRESS to an address that is free, or leave it out to have \
         them on the subscription server's"
    )]
    Metrics(#[source] BindError),
}

impl Server {
    /// Listens on `address`. The unspecified IPv6 address means all interfaces of both families.
    ///
    /// # Errors
    /// [`ApiError::Subscriptions`], whose source names the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, ApiError> {
        let bound = http_server::Server::bind(&address.to_string()).await;
        bound.map(Self).map_err(ApiError::Subscriptions)
    }

    /// The address the server listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    pub(super) const fn bound(&self) -> &http_server::Server {
        &self.0
    }

    /// Serves until `shutdown` is cancelled, and a grace of at most [`Limits::grace`] longer.
    pub async fn serve(self, state: State, limits: Limits, shutdown: CancellationToken) {
        let log = state.log.clone();
        info!(log, "subscription server listening"; "address" => %self.address());
        let service = TowerToHyperService::new(warp::service(routes(state, limits)));
        self.0.serve(service, limits, &log, shutdown).await;
    }
}
