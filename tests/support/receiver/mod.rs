//! A scripted webhook receiver: real TCP, and whatever a bad server does.
//!
//! It speaks just enough HTTP/1.1 for that, on one thread a connection. A script looks at each request and
//! says what happens; every request is kept for the test to look at.

mod action;
mod request;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use action::{Action, Answer, Step};
pub(crate) use request::Request;

use action::Connection;
use request::read_request;

/// While waiting under load, how often the condition is looked at: looking at each request would make the
/// receiver slower with every request it has seen.
const LOOK: Duration = Duration::from_millis(2);

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
    closed: HashMap<usize, Instant>,
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

    /// Waits until this connection has ended, and says when it did. Fails the test when that does not happen in time.
    pub(crate) fn wait_for_end(&self, connection: usize, deadline: Duration) -> Instant {
        let open = |state: &mut State| !state.closed.contains_key(&connection);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), deadline, open);
        let (state, _) = waited.expect("no thread panics with the lock");
        *state
            .closed
            .get(&connection)
            .unwrap_or_else(|| panic!("connection {connection} is open after {deadline:?}"))
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
                let mut state = shared.lock();
                state.open.remove(&connection);
                state.closed.insert(connection, Instant::now());
                drop(state);
                shared.changed.notify_all();
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
        let played = (shared.script)(&request).play(&mut reader, &|time| shared.wait(time))?;
        if closes || played == Connection::Ended {
            return Ok(());
        }
    }
    Ok(())
}
