//! A stand-by of a throwaway server.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgstream::demo::cluster::{Cluster, StopMode};

/// How long it may take to follow, or to become the primary.
const DEADLINE: Duration = Duration::from_secs(30);

/// A stand-by. It lies in the folder of its primary, and ends when dropped.
pub(crate) struct Replica {
    server: Child,
    port: u16,
    folder: PathBuf,
}

impl Replica {
    /// A copy of the primary that follows it, and answers.
    pub(crate) fn of(primary: &Cluster) -> Self {
        let folder = primary.socket_folder().join("replica");
        let copied = primary
            .command("pg_basebackup")
            .arg("--pgdata")
            .arg(&folder)
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "--host",
            ])
            .arg(primary.socket_folder())
            .args(["--port", &primary.port().to_string(), "--username=postgres"])
            .output()
            .expect("pg_basebackup runs");
        assert!(copied.status.success(), "{copied:?}");
        Self::start(primary, folder)
    }

    /// A copy of the primary with its slots, which follows it. The primary is stopped for that and started again.
    pub(crate) fn with_slots(primary: &mut Cluster) -> Self {
        primary.stop(StopMode::Fast).expect("the primary stops");
        let folder = primary.socket_folder().join("replica");
        let copied = Command::new("cp")
            .arg("--archive")
            .args([&primary.data_directory(), &folder])
            .status();
        assert!(copied.expect("cp runs").success());
        fs::write(folder.join("standby.signal"), "").expect("the folder is writable");
        let mut settings = fs::OpenOptions::new()
            .append(true)
            .open(folder.join("postgresql.auto.conf"))
            .expect("it has settings");
        let socket = primary.socket_folder().display();
        writeln!(
            settings,
            "primary_conninfo = 'host={socket} port={} user=postgres'",
            primary.port()
        )
        .expect("the settings are writable");
        primary.restart().expect("the primary starts again");
        Self::start(primary, folder)
    }

    fn start(primary: &Cluster, folder: PathBuf) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let server = spawn(primary, &folder, port);
        let replica = Self { server, port, folder };
        replica.wait_for("accepts connections", "ready");
        replica
    }

    /// Stops it: it does not follow any more.
    pub(crate) fn stop(&mut self) {
        kill(self.pid(), Signal::SIGINT).expect("the stand-by runs");
        let ended = self.server.wait().expect("the stand-by can be waited for");
        assert!(ended.success(), "{ended}");
    }

    /// Starts it again.
    pub(crate) fn start_again(&mut self, primary: &Cluster) {
        self.server = spawn(primary, &self.folder, self.port);
        self.wait_for("accepts connections", "ready");
    }

    /// The URL of its database `postgres`.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        )
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Makes it the primary.
    pub(crate) fn promote(&self) {
        fs::write(self.folder.join("promote"), "").expect("the folder is writable");
        kill(self.pid(), Signal::SIGUSR1).expect("the stand-by runs");
        let deadline = Instant::now() + DEADLINE;
        while self.folder.join("standby.signal").exists() {
            assert!(Instant::now() < deadline, "was not promoted");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the server's own file says that it is so far.
    fn wait_for(&self, what: &str, word: &str) {
        let deadline = Instant::now() + DEADLINE;
        let is_so_far = || {
            let text = fs::read_to_string(self.folder.join("postmaster.pid")).unwrap_or_default();
            text.lines().nth(7).is_some_and(|line| line.trim() == word)
        };
        while !is_so_far() {
            assert!(Instant::now() < deadline, "no sign that the stand-by {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.server.id()).expect("process ids fit in 31 bits"))
    }
}

fn spawn(primary: &Cluster, folder: &Path, port: u16) -> Child {
    let log = fs::File::create(primary.socket_folder().join("replica.log")).expect("the folder is writable");
    primary
        .command("postgres")
        .arg("-D")
        .arg(folder)
        .arg("-k")
        .arg(folder)
        .args(["-p", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the stand-by starts")
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill(self.pid(), Signal::SIGQUIT);
        let _ = self.server.wait();
    }
}
