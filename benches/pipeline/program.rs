//! `pgstream run` as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgstream::config::keys;
use serde_json::Value;

/// How long the program may take to start, or to end.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<(Instant, String)>,
    streaming: Instant,
}

impl Program {
    /// Starts the program with further settings and waits until it streams.
    pub(crate) fn start(url: &str, slot: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgstream"));
        for key in &keys::KEYS {
            command.env_remove(key.name);
        }
        let mut child = command
            .args(["run", "--log-format", "json"])
            .env(keys::LISTENER_URL.name, url)
            .env(keys::SLOT_NAME.name, slot)
            .env(keys::CACHE_ENABLED.name, "true")
            .env(keys::SERVER_ADDRESS.name, "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = lines(child.stderr.take().expect("it is piped"));
        let mut program = Self {
            child,
            lines,
            streaming: Instant::now(),
        };
        program.streaming = program.wait_for("streaming");
        program
    }

    /// When it said that it streams.
    pub(crate) fn streaming(&self) -> Instant {
        self.streaming
    }

    fn wait_for(&mut self, message: &str) -> Instant {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok((at, line)) => {
                    let parsed: Option<Value> = serde_json::from_str(&line).ok();
                    if parsed.is_some_and(|line| line["msg"] == message) {
                        return at;
                    }
                    seen.push(line);
                }
                Err(RecvTimeoutError::Timeout) => panic!("not {message} within {DEADLINE:?}: {seen:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended before {message}: {seen:?}"),
            }
        }
    }

    /// Whether it is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the program can be waited for")
            .is_none()
    }

    /// Resident memory in bytes: now, and the most there ever was.
    pub(crate) fn resident(&self) -> (u64, u64) {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the program runs");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
            let kilobytes: u64 = kilobytes.and_then(|n| n.parse().ok()).expect("a number");
            kilobytes * 1024
        };
        (bytes("VmRSS:"), bytes("VmHWM:"))
    }

    /// Ends it in order.
    pub(crate) fn terminate(mut self) {
        let pid = i32::try_from(self.child.id()).expect("process ids fit in 31 bits");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the program can be signalled");
        let status = self.child.wait().expect("the program can be waited for");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines as they come, each with its time. The pipe is emptied even when nobody looks at them.
pub(crate) fn lines(pipe: ChildStderr) -> Receiver<(Instant, String)> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send((Instant::now(), line));
        }
    });
    receiver
}
