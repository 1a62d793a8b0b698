//! The accept loop: takes connections up to the limit, and ends them within the grace.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use slog::{Logger, warn};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::bind::Server;
use super::connection::serve_connection;
use super::limits::{ACCEPT_PAUSE, Limits};

impl Server {
    /// Serves until `shutdown` is cancelled, then stops listening, lets requests under way be answered within
    /// [`Limits::grace`], cuts what is left and returns. No connection outlives this future.
    pub async fn serve<S, B>(self, service: S, limits: Limits, log: &Logger, shutdown: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let slots = Arc::new(Semaphore::new(limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
                () = shutdown.cancelled() => break,
            };
            let stream = tokio::select! {
                stream = self.accept(log) => stream,
                () = shutdown.cancelled() => break,
            };
            // What has ended is taken out here, so that the set never holds more than was served since.
            while connections.try_join_next().is_some() {}
            let (service, shutdown) = (service.clone(), shutdown.clone());
            connections.spawn(async move {
                serve_connection(stream, service, &limits, &shutdown).await;
                drop(slot);
            });
        }
        drop(self);
        finish(connections, limits.grace).await;
    }

    /// The next connection. A failure to accept is never the end of the server.
    async fn accept(&self, log: &Logger) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are small: waiting for more to send would only delay them.
                    let _ = stream.set_nodelay(true);
                    return stream;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!(log, "cannot accept a connection, trying again";
                        "address" => %self.address(), "error" => %error);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether accepting failed because that one client went away again.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

async fn finish(mut connections: JoinSet<()>, grace: Duration) {
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_ended).await.is_err() {
        connections.shutdown().await;
    }
}
