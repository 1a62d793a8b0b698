//! The program under test: `pgstream run` as a process of its own.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgstream::config::keys;
use serde_json::Value;
use tempfile::TempDir;
use ureq::{Agent, http};

use super::database::SLOT;
use super::exposition::Exposition;

/// How long the program may take to do what a test waits for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// `pgstream` with these arguments and nothing of the caller's configuration.
pub(crate) fn pgstream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgstream"));
    command.args(arguments);
    for key in &keys::KEYS {
        command.env_remove(key.name);
    }
    // Nor the defaults of libpq, such as a password.
    let is_libpqs = |name: &str| name.starts_with("PG") && !name.starts_with("PGSTREAM_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_libpqs) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command on the store of this URL, and gives what it prints.
pub(crate) fn command(store: &str, arguments: &[&str]) -> String {
    let output = pgstream(arguments)
        .args(["--pgurl", store])
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("the program prints UTF-8")
}

/// Runs `pgstream skip` on [`SLOT`].
pub(crate) fn skip(url: &str, arguments: &[&str]) -> Output {
    pgstream(&["skip"])
        .args(arguments)
        .env(keys::LISTENER_URL.name, url)
        .env(keys::SLOT_NAME.name, SLOT)
        .output()
        .expect("the program runs")
}

/// What a server answers.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) cache_control: String,
    pub(crate) body: String,
}

/// A running `pgstream run`. Dropping it kills it, as a crash would.
pub(crate) struct Program {
    child: Child,
    folder: TempDir,
    address: String,
    agent: Agent,
}

impl Program {
    /// Starts the program for the source at `url` and its slot, with further settings, and waits until it streams.
    pub(crate) fn start(url: &str, slot: &str, settings: &[(&str, &str)]) -> Self {
        let mut program = Self::spawn(url, slot, settings);
        program.wait_for_log("streaming", |line| line["msg"] == "streaming");
        program
    }

    /// Starts the program and waits until its API answers.
    pub(crate) fn spawn(url: &str, slot: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = pgstream(&["run", "--log-format", "json", "--log-level", "trace"]);
        command
            .env(keys::LISTENER_URL.name, url)
            .env(keys::SLOT_NAME.name, slot)
            .env(keys::CACHE_ENABLED.name, "true")
            .envs(settings.iter().copied());
        Self::launch(command)
    }

    /// Starts the program as this command says, its API on a free port, and waits until that answers. The log has
    /// to be asked for in JSON.
    pub(crate) fn launch(mut command: Command) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let log = File::create(folder.path().join("log")).expect("the temporary folder is writable");
        command
            .env(keys::SERVER_ADDRESS.name, "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("the program starts");
        // A POST on a connection that the server closes, since it was not used for a while, would fail.
        let agent = Agent::new_with_config(
            Agent::config_builder()
                .max_idle_connections(0)
                .http_status_as_error(false)
                .build(),
        );
        let mut program = Self {
            child,
            folder,
            address: String::new(),
            agent,
        };
        let line = program.wait_for_log("the API", |line| line["msg"] == "subscription server listening");
        program.address = line["address"]
            .as_str()
            .expect("the log names the address")
            .to_owned();
        program.wait_until_opened();
        program
    }

    /// Waits until the databases are open: only then the API answers what it is asked.
    fn wait_until_opened(&mut self) {
        let url = format!("http://{}/webhooks/subscriptions", self.address);
        let deadline = Instant::now() + DEADLINE;
        loop {
            // It may also end at once.
            let answer = self
                .agent
                .get(&url)
                .call()
                .map(|mut answer| answer.body_mut().read_to_string());
            let is_opening = matches!(answer, Ok(Ok(body)) if body.contains("\"code\":\"starting\""));
            if !is_opening {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "its databases are not open: {}",
                self.text()
            );
            thread::sleep(POLL);
        }
    }

    /// Every line of the log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("log")).expect("the log is readable");
        // The last line may not be complete yet.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits until the log has a line that fulfils the condition, and returns it.
    pub(crate) fn wait_for_log(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(line) = self.log().into_iter().find(|line| condition(line)) {
                return line;
            }
            let ended = self.child.try_wait().expect("the program can be waited for");
            assert!(ended.is_none(), "ended before {what}: {}", self.text());
            assert!(Instant::now() < deadline, "no sign of {what}: {}", self.text());
            thread::sleep(POLL);
        }
    }

    /// Posts a body to a path of the API; returns the status and the answer.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let request = self.agent.post(&url).header("content-type", "application/json");
        let mut answer = request.send(body).expect("the API answers");
        let text = answer.body_mut().read_to_string().expect("the answer is text");
        (answer.status().as_u16(), text)
    }

    /// What the API answers to a GET, which has to succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.address);
        let mut answer = self.agent.get(&url).call().expect("the API answers");
        assert_eq!(answer.status(), 200);
        let text = answer.body_mut().read_to_string().expect("the answer is text");
        serde_json::from_str(&text).expect("the answer is JSON")
    }

    /// Asks for a path of the API, whatever it answers.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Answered {
        self.ask_at(&self.address, method, path)
    }

    /// The same of another server of it.
    pub(crate) fn ask_at(&self, address: &str, method: &str, path: &str) -> Answered {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .body(())
            .expect("the request is one");
        let mut answer = self.agent.run(request).expect("the program answers");
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        Answered {
            status: answer.status().as_u16(),
            content_type: header("content-type"),
            cache_control: header("cache-control"),
            body: answer.body_mut().read_to_string().expect("the answer is text"),
        }
    }

    /// Waits until it says that it is ready.
    pub(crate) fn wait_until_ready(&self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answered = self.ask("GET", "/readyz");
            if answered.status == 200 {
                return;
            }
            assert!(Instant::now() < deadline, "not in time: {}", answered.body);
            thread::sleep(POLL);
        }
    }

    /// Its metrics.
    pub(crate) fn metrics(&self) -> Exposition {
        Exposition::of(&self.ask("GET", "/metrics"))
    }

    /// Waits until its metrics fulfil the condition, and returns them.
    pub(crate) fn wait_for_metrics(&self, condition: impl Fn(&Exposition) -> bool) -> Exposition {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answered = self.ask("GET", "/metrics");
            let metrics = Exposition::of(&answered);
            if condition(&metrics) {
                return metrics;
            }
            assert!(Instant::now() < deadline, "not in time: {}", answered.body);
            thread::sleep(POLL);
        }
    }

    /// Subscribes; the answer must be 201.
    pub(crate) fn subscribe(&self, body: &Value) {
        let (status, answer) = self.post("/webhooks/subscribe", &body.to_string());
        assert_eq!(status, 201, "{answer}");
    }

    /// Unsubscribes; the answer must be 200.
    pub(crate) fn unsubscribe(&self, body: &Value) {
        let (status, answer) = self.post("/webhooks/unsubscribe", &body.to_string());
        assert_eq!(status, 200, "{answer}");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("process ids fit in 31 bits");
        kill(Pid::from_raw(pid), signal).expect("the program can be signalled");
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Vec<Value>) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        (status, self.log())
    }

    /// Waits until the program ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the program can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "did not end: {}", self.text());
            thread::sleep(POLL);
        }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the program runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("the kernel tells VmRSS");
        let kilobytes: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("a number");
        kilobytes * 1024
    }

    /// The end of the log, for the message of a failed test.
    fn text(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            // The test failed, and the log goes with the folder.
            let told = self.log().into_iter().filter(|line| line["level"] != "trace");
            told.for_each(|line| eprintln!("{line}"));
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
