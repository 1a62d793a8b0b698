//! One connection, from its first request to its orderly close.

use std::future::poll_fn;
use std::pin::Pin;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answering::Answering;
use super::limits::{HEAD_BYTES, LINGER, LINGER_BYTES, Limits};
use super::write_deadline::WriteDeadline;

/// Serves the requests of one connection one after the other, until the client or `shutdown` ends it. What
/// goes wrong here is the client's doing (it leaves, or stalls), so it is not reported.
pub(super) async fn serve_connection(
    stream: TcpStream,
    service: impl Answering,
    limits: &Limits,
    shutdown: &CancellationToken,
) {
    let io = TokioIo::new(WriteDeadline::new(stream, limits.write));
    // Boxed, because only a connection that can be moved gives its socket back.
    let service = service_fn(|request| Box::pin(service.call(request)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(io, service);
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(ended),
        () = shutdown.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if ended.is_ok() {
        let stream = connection.into_parts().io.into_inner().into_inner();
        tokio::select! {
            // First, so that what has come already is taken even when the program is ending.
            biased;
            _ = timeout(LINGER, linger(stream)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Says that nothing more comes, and takes what the client is still sending: see [`LINGER`].
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0; 4096];
    let mut taken = 0;
    while taken < LINGER_BYTES {
        match stream.read(&mut rest).await {
            Ok(0) | Err(_) => return,
            Ok(read) => taken += read,
        }
    }
}
