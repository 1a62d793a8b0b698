//! TCP and Unix sockets, and how a dead peer is noticed.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::TransportError;
use super::address::{Address, At};
use crate::config::TcpOptions;

/// After so much silence the system asks whether the peer is still there, where the URL does not say.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// How often it asks again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// After so many questions without an answer the connection is broken.
const KEEPALIVE_RETRIES: u32 = 3;
/// So long may what we sent stay unacknowledged. While it does, the system asks no questions, and a peer that is gone
/// would be noticed after a quarter of an hour only.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(90);

/// Connects a socket.
pub(super) async fn connect(
    address: &Address,
    options: &TcpOptions,
) -> Result<Either<TcpStream, UnixStream>, TransportError> {
    let connected = match &address.at {
        At::Tcp(at) => TcpStream::connect(at)
            .await
            .and_then(|stream| set_up(&stream, options).map(|()| Either::Left(stream))),
        At::Unix(path) => UnixStream::connect(path).await.map(Either::Right),
    };
    connected.map_err(|source| TransportError::Connect {
        address: address.to_string(),
        source,
    })
}

fn set_up(stream: &TcpStream, options: &TcpOptions) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if options.keepalives {
        let keepalive = TcpKeepalive::new()
            .with_time(options.idle.unwrap_or(KEEPALIVE_IDLE))
            .with_interval(options.interval.unwrap_or(KEEPALIVE_INTERVAL))
            .with_retries(options.count.unwrap_or(KEEPALIVE_RETRIES));
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(options.user_timeout.unwrap_or(USER_TIMEOUT)))?;
    Ok(())
}
