//! The one request that the demonstration makes: what a user would do with curl.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::DemoError;

/// How long the subscription server may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// The pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest answer that is read.
const ANSWER_BYTES: u64 = 16 * 1024;

/// Posts a subscription. The changes of every transaction that begins after the return are delivered.
pub(super) async fn subscribe(api: SocketAddr, body: &str) -> Result<(), DemoError> {
    let asked = timeout(DEADLINE, async {
        loop {
            let answer = post(api, body).await?;
            let status_line = answer.lines().next().unwrap_or_default().to_owned();
            // On a slow machine, the databases may not be open yet.
            if status_line.split(' ').nth(1) != Some("503") {
                return Ok::<_, io::Error>(status_line);
            }
            sleep(PAUSE).await;
        }
    });
    let status_line = asked
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| DemoError::Subscribe { api, source })?;
    if status_line.split(' ').nth(1) == Some("201") {
        return Ok(());
    }
    Err(DemoError::Refused { answer: status_line })
}

async fn post(api: SocketAddr, body: &str) -> io::Result<String> {
    let request = format!(
        "POST /webhooks/subscribe HTTP/1.1\r\nhost: {api}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(api).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
