//! Sessions of sqlx over connections that `connect` opens.
//!
//! sqlx would do less than a URL asks for: beside the authorities of `sslrootcert` its TLS trusts all public ones, so that with
//! `verify-ca` anybody with a certificate for any name could be the server; it binds no password's proof to the channel, begins
//! no TLS at once, sets no keepalives, and knows one host. So where a URL asks for any of that, sqlx is given a Unix socket of
//! this process, in a folder that nobody but our user may enter, and says there without encryption what goes on to the server
//! with it. The server's first words are passed on; the authentication is done by then.
//!
//! **A pool follows a fail-over**, because each of its sessions is opened by a search of its own through the servers of the
//! URL: those on a server that fails end with it, and new ones begin where `target_session_attrs` holds by then. A search begins
//! with the server that the last one has found, and goes on when sqlx does not wait for it any more: a dead server that says
//! nothing costs its time once, and not each session.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use pgstream_proto::frontend::StartupMessage;
use pgstream_proto::limits::MAX_STARTUP_LEN;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSslMode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::config::PgUrl;
use crate::connect::sqlstate::CANNOT_CONNECT_NOW;
use crate::connect::{self, ConnectError, Opened, ServerError};

/// Whoever could enter the folder could begin a session with our certificate and password.
const ONLY_OURS: u32 = 0o700;
/// The number in the name of the socket.
const PORT: u16 = 5432;
/// Protocol version 3.0.
const PROTOCOL_VERSION: u32 = 3 << 16;
/// What is passed on at one time, in each direction.
const CHUNK: usize = 32 * 1024;
/// How long nobody is let in after an error of ours.
const PAUSE: Duration = Duration::from_millis(100);
/// What sqlx is told where the server did not say itself what is wrong. It tries again after the first, for as long as a session
/// is waited for, and gives up after the second.
const CANNOT_CONNECT: &str = "08001";
/// The routine that reports what no server has said.
const ROUTINE: &str = "pgstream_relay";

/// A socket of ours that leads to the servers of a URL.
pub(super) struct Relay {
    listener: UnixListener,
    folder: TempDir,
    servers: Arc<Servers>,
}

/// Where it leads.
struct Servers {
    url: PgUrl,
    /// The place in the list of the server that was found last.
    found: AtomicUsize,
}

impl Relay {
    /// Makes the socket, knowing the place of the server that was found.
    pub(super) fn bind(url: PgUrl, found: usize) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("pgstream-")
            .permissions(Permissions::from_mode(ONLY_OURS))
            .tempdir()?;
        let listener = UnixListener::bind(folder.path().join(format!(".s.PGSQL.{PORT}")))?;
        Ok(Self {
            listener,
            folder,
            servers: Arc::new(Servers {
                url,
                found: AtomicUsize::new(found),
            }),
        })
    }

    /// The same options for a session that begins here.
    pub(super) fn lead(&self, options: PgConnectOptions) -> PgConnectOptions {
        let options = options.socket(self.folder.path()).port(PORT);
        options.password("").ssl_mode(PgSslMode::Disable)
    }

    /// Opens a connection for each session until the pool is closed, and passes on what is said until all of them have ended.
    pub(super) async fn serve(self, closed: impl Future<Output = ()>) {
        let Self {
            listener,
            folder,
            servers,
        } = self;
        let mut sessions = JoinSet::new();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                () = &mut closed => break,
                accepted = listener.accept() => match accepted {
                    Ok((session, _)) => drop(sessions.spawn(relay(session, Arc::clone(&servers)))),
                    // No file descriptor is left, say. Whoever waits is told by sqlx that it took too long.
                    Err(_) => sleep(PAUSE).await,
                },
                Some(_) = sessions.join_next() => {}
            }
        }
        drop((listener, folder));
        while sessions.join_next().await.is_some() {}
    }

    /// Opens a connection for one session, and passes on what is said until it has ended.
    ///
    /// # Errors
    /// Why the session could not begin.
    pub(super) async fn serve_one(self) -> Result<(), ConnectError> {
        let Self {
            listener,
            folder,
            servers,
        } = self;
        let accepted = listener.accept().await;
        drop((listener, folder));
        match accepted {
            Ok((session, _)) => relay(session, servers).await,
            Err(_) => Ok(()),
        }
    }
}

/// One session. Whatever ends it, sqlx sees: an error before it begins, the end of the connection later.
async fn relay(mut session: UnixStream, servers: Arc<Servers>) -> Result<(), ConnectError> {
    let Ok(message) = startup_message(&mut session).await else {
        return Ok(());
    };
    let first = servers.found.load(Ordering::Relaxed);
    let opened = match connect::open_beginning_with(first, &servers.url, &message).await {
        Ok((opened, place)) => {
            servers.found.store(place, Ordering::Relaxed);
            opened
        }
        Err(error) => {
            let _ = session
                .write_all(&refusal(&error, servers.url.servers.len()))
                .await;
            return Err(error);
        }
    };
    let mut greeting = greeting(&opened);
    let mut parts = opened.framed.into_parts();
    // What the server has said since, a notice say.
    greeting.extend_from_slice(&parts.read_buf);
    if session.write_all(&greeting).await.is_ok() {
        let _ = copy_bidirectional_with_sizes(&mut session, &mut parts.io, CHUNK, CHUNK).await;
    }
    Ok(())
}

/// Reads sqlx's first message.
async fn startup_message(session: &mut UnixStream) -> io::Result<StartupMessage> {
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let length = usize::try_from(session.read_u32().await?).map_err(|_| odd())?;
    if !(8..=MAX_STARTUP_LEN).contains(&length) || session.read_u32().await? != PROTOCOL_VERSION {
        return Err(odd());
    }
    let mut body = vec![0; length - 8];
    session.read_exact(&mut body).await?;
    let body = String::from_utf8(body).map_err(|_| odd())?;
    let mut texts = body.split_terminator('\0').map(str::to_owned);
    let mut parameters = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        parameters.push((name, value));
    }
    Ok(StartupMessage { parameters })
}

/// What a server says when it has let somebody in.
fn greeting(opened: &Opened) -> BytesMut {
    let mut greeting = BytesMut::new();
    message(&mut greeting, b'R', |body| body.put_i32(0));
    for parameter in &opened.parameters {
        message(&mut greeting, b'S', |body| {
            text(body, parameter.name.as_bytes());
            text(body, parameter.value.as_bytes());
        });
    }
    if let Some(key) = &opened.key {
        message(&mut greeting, b'K', |body| {
            body.put_i32(key.process_id);
            body.put_i32(key.secret_key);
        });
    }
    message(&mut greeting, b'Z', |body| body.put_u8(b'I'));
    greeting
}

/// Whether an error is not the server's, but why there is no server.
pub(super) fn is_of_the_way(error: &PgDatabaseError) -> bool {
    error.routine() == Some(ROUTINE)
}

/// What the server said that was found last, of so many in the list: it is asked first. Of the addresses of a name, at least one
/// is the server's.
fn words(error: &ConnectError, servers: usize) -> Option<&ServerError> {
    match error {
        ConnectError::NoServer { failures } if servers > 1 => words(failures.first()?, 1),
        ConnectError::NoServer { failures } => failures.iter().find_map(ConnectError::server),
        error => error.server(),
    }
}

/// An ErrorResponse: the server's own, or why there is no server.
fn refusal(error: &ConnectError, servers: usize) -> BytesMut {
    let own = error.text_with_causes();
    let words = words(error, servers);
    let (code, routine) = match words {
        Some(words) => (words.code.as_str(), None),
        None if error.is_permanent() => (CANNOT_CONNECT, Some(ROUTINE)),
        None => (CANNOT_CONNECT_NOW, Some(ROUTINE)),
    };
    let told = match (error, words) {
        (ConnectError::Server { .. }, Some(words)) => words.message.as_str(),
        _ => own.as_str(),
    };
    let fields = [
        (b'S', Some("FATAL")),
        (b'V', Some("FATAL")),
        (b'C', Some(code)),
        (b'M', Some(told)),
        (b'D', words.and_then(|words| words.detail.as_deref())),
        (b'H', words.and_then(|words| words.hint.as_deref())),
        (b'R', routine),
    ];
    let mut refusal = BytesMut::new();
    message(&mut refusal, b'E', |body| {
        for (field, value) in fields {
            let Some(value) = value else { continue };
            body.put_u8(field);
            text(body, value.as_bytes());
        }
        body.put_u8(0);
    });
    refusal
}

fn message(buffer: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    let mut content = BytesMut::new();
    body(&mut content);
    buffer.put_u8(tag);
    buffer.put_u32(u32::try_from(content.len() + 4).expect("these messages are short"));
    buffer.extend_from_slice(&content);
}

fn text(body: &mut BytesMut, text: &[u8]) {
    body.extend_from_slice(text);
    body.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_else_may_enter_and_nothing_is_left() {
        let url = PgUrl::parse("postgres://u@127.0.0.1:1,127.0.0.1:2/d?sslmode=disable").unwrap();
        let relay = Relay::bind(url, 0).unwrap();
        let folder = relay.folder.path().to_owned();
        let mode = folder.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, ONLY_OURS);
        relay.serve(std::future::ready(())).await;
        assert!(!folder.exists());
    }

    #[test]
    fn all_that_the_server_has_said_is_passed_on() {
        let error = ConnectError::Server {
            address: "db:5432".to_owned(),
            is_encrypted: true,
            error: ServerError {
                code: "28000".to_owned(),
                message: "no".to_owned(),
                detail: Some("why".to_owned()),
                hint: Some("do".to_owned()),
            },
        };
        let expected = b"E\0\0\0\x27SFATAL\0VFATAL\0C28000\0Mno\0Dwhy\0Hdo\0\0";
        assert_eq!(&refusal(&error, 1)[..], &expected[..]);
    }

    #[tokio::test]
    async fn the_first_message_of_sqlx_is_read_and_anything_else_is_not() {
        let good = b"\0\0\0\x21\0\x03\0\0user\0ada\0options\0-c x=1\0\0";
        let truncated = &good[..20];
        for (bytes, expected) in [
            (&good[..], Some(vec![("user", "ada"), ("options", "-c x=1")])),
            (truncated, None),
            // SSLRequest, and lengths that cannot be.
            (b"\0\0\0\x08\x04\xd2\x16\x2f", None),
            (b"\0\0\0\x04\0\x03\0\0", None),
            (b"\xff\xff\xff\xff\0\x03\0\0", None),
        ] {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(bytes).await.unwrap();
            drop(theirs);
            let read = startup_message(&mut ours)
                .await
                .ok()
                .map(|message| message.parameters);
            let expected = expected.map(|pairs| {
                let pairs = pairs
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()));
                pairs.collect::<Vec<_>>()
            });
            assert_eq!(read, expected, "{bytes:?}");
        }
    }
}
