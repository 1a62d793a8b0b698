//! A network between the program and a server, in which things go wrong as a test says.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pgstream::demo::cluster::Cluster;

/// How often a connection that is stalled looks whether it still is.
const POLL: Duration = Duration::from_millis(20);

/// What a client says that wants to speak TLS.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A TCP proxy on loopback. Whatever is encrypted counts as a replication connection.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    /// Whether new connections are closed at once.
    refuses: AtomicBool,
    /// Whether nothing goes through replication connections.
    stalls: AtomicBool,
    /// Whether whoever is connected has to go.
    ended: AtomicBool,
    /// What happens to the replication connections that come next.
    faults: Mutex<VecDeque<Fault>>,
    /// How many of them there were.
    replications: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

/// What happens to one replication connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It is cut after so many bytes from the server.
    CutAfter(usize),
    /// After so many bytes from the server nothing more comes, while both ends stay connected.
    StallAfter(usize),
    /// Each read from the server comes so much later, in pieces of so many bytes; after the total it is cut.
    DripAndCut {
        delay: Duration,
        piece: usize,
        total: usize,
    },
}

impl Proxy {
    /// A proxy of this server.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self::with_faults(cluster, &[])
    }

    /// One in which this happens to the first replication connections, one after the other.
    pub(crate) fn with_faults(cluster: &Cluster, faults: &[Fault]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            target: Mutex::new((Ipv4Addr::LOCALHOST, cluster.port()).into()),
            refuses: AtomicBool::new(false),
            stalls: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            faults: Mutex::new(faults.iter().copied().collect()),
            replications: AtomicUsize::new(0),
            open: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), shared) = (client, Arc::clone(&accepting)) else {
                    continue;
                };
                thread::spawn(move || serve(client, &shared));
            }
        });
        Self { address, shared }
    }

    /// The URL of a database of the server, through the proxy.
    pub(crate) fn url(&self, dbname: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{dbname}?sslmode=disable",
            self.address.port()
        )
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to this server.
    pub(crate) fn lead_to(&self, port: u16) {
        *self.shared.target.lock().unwrap() = (Ipv4Addr::LOCALHOST, port).into();
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on this happens to replication connections, one after the other.
    pub(crate) fn come(&self, faults: &[Fault]) {
        self.shared.faults.lock().unwrap().extend(faults);
    }

    /// How many faults have not come yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.shared.faults.lock().unwrap().len()
    }

    /// Refuses new connections, or takes them again.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Lets nothing through replication connections, or all again. What comes meanwhile is kept.
    pub(crate) fn stall(&self, stalls: bool) {
        self.shared.stalls.store(stalls, Ordering::SeqCst);
    }

    /// How many replication connections there were.
    pub(crate) fn replications(&self) -> usize {
        self.shared.replications.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut client: TcpStream, shared: &Arc<Shared>) {
    if shared.refuses.load(Ordering::SeqCst) {
        return;
    }
    // The server may be down.
    let Ok(mut server) = TcpStream::connect(*shared.target.lock().unwrap()) else {
        return;
    };
    let Some(startup) = startup(&mut client) else {
        return;
    };
    // Of what is encrypted, nobody in between knows what it is for.
    let is_replication = startup == SSL_REQUEST || startup.windows(11).any(|word| word == b"replication");
    let fault = is_replication
        .then(|| shared.replications.fetch_add(1, Ordering::SeqCst))
        .and_then(|_| shared.faults.lock().unwrap().pop_front());
    shared
        .open
        .lock()
        .unwrap()
        .extend([&client, &server].map(|stream| stream.try_clone().expect("a descriptor is free")));
    if server.write_all(&startup).is_err() {
        return;
    }
    let (to_client, to_server) = (
        client.try_clone().expect("a descriptor is free"),
        server.try_clone().expect("a descriptor is free"),
    );
    let upwards = Arc::clone(shared);
    let sending = thread::spawn(move || copy(client, to_server, &upwards, is_replication, None));
    copy(server, to_client, shared, is_replication, fault);
    let _ = sending.join();
}

/// The first message of a client: four bytes of length, and the rest.
fn startup(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let mut message = length.to_vec();
    message.resize(u32::from_be_bytes(length) as usize, 0);
    client.read_exact(&mut message[4..]).ok()?;
    Some(message)
}

/// Copies until either end is closed, or the fault has come. Then both are.
fn copy(mut from: TcpStream, mut to: TcpStream, shared: &Shared, is_replication: bool, fault: Option<Fault>) {
    let (piece, mut left, delay) = match fault {
        None => (64 * 1024, usize::MAX, Duration::ZERO),
        Some(Fault::CutAfter(total) | Fault::StallAfter(total)) => (64 * 1024, total, Duration::ZERO),
        Some(Fault::DripAndCut { delay, piece, total }) => (piece, total, delay),
    };
    let mut buffer = vec![0; piece];
    let _ = from.set_read_timeout(Some(POLL));
    while left > 0 {
        let most = piece.min(left);
        let length = match from.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if is_passing(&error) => continue,
            Err(_) => break,
        };
        while is_replication && shared.stalls.load(Ordering::SeqCst) && !shared.ended.load(Ordering::SeqCst) {
            thread::sleep(POLL);
        }
        thread::sleep(delay);
        left -= length;
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    if matches!(fault, Some(Fault::StallAfter(_))) {
        // Until the client gives up, whatever the server does.
        while !shared.ended.load(Ordering::SeqCst) {
            match to.peek(&mut [0]) {
                Ok(0) => break,
                Ok(_) => thread::sleep(POLL),
                Err(error) if is_passing(&error) => {}
                Err(_) => break,
            }
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Whether a read came back with nothing: its time was over, or some child of the test process has ended, whose signal interrupts
/// it.
fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}
