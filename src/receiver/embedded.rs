//! A receiver inside another program: events come over a channel.

use std::net::SocketAddr;

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use slog::Logger;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::requests::{Arrival, LIMITS, requests};
use crate::http_server::{BindError, Server};

/// How many events wait for the program before senders wait for their answer.
const QUEUE: usize = 64;

/// One event as it was posted.
#[derive(Clone, Debug)]
pub struct ReceivedEvent {
    /// The path of the request, with its leading slash.
    pub path: String,
    /// The headers of the request.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// A receiver on a free port of the loopback interface.
///
/// It answers 200 once the event is on the channel, and 503 when nobody takes events any more.
#[derive(Debug)]
pub struct EmbeddedReceiver {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl EmbeddedReceiver {
    /// Starts the receiver; events come out of the second part.
    ///
    /// # Errors
    /// [`BindError`] when the loopback interface has no free port.
    pub async fn start(log: Logger) -> Result<(Self, mpsc::Receiver<ReceivedEvent>), BindError> {
        let server = Server::bind("127.0.0.1:0").await?;
        let address = server.address();
        let shutdown = CancellationToken::new();
        let (events, received) = mpsc::channel(QUEUE);
        let service = requests(move |arrival| hand_over(events.clone(), arrival));
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { server.serve(service, LIMITS, &log, stop).await });
        Ok((
            Self {
                address,
                shutdown,
                task,
            },
            received,
        ))
    }

    /// The URL to subscribe, for a path with its leading slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops the receiver and waits for its end, which comes within a bounded time.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // The task only fails by a panic, which its thread has already reported.
        let _ = self.task.await;
    }
}

async fn hand_over(events: mpsc::Sender<ReceivedEvent>, arrival: Arrival) -> StatusCode {
    let event = ReceivedEvent {
        path: arrival.path,
        headers: arrival.headers,
        body: arrival.body,
    };
    match events.send(event).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
