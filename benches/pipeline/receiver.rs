//! A webhook receiver that does as little as it can: a blocking thread a connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::{ANSWER, FAILURE, complete_request, key_and_version};

/// What a connection reads at one time at most; requests have to fit.
const BUFFER_LEN: usize = 64 * 1024;
/// Enough for a thread that calls nothing deep.
const STACK_SIZE: usize = 128 * 1024;

/// How requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answering {
    /// At once.
    AtOnce,
    /// After so long.
    After(Duration),
    /// With a failure, at once.
    Failure,
    /// Never; what arrives is read.
    Never,
}

/// A request as it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) key: u64,
    pub(crate) version: u64,
}

/// When the first and the last of the expected requests had arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

/// A running receiver. Dropping it closes its connections.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    answering: Answering,
    /// Whether arrivals are kept one by one.
    recorded: bool,
    stopped: AtomicBool,
    connections: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
    arrivals: Mutex<Vec<Arrival>>,
    /// One request as it is on the wire.
    sample: OnceLock<Vec<u8>>,
    count: AtomicUsize,
    expected: AtomicUsize,
    span: Mutex<(Option<Instant>, Option<Instant>)>,
    complete: Condvar,
}

impl Receiver {
    /// Listens on a free port. `recorded` keeps the arrivals, for [`arrivals`](Self::arrivals).
    pub(crate) fn start(answering: Answering, recorded: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            answering,
            recorded,
            stopped: AtomicBool::new(false),
            connections: Mutex::default(),
            arrivals: Mutex::default(),
            sample: OnceLock::new(),
            count: AtomicUsize::new(0),
            expected: AtomicUsize::new(usize::MAX),
            span: Mutex::default(),
            complete: Condvar::new(),
        });
        let accepted = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(&listener, &accepted));
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhook", self.address)
    }

    /// Begins to count anew, up to this many. Only to be called while nothing arrives.
    pub(crate) fn expect(&self, count: usize) {
        *lock(&self.shared.span) = (None, None);
        lock(&self.shared.arrivals).clear();
        self.shared.expected.store(count, Ordering::SeqCst);
        self.shared.count.store(0, Ordering::SeqCst);
    }

    /// Waits until all that is expected has arrived.
    pub(crate) fn wait(&self, within: Duration) -> Span {
        let span = lock(&self.shared.span);
        let (span, timeout) = self
            .shared
            .complete
            .wait_timeout_while(span, within, |span| span.1.is_none())
            .expect("no thread panicked with it");
        assert!(
            !timeout.timed_out(),
            "only {} of {} requests arrived within {within:?}",
            self.count(),
            self.shared.expected.load(Ordering::SeqCst)
        );
        Span {
            first: span.0.expect("there is a first where there is a last"),
            last: span.1.expect("it was waited for"),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// What has arrived since [`expect`](Self::expect), oldest first.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals = lock(&self.shared.arrivals).clone();
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    }

    /// The first request that arrived, byte for byte.
    pub(crate) fn sample(&self) -> Vec<u8> {
        self.shared.sample.get().cloned().expect("something arrived")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then finds that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let connections = std::mem::take(&mut *lock(&self.shared.connections));
        for (stream, serving) in connections {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = serving.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let stream = stream.expect("connections can be accepted");
        stream.set_nodelay(true).expect("it is a TCP connection");
        let ours = stream.try_clone().expect("file descriptors are left");
        let served = Arc::clone(shared);
        let serving = thread::Builder::new()
            .stack_size(STACK_SIZE)
            .spawn(move || served.serve(stream))
            .expect("threads are left");
        lock(&shared.connections).push((ours, serving));
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut buffer = vec![0; BUFFER_LEN];
        let mut filled = 0;
        // An error is a peer that has gone, like the end of the stream.
        while let Ok(read) = stream.read(&mut buffer[filled..])
            && read > 0
        {
            let now = Instant::now();
            filled += read;
            let mut taken = 0;
            while let Some((length, body)) = complete_request(&buffer[taken..filled]) {
                let request = &buffer[taken..taken + length];
                self.arrived(request, body, now);
                taken += length;
                let answer = match self.answering {
                    Answering::AtOnce => ANSWER,
                    Answering::After(pause) => {
                        thread::sleep(pause);
                        ANSWER
                    }
                    Answering::Failure => FAILURE,
                    Answering::Never => continue,
                };
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
            buffer.copy_within(taken..filled, 0);
            filled -= taken;
            assert!(filled < BUFFER_LEN, "a request is larger than the buffer");
        }
    }

    fn arrived(&self, request: &[u8], body: usize, at: Instant) {
        if self.recorded {
            let (key, version) = key_and_version(&request[body..]);
            lock(&self.arrivals).push(Arrival { at, key, version });
        }
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count == 1 {
            let _ = self.sample.set(request.to_vec());
            lock(&self.span).0 = Some(at);
        }
        if count == self.expected.load(Ordering::Relaxed) {
            let mut span = lock(&self.span);
            span.0.get_or_insert(at);
            span.1 = Some(at);
            self.complete.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panicked with it")
}
