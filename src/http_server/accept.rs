//! The accept loop: takes connections up to the limit, and ends them within the grace.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, warn};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::answering::Answering;
use super::bind::Server;
use super::connection::serve_connection;
use super::limits::{ACCEPT_PAUSE, Limits};
use crate::telemetry::Seldom;

impl Server {
    /// Serves until `shutdown` is cancelled, then stops listening, lets requests under way be answered within
    /// [`Limits::grace`], cuts what is left and returns. No connection outlives this future.
    pub async fn serve(
        self,
        service: impl Answering,
        limits: Limits,
        log: &Logger,
        shutdown: CancellationToken,
    ) {
        let connections = self.take_in(service, limits, log, shutdown).await;
        drop(self);
        finish(connections, limits.grace).await;
    }

    /// Does the same, but goes on listening: who connects after the end waits until something else is served.
    pub async fn serve_at_first(
        &self,
        service: impl Answering,
        limits: Limits,
        log: &Logger,
        done: CancellationToken,
    ) {
        let connections = self.take_in(service, limits, log, done).await;
        finish(connections, limits.grace).await;
    }

    /// Takes connections until `shutdown` is cancelled, and gives those that are open then.
    async fn take_in(
        &self,
        service: impl Answering,
        limits: Limits,
        log: &Logger,
        shutdown: CancellationToken,
    ) -> JoinSet<()> {
        let slots = Arc::new(Semaphore::new(limits.connections));
        let seldom = Seldom::once_a_minute();
        let mut connections = JoinSet::new();
        loop {
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
                () = shutdown.cancelled() => break,
            };
            let stream = tokio::select! {
                stream = self.accept(log, &seldom) => stream,
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
        connections
    }

    /// The next connection. A failure to accept is never the end of the server.
    async fn accept(&self, log: &Logger, seldom: &Seldom) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are small: waiting for more to send would only delay them.
                    let _ = stream.set_nodelay(true);
                    return stream;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if let Some(suppressed) = seldom.admit(Instant::now()) {
                        warn!(log, "cannot accept a connection, trying again"; "event" => "connection_not_accepted",
                            "address" => %self.address(), "error" => %error, "suppressed" => suppressed);
                    }
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use slog::{Discard, o};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 1,
        head: Duration::from_millis(200),
        body: Duration::from_secs(5),
        body_bytes: 8,
        write: Duration::from_secs(10),
        grace: Duration::from_millis(200),
    };

    /// A server that answers without reading a body, except that `/never` is not answered.
    async fn start() -> (
        std::net::SocketAddr,
        CancellationToken,
        tokio::task::JoinHandle<()>,
    ) {
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (server.address(), CancellationToken::new());
        let service = service_fn(async |request: Request<Incoming>| {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            Ok(Response::new(Full::new(Bytes::from_static(b"done"))))
        });
        let stop = shutdown.clone();
        let log = Logger::root(Discard, o!());
        let task = tokio::spawn(async move { server.serve(service, LIMITS, &log, stop).await });
        (address, shutdown, task)
    }

    async fn ask(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_waits_for_its_turn() {
        let (address, shutdown, task) = start().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut next = TcpStream::connect(address).await.unwrap();
        let begin = Instant::now();
        let answer = ask(
            &mut next,
            "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
        assert!(
            begin.elapsed() >= LIMITS.head,
            "the idle one has to be closed first"
        );
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        shutdown.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_reaches_a_client_that_is_still_sending() {
        let (address, shutdown, task) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = "x".repeat(900_000);
        let request = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 900000\r\n\r\n{body}");
        let answer = ask(&mut stream, &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
            "{answer}"
        );
        shutdown.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_is_never_answered_is_cut_after_the_grace() {
        let (address, shutdown, task) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /never HTTP/1.1\r\nhost: h\r\n\r\n")
            .await
            .unwrap();
        let cut = async {
            shutdown.cancel();
            task.await.unwrap();
        };
        let ((), read) = tokio::join!(cut, async { stream.read(&mut [0]).await });
        assert_eq!(read.unwrap_or(0), 0);
    }
}
