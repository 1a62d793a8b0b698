//! The socket under the replication connection.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use crate::config::{Host, PgUrl};

/// TCP, or a Unix socket.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// After so much silence the system asks whether the peer is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// How often it asks again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// So long may what we sent stay unacknowledged. While it does, the system asks no questions, and a peer that is gone
/// would be noticed after a quarter of an hour only.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(90);
/// After so many questions without an answer the connection is broken.
const KEEPALIVE_RETRIES: u32 = 3;

/// Opens a socket to the server of `url`.
pub(super) async fn open(url: &PgUrl) -> io::Result<Socket> {
    match &url.host {
        Host::Tcp(host) => {
            let stream = TcpStream::connect((host.as_str(), url.port)).await?;
            stream.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new()
                .with_time(KEEPALIVE_IDLE)
                .with_interval(KEEPALIVE_INTERVAL)
                .with_retries(KEEPALIVE_RETRIES);
            let socket = SockRef::from(&stream);
            socket.set_tcp_keepalive(&keepalive)?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
            Ok(Either::Left(stream))
        }
        Host::Unix(folder) => {
            let path = folder.join(format!(".s.PGSQL.{}", url.port));
            Ok(Either::Right(UnixStream::connect(path).await?))
        }
    }
}

/// How the server's address is shown.
pub(super) fn address(url: &PgUrl) -> String {
    match &url.host {
        Host::Tcp(host) => format!("{host}:{}", url.port),
        Host::Unix(folder) => folder
            .join(format!(".s.PGSQL.{}", url.port))
            .display()
            .to_string(),
    }
}
