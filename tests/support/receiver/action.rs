//! What a script may have happen to a request.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// It is answered, and the connection kept.
    Answer(Answer),
    /// The connection is reset.
    Reset,
    /// The connection is closed without an answer.
    CloseBeforeAnswer,
    /// Half of the head of an answer is sent, then the connection is closed.
    HalfAnswer,
    /// Nothing more happens on this connection.
    Hang,
    /// Whatever these steps send, be it HTTP or not. Afterwards the connection is kept.
    Steps(Vec<Step>),
}

/// One step of what a server does that does not keep to HTTP.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// These bytes are sent at once.
    Send(Vec<u8>),
    /// These bytes are sent one by one, each after a while.
    Trickle(Vec<u8>, Duration),
    /// These bytes are sent again and again, as fast as the peer takes them, until it takes no more.
    Endless(Vec<u8>),
    /// Nothing happens until the peer closes the connection.
    AwaitClose,
    /// The connection is reset.
    Reset,
    /// The connection is closed.
    Close,
}

/// An answer, its length in `content-length` unless the script frames it itself.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How long it waits before it is sent.
    pub(crate) delay: Duration,
}

impl Action {
    /// An empty answer of this status.
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            delay: Duration::ZERO,
        })
    }

    /// The same with one header.
    pub(crate) fn with_header(status: u16, name: &str, value: &str) -> Self {
        Self::Answer(Answer {
            status,
            headers: vec![(name.to_owned(), value.to_owned())],
            body: Vec::new(),
            delay: Duration::ZERO,
        })
    }

    /// Bytes that are sent as they are, then whatever the steps say.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>, then: impl IntoIterator<Item = Step>) -> Self {
        let sent = Step::Send(bytes.as_ref().to_vec());
        Self::Steps(std::iter::once(sent).chain(then).collect())
    }

    /// An empty answer of this status, after a while.
    pub(crate) fn delayed(status: u16, delay: Duration) -> Self {
        Self::Answer(Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            delay,
        })
    }
}

/// Whether a connection is of further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Kept,
    Ended,
}

impl Action {
    /// Has it happen. `wait` waits for a time, or for the end of the receiver: then it says `true`.
    pub(super) fn play(
        self,
        reader: &mut BufReader<TcpStream>,
        wait: &impl Fn(Duration) -> bool,
    ) -> io::Result<Connection> {
        let steps = match self {
            Self::Answer(answer) => {
                if !answer.delay.is_zero() && wait(answer.delay) {
                    return Ok(Connection::Ended);
                }
                vec![Step::Send(written(&answer))]
            }
            Self::Reset => vec![Step::Reset],
            Self::CloseBeforeAnswer => vec![Step::Close],
            Self::HalfAnswer => vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()), Step::Close],
            Self::Hang => vec![Step::AwaitClose],
            Self::Steps(steps) => steps,
        };
        for step in steps {
            if step.play(reader, wait)? == Connection::Ended {
                return Ok(Connection::Ended);
            }
        }
        Ok(Connection::Kept)
    }
}

impl Step {
    fn play(
        self,
        reader: &mut BufReader<TcpStream>,
        wait: &impl Fn(Duration) -> bool,
    ) -> io::Result<Connection> {
        match self {
            Self::Send(bytes) => reader.get_mut().write_all(&bytes)?,
            Self::Trickle(bytes, pause) => {
                for byte in bytes {
                    if wait(pause) {
                        return Ok(Connection::Ended);
                    }
                    reader.get_mut().write_all(&[byte])?;
                }
            }
            Self::Endless(bytes) => loop {
                reader.get_mut().write_all(&bytes)?;
            },
            Self::AwaitClose => {
                io::copy(reader, &mut io::sink())?;
                return Ok(Connection::Ended);
            }
            Self::Reset => {
                // A close with nothing to linger for is a reset.
                SockRef::from(reader.get_ref()).set_linger(Some(Duration::ZERO))?;
                return Ok(Connection::Ended);
            }
            Self::Close => {
                reader.get_ref().shutdown(Shutdown::Both)?;
                return Ok(Connection::Ended);
            }
        }
        Ok(Connection::Kept)
    }
}

fn written(answer: &Answer) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {} Scripted\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let framed = |name: &str| matches!(name, "content-length" | "transfer-encoding");
    if !answer.headers.iter().any(|(name, _)| framed(name)) && answer.status != 204 {
        bytes.extend_from_slice(format!("content-length: {}\r\n", answer.body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&answer.body);
    bytes
}
