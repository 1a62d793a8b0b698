//! A load client that does as little as it can: the same request again and again, a blocking thread a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::ANSWER;

/// How many requests a second the receiver at `address` answers, one after another on each of so many connections.
pub(crate) fn rate(address: SocketAddr, request: &[u8], connections: usize, duration: Duration) -> f64 {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let start = Barrier::new(connections + 1);
    let elapsed = thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let stream = TcpStream::connect(address).expect("the receiver listens");
                stream.set_nodelay(true).expect("it is a TCP connection");
                start.wait();
                answered.fetch_add(send_until(stream, request, &stop), Ordering::SeqCst);
            });
        }
        start.wait();
        let started = Instant::now();
        thread::sleep(duration);
        stop.store(true, Ordering::SeqCst);
        started.elapsed()
    });
    answered.load(Ordering::SeqCst) as f64 / elapsed.as_secs_f64()
}

fn send_until(mut stream: TcpStream, request: &[u8], stop: &AtomicBool) -> usize {
    let mut answer = [0; ANSWER.len()];
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(request).expect("the receiver reads");
        stream.read_exact(&mut answer).expect("the receiver answers");
        answered += 1;
    }
    answered
}

/// The number of connections that brings the most.
pub(crate) fn best_connections(address: SocketAddr, request: &[u8], probe: Duration) -> usize {
    let rated = [1, 2, 4, 8, 16, 32, 64, 128].map(|count| (rate(address, request, count, probe), count));
    let best = rated.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(1, |(_, count)| count)
}
