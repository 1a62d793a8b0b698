//! Suite `listen`: the receiver that users try things out with, as a program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgstream::receiver::{EmbeddedReceiver, ListenOptions, ListenSummary, listen};
use slog::{Discard, Drain, Logger, Never, OwnedKVList, Record, o};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

/// `pgstream listen` on a free port.
struct Listening {
    child: Child,
    port: u16,
    stdout: BufReader<ChildStdout>,
}

impl Listening {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgstream"))
            .args(["listen", "--port", "0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        log.read_line(&mut line).expect("a line of the log");
        let port = line
            .split_once("listening on :")
            .and_then(|(_, port)| port.trim().parse().ok())
            .unwrap_or_else(|| panic!("not the first line of the log: {line:?}"));
        // Nobody reads on, but the pipe has to stay open.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, port, stdout }
    }

    /// The status of the answer to a POST of this body.
    fn post(&self, path: &str, body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(&[head.as_bytes(), body].concat())
            .expect("it takes the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status line")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line
    }

    /// Ends the program as an operator does, and returns what it printed since the last line read.
    fn stop(mut self) -> String {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id"));
        kill(pid, Signal::SIGTERM).expect("the program runs");
        let mut rest = String::new();
        self.stdout
            .read_to_string(&mut rest)
            .expect("the rest of the output");
        assert!(self.child.wait().expect("an exit status").success());
        rest
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_are_printed_as_they_came() {
    let listening = Listening::start(&[]);
    let event = br#"{"Data":{"action":"I","table":"test","columns":[{"name":"z","value":1.50},{"name":"a","value":98765432109876543210}],"identity":null,"note":"\u00e9 \"q\""}}"#;
    assert_eq!(listening.post("/webhook", event), 200);
    assert_eq!(listening.post("/any/other/path?a=b", b"[]"), 200);
    let expected = r#"{
  "Data": {
    "action": "I",
    "table": "test",
    "columns": [
      {
        "name": "z",
        "value": 1.50
      },
      {
        "name": "a",
        "value": 98765432109876543210
      }
    ],
    "identity": null,
    "note": "\u00e9 \"q\""
  }
}
[]
"#;
    assert_eq!(listening.stop(), expected);
}

#[test]
fn what_is_not_json_is_shown_and_refused() {
    let listening = Listening::start(&[]);
    assert_eq!(listening.post("/", b"\x1b[31mred\xff"), 400);
    assert_eq!(listening.stop(), "not JSON: \\u{1b}[31mred\u{fffd}\n");
}

#[test]
fn a_quiet_receiver_counts() {
    let mut listening = Listening::start(&["--quiet"]);
    for _ in 0..5 {
        assert_eq!(listening.post("/", b"{}"), 200);
    }
    assert_eq!(listening.post("/", b"{"), 400);
    assert!(listening.line().contains(" events, "));
    let rest = listening.stop();
    assert!(
        rest.ends_with("total: 5 events, 1 bodies that were not JSON\n"),
        "{rest:?}"
    );
}

#[test]
fn a_bad_receiver_can_be_played() {
    let listening = Listening::start(&["--status", "503", "--delay", "150"]);
    let begin = Instant::now();
    assert_eq!(listening.post("/", b"1"), 503);
    assert!(begin.elapsed() >= Duration::from_millis(150));
    assert_eq!(listening.stop(), "1\n");
}

#[test]
fn an_end_of_the_output_ends_the_receiver() {
    let mut listening = Listening::start(&[]);
    drop(std::mem::replace(
        &mut listening.stdout,
        BufReader::new(other_stdout()),
    ));
    // The first may only fill the pipe's writer; each says whether it was taken.
    let begin = Instant::now();
    while listening.child.try_wait().expect("an exit status").is_none() {
        assert!(begin.elapsed() < DEADLINE, "it goes on without anyone who reads");
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, listening.port)) {
            let _ = stream.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\n1");
            let _ = stream.read(&mut [0; 64]);
        }
    }
    assert!(listening.child.wait().expect("an exit status").success());
}

/// The standard output of a program that has ended.
fn other_stdout() -> ChildStdout {
    let child = Command::new("true").stdout(Stdio::piped()).spawn();
    let mut child = child.expect("a program that ends at once");
    let stdout = child.stdout.take().expect("a pipe");
    child.wait().expect("an exit status");
    stdout
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let port = taken.local_addr().expect("a bound address").port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_pgstream"))
        .args(["listen", "--port", &port])
        .output()
        .expect("the program starts");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains(&port) && error.contains("in use") && error.contains("--port"),
        "{error}"
    );
}

/// A writer that can be looked at.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A log that hands its messages over.
struct Messages(std::sync::mpsc::Sender<String>);

impl Drain for Messages {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        // Refused when the test has what it wants.
        let _ = self.0.send(record.msg().to_string());
        Ok(())
    }
}

#[tokio::test]
async fn a_terminal_gets_colors_and_the_caller_a_summary() {
    let options = ListenOptions {
        address: "127.0.0.1:0".to_owned(),
        quiet: false,
        status: 204,
        delay: Duration::ZERO,
        color: true,
    };
    let (screen, shutdown) = (Screen::default(), CancellationToken::new());
    let (log, messages) = std::sync::mpsc::channel();
    let log = Logger::root(Messages(log).fuse(), o!());
    let running = listen::run_with(options, log, shutdown.clone(), screen.clone());
    let posting = async {
        let posted = tokio::task::spawn_blocking(move || {
            let first = messages.recv_timeout(DEADLINE).expect("a first line of the log");
            let address = first.strip_prefix("listening on ").expect("the address");
            post(&format!("http://{address}/"), "[1]");
        });
        posted.await.expect("an answer");
        shutdown.cancel();
    };
    let (summary, ()) = tokio::join!(running, posting);
    assert_eq!(
        summary.expect("no error"),
        ListenSummary {
            events: 1,
            not_json: 0
        }
    );
    let shown = String::from_utf8(screen.0.lock().expect("no writer panics").clone()).expect("text");
    assert_eq!(shown, "[\n  \x1b[36m1\x1b[0m\n]\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_receiver_hands_events_over() {
    let log = Logger::root(Discard, o!());
    let (receiver, mut events) = EmbeddedReceiver::start(log).await.expect("a free port");
    let url = receiver.url("/demo");
    let posting = tokio::task::spawn_blocking(move || post(&url, "{\"n\": 1}"));
    let event = events.recv().await.expect("an event");
    assert_eq!((event.path.as_str(), &*event.body), ("/demo", &b"{\"n\": 1}"[..]));
    assert!(event.headers.contains_key("host"));
    posting.await.expect("an answer");
    receiver.stop().await;
}

/// Posts, and expects a 2xx.
fn post(url: &str, body: &str) {
    let (authority, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(authority).expect("it listens");
    let length = body.len();
    let request = format!("POST /{path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}");
    stream
        .write_all(request.as_bytes())
        .expect("it takes the request");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("it answers");
    assert!(
        status.starts_with(b"HTTP/1.1 20"),
        "{}",
        String::from_utf8_lossy(&status)
    );
}
