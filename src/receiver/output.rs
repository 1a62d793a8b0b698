//! Standard output, written by a thread of its own: a slow terminal or pipe must not hold up the runtime.

use std::io::{self, BufWriter, Write};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::{self, error::TryRecvError};

/// How many lines wait for the terminal before senders of events wait for their answer.
const QUEUE: usize = 256;

/// What takes the lines. Cloned for everyone who prints.
pub(super) type Lines = mpsc::Sender<String>;

/// The thread that prints.
#[derive(Debug)]
pub(super) struct Printer {
    thread: JoinHandle<io::Result<()>>,
}

impl Printer {
    /// Starts printing to `out`. Every text gets a newline, and comes out whole.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Self, Lines)> {
        let (lines, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("listen-output".to_owned())
            .spawn(move || print(queue, out))?;
        Ok((Self { thread }, lines))
    }

    /// Waits until everything is printed. Whoever holds [`Lines`] has to drop them first.
    pub(super) fn finish(self) -> io::Result<()> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the printing thread panicked")))
    }
}

/// Prints until nobody sends any more. Whenever the queue is empty, everything is out.
fn print(mut queue: mpsc::Receiver<String>, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    loop {
        let line = match queue.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Empty) => {
                out.flush()?;
                match queue.blocking_recv() {
                    Some(line) => line,
                    None => return Ok(()),
                }
            }
            Err(TryRecvError::Disconnected) => return out.flush(),
        };
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
}
