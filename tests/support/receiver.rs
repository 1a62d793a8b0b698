//! A scripted webhook receiver: real TCP, and whatever a bad server does.
//!
//! It speaks just enough HTTP/1.1 for that, on one thread a connection. A script looks at each request and
//! says what happens; every request is kept for the test to look at.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// While waiting under load, how often the condition is looked at: looking at each request would make the
/// receiver slower with every request it has seen.
const LOOK: Duration = Duration::from_millis(2);

/// One request, complete.
#[derive(Debug)]
pub(crate) struct Request {
    /// Which request it is, over all connections, from 0.
    pub(crate) number: usize,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    /// When it was complete.
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case, in the order in which they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of the first header of this (lower-case) name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body, which has to be JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }
}

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

type Script = dyn Fn(&Request) -> Action + Send + Sync;

/// A running receiver; dropping it cuts its connections and ends its threads.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Receiver")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

struct Shared {
    script: Box<Script>,
    started: AtomicUsize,
    state: Mutex<State>,
    /// Signals a new request, and the end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    requests: Vec<Arc<Request>>,
    open: HashMap<usize, TcpStream>,
}

impl Receiver {
    /// A receiver on a free port of 127.0.0.1.
    pub(crate) fn start(script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        Self::start_at(0, script)
    }

    /// A receiver on this port: one that was away comes back.
    pub(crate) fn start_at(port: u16, script: impl Fn(&Request) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port to listen on");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            started: AtomicUsize::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a path with its leading slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.started.load(Ordering::Relaxed)
    }

    /// What came so far, in the order in which requests were complete.
    pub(crate) fn requests(&self) -> Vec<Arc<Request>> {
        self.shared.lock().requests.clone()
    }

    /// Waits until the requests so far fulfil the condition, and returns them. Fails the test when that does
    /// not happen in time.
    pub(crate) fn wait_for(
        &self,
        condition: impl Fn(&[Arc<Request>]) -> bool,
        deadline: Duration,
    ) -> Vec<Arc<Request>> {
        let end = Instant::now() + deadline;
        let mut state = self.shared.lock();
        while !condition(&state.requests) {
            let left = end.saturating_duration_since(Instant::now());
            let seen = state.requests.len();
            assert!(
                !left.is_zero(),
                "after {deadline:?} only {seen} requests: {}",
                newest(&state.requests)
            );
            let unchanged = |state: &mut State| state.requests.len() == seen;
            let waited = self.shared.changed.wait_timeout_while(state, left, unchanged);
            drop(waited.expect("no thread panics with the lock"));
            thread::sleep(LOOK.min(left));
            state = self.shared.lock();
        }
        state.requests.clone()
    }
}

/// The last few requests, for a failed test's message.
fn newest(requests: &[Arc<Request>]) -> String {
    let last = requests.iter().rev().take(3);
    let shown = last.map(|request| {
        let body: String = String::from_utf8_lossy(&request.body).chars().take(200).collect();
        format!("\n  {} {} {body}", request.method, request.path)
    });
    shown.collect()
}

impl Drop for Receiver {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stopped = true;
            for stream in state.open.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        // The acceptor looks whether it is to stop whenever somebody connects.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A condition that failed its test has panicked with the lock; the receiver still has to end in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a time, or for the end of the receiver: then `true`.
    fn wait(&self, time: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), time, |state| !state.stopped);
        waited.expect("no thread panics with the lock").0.stopped
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let connection = shared.started.load(Ordering::Relaxed);
        let Ok(handle) = stream.try_clone() else { continue };
        {
            let mut state = shared.lock();
            if state.stopped {
                break;
            }
            state.open.insert(connection, handle);
        }
        shared.started.store(connection + 1, Ordering::Relaxed);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread::spawn({
            let shared = Arc::clone(shared);
            move || {
                // However it ends, the test sees it in the requests.
                let _ = serve(stream, connection, &shared);
                shared.lock().open.remove(&connection);
            }
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Serves one connection until it is closed from either side.
fn serve(stream: TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(read) = read_request(&mut reader)? {
        let closes = read
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let request = {
            let mut state = shared.lock();
            let number = state.requests.len();
            let request = Arc::new(Request {
                number,
                connection,
                at: Instant::now(),
                ..read
            });
            state.requests.push(Arc::clone(&request));
            request
        };
        shared.changed.notify_all();
        match (shared.script)(&request) {
            Action::Answer(answer) => {
                if !answer.delay.is_zero() && shared.wait(answer.delay) {
                    return Ok(());
                }
                reader.get_mut().write_all(&written(&answer))?;
                if closes {
                    return Ok(());
                }
            }
            Action::Reset => {
                // A close with nothing to linger for is a reset.
                return SockRef::from(reader.get_ref()).set_linger(Some(Duration::ZERO));
            }
            Action::CloseBeforeAnswer => return reader.get_ref().shutdown(Shutdown::Both),
            Action::HalfAnswer => {
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-le")?;
                return reader.get_ref().shutdown(Shutdown::Both);
            }
            Action::Hang => {
                // Ends when the peer gives up, or the receiver is dropped.
                io::copy(&mut reader, &mut io::sink())?;
                return Ok(());
            }
        }
    }
    Ok(())
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

/// Reads one request; `None` when the connection ended before it began.
fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let Some(start) = read_line(reader)? else {
        return Ok(None);
    };
    let mut words = start.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    while let Some(line) = read_line(reader)?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        number: 0,
        connection: 0,
        at: Instant::now(),
        method,
        path,
        headers,
        body: Vec::new(),
    };
    if request.header("transfer-encoding") == Some("chunked") {
        while let Some(line) = read_line(reader)? {
            let size = usize::from_str_radix(&line, 16).map_err(|_| malformed(&line))?;
            let begin = request.body.len();
            request.body.resize(begin + size, 0);
            reader.read_exact(&mut request.body[begin..])?;
            read_line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("content-length") {
        let length = length.parse().map_err(|_| malformed(length))?;
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

/// One line without its end; `None` at the end of the connection.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn post(stream: &mut TcpStream, path: &str, body: &str) {
        let length = body.len();
        let request = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
    }

    fn connect(receiver: &Receiver) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, receiver.port())).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    #[test]
    fn requests_are_kept_and_answered_by_the_script() {
        let receiver = Receiver::start(|request| match request.number {
            0 => Action::status(503),
            _ => Action::Answer(Answer {
                status: 200,
                headers: vec![("retry-after".to_owned(), "1".to_owned())],
                body: request.body.clone(),
                delay: Duration::from_millis(1),
            }),
        });
        let mut stream = connect(&receiver);
        post(&mut stream, "/a", r#"{"n":1}"#);
        let answer = "HTTP/1.1 503 Scripted\r\ncontent-length: 0\r\n\r\n";
        let mut read = vec![0; answer.len()];
        stream.read_exact(&mut read).unwrap();
        assert_eq!(String::from_utf8_lossy(&read), answer);
        let chunked = "POST /b HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\n{\"n\r\n4\r\n\":2}\r\n0\r\n\r\n";
        stream.write_all(chunked.as_bytes()).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(
            rest.ends_with("retry-after: 1\r\ncontent-length: 7\r\n\r\n{\"n\":2}"),
            "{rest}"
        );

        let requests = receiver.wait_for(|requests| requests.len() == 2, DEADLINE);
        assert_eq!(receiver.connections(), 1);
        assert_eq!(receiver.requests().len(), 2);
        for (number, request) in requests.iter().enumerate() {
            assert_eq!((request.number, request.connection), (number, 0));
            assert_eq!(
                (request.method.as_str(), request.json()["n"].as_u64()),
                ("POST", Some(number as u64 + 1))
            );
        }
        assert_eq!(
            (requests[0].path.as_str(), requests[0].header("host")),
            ("/a", Some("h"))
        );
        assert!(requests[0].at <= requests[1].at);
    }

    #[test]
    fn many_requests_are_kept_once_each() {
        const EACH: usize = 2_500;
        let receiver = Receiver::start(|_| Action::status(200));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut stream = connect(&receiver);
                    let mut answer = vec![0; b"HTTP/1.1 200 Scripted\r\ncontent-length: 0\r\n\r\n".len()];
                    for _ in 0..EACH {
                        post(&mut stream, "/", "{}");
                        stream.read_exact(&mut answer).unwrap();
                    }
                });
            }
            let requests = receiver.wait_for(|requests| requests.len() == 4 * EACH, DEADLINE);
            assert!(
                requests
                    .iter()
                    .enumerate()
                    .all(|(number, request)| request.number == number)
            );
        });
        assert_eq!(receiver.connections(), 4);
    }

    #[test]
    fn bad_servers_are_played() {
        let actions = [
            Action::Reset,
            Action::CloseBeforeAnswer,
            Action::HalfAnswer,
            Action::Hang,
        ];
        let receiver = Receiver::start(move |request| actions[request.number].clone());
        let answers: Vec<_> = (0..3)
            .map(|_| {
                let mut stream = connect(&receiver);
                post(&mut stream, "/", "");
                let mut answer = String::new();
                stream
                    .read_to_string(&mut answer)
                    .map(|_| answer)
                    .map_err(|error| error.kind())
            })
            .collect();
        let half = "HTTP/1.1 200 OK\r\ncontent-le".to_owned();
        assert_eq!(
            answers,
            [Err(io::ErrorKind::ConnectionReset), Ok(String::new()), Ok(half)]
        );

        let mut hanging = connect(&receiver);
        post(&mut hanging, "/", "");
        receiver.wait_for(|requests| requests.len() == 4, DEADLINE);
        let (port, url) = (receiver.port(), receiver.url("/x"));
        drop(receiver);
        assert_eq!(
            hanging.read(&mut [0]).unwrap_or(0),
            0,
            "the end of the receiver ends the connection"
        );

        let back = Receiver::start_at(port, |_| Action::status(204));
        assert_eq!(back.url("/x"), url);
    }
}
